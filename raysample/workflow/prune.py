"""`prune`: from labelled texts to a smaller training set, chosen by evidence.

Steps: describe the source, compute features, let candidates race, fine-tune the best of them in a pilot if one is asked
for, compute the scores that the winner reads of all rows, select, write the files. Each step is keyed by what it is
made from, below OUTPUT/work, and is not done twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from raysample.core import storage
from raysample.core.config import ArmConfig, SourceConfig
from raysample.core.errors import SelectionError, StorageError
from raysample.core.extras import install_command, is_installed
from raysample.core.locking import held
from raysample.data.corpus import Corpus, describe_source
from raysample.selection import Selection, write_selection
from raysample.selection.probe.probe_table import LabelAgreement
from raysample.selection.race.decision import (
    DECISION_FILE,
    EQUIVALENT,
    REPORT_FILE,
    Decision,
    ShareTried,
    compared_with_all_data,
)
from raysample.selection.race.decision_card import weak_probe
from raysample.selection.race.pilot_evidence import PilotResult
from raysample.selection.race.race_result import RaceResult
from raysample.tracking import Tracker, Value
from raysample.workflow.choice import ChoiceSettings, Chooser, Clock
from raysample.workflow.choice_cost import cost_of_choice
from raysample.workflow.context import RunContext
from raysample.workflow.pilot import PilotSettings, run_pilot
from raysample.workflow.pruned_files import write_pruned_files, write_suspects
from raysample.workflow.tracked_selection import store_selection

WORK = "work"
AUTO_SHARES = (0.7, 0.5, 0.3, 0.1)
"""Shares that `keep: auto` tries, from the largest on, until one is not equivalent to all data."""
Keep = float | Literal["auto"]


@dataclass(frozen=True)
class PruneRequest:
    """What `prune` is asked for.

    Attributes:
        source: the labelled texts.
        output: folder of the files.
        keep: share of the rows to keep, in (0, 1); or `auto`: the smallest share equivalent to all data.
        tolerance: loss to all data, in the objective's unit, that counts as equivalent.
        settings: what the choice goes by.
        pilot: what the pilot goes by; None for no pilot.
        epochs: of the training that the cost of choosing is compared with.
    """

    source: SourceConfig
    output: str
    keep: Keep = 0.5
    tolerance: float = 0.005
    settings: ChoiceSettings = field(default_factory=ChoiceSettings)
    pilot: PilotSettings | None = None
    epochs: int = 3

    def __post_init__(self) -> None:
        if self.keep != "auto" and not (isinstance(self.keep, float) and 0 < self.keep < 1):
            raise SelectionError(f"cannot keep {self.keep!r} of the rows", "give a share between 0 and 1, or auto")
        self.settings.race(0.5)  # checks objective and confidence
        if self.pilot is None:
            return
        if self.settings.encoder is None:
            raise SelectionError("a pilot fine-tunes an encoder, and none is given", "give --encoder, or --no-pilot")
        if self.keep == "auto":
            # The shares are compared with all data by the probe, and for the arm that the race chose.
            raise SelectionError("a pilot confirms a choice at one share, not at auto", "give the share, or --no-pilot")
        if not self.pilot.budget > 0:
            raise SelectionError(f"the budget of the pilot is {self.pilot.budget!r}", "give a share such as 0.3")


@dataclass(frozen=True)
class Pruned:
    """What `prune` made: the selection, the decision, and the folder with the files."""

    selection: Selection
    decision: Decision
    uri: str


def prune_source(request: PruneRequest, context: RunContext) -> Pruned:
    """Choose a selection by evidence and write its files; see the module for the steps.

    Raises:
        CorpusError: the source cannot be described, or has no n-gram twice.
        ModelError: the encoder cannot be loaded, or gives vectors that are not finite.
        SelectionError: the share leaves less than one row, or an arm of the request is not valid.
        StorageError: another process writes the folder.
    """
    uri = storage.absolute(request.output)
    with held(uri, 0.0, context.reporter.say), context.tracker.run("prune", _params(request)) as run:
        done = _Pruning(request, context, uri).run()
        _track(run, done)
    return done


def _params(request: PruneRequest) -> dict[str, Value]:
    """Return what is tracked as params."""
    settings = request.settings
    return {
        "data": request.source.path,
        "keep": request.keep,
        "features": "ngrams" if settings.encoder is None else settings.encoder.path,
        "objective": settings.objective,
        "seed": settings.seed,
        "race_rows": settings.race_rows,
        "pilot_budget": 0.0 if request.pilot is None else request.pilot.budget,
    }


def _track(run: Tracker, done: Pruned) -> None:
    """Track counts, evidence, the decision and the ids of the kept rows; no text."""
    decision, selection = done.decision, done.selection
    race = decision.race
    numbers = {
        **decision.counts,
        "suspects": decision.suspects,
        "agreement": decision.agreement,
        "share": decision.share,
    }
    numbers |= {"gain": race.gain, "at_least": race.at_least}
    numbers |= {} if race.to_all_data is None else {"to_all_data": race.to_all_data[0]}
    if decision.pilot is not None and decision.pilot.winner is not None:
        numbers |= {"fine_tuned_gain": decision.pilot.winner.mean, "fine_tuned_at_least": decision.pilot.winner.low}
    if decision.paid is not None:
        numbers |= {"cost_share": decision.paid.share}
    numbers |= {"cpu_seconds": sum(step["cpu_seconds"] for step in decision.cost.values())}
    run.metrics({f"prune_{name}": float(value) for name, value in numbers.items()})
    run.dataset("train", storage.join(done.uri, WORK, "corpus"), decision.fingerprints["corpus"], "training")
    run.dataset(decision.arm.name, selection.uri, selection.fingerprint, "selection")
    if storage.is_local(done.uri):
        for name in (DECISION_FILE, REPORT_FILE):
            if storage.exists(storage.join(done.uri, name)):
                run.artifact(storage.join(done.uri, name))
        store_selection(run, selection)


@dataclass(frozen=True)
class _Chosen:
    """The share that is kept, its race, the shares that were tried for it, and the pilot, if there was one."""

    share: float
    race: RaceResult
    tried: tuple[ShareTried, ...]
    pilot: PilotResult | None


class _Pruning:
    """One call of `prune_source`."""

    def __init__(self, request: PruneRequest, context: RunContext, uri: str) -> None:
        self.request, self.context, self.uri, self.clock = request, context, uri, Clock()

    def run(self) -> Pruned:
        """Do all steps."""
        with self.clock.step("describe"):
            corpus = describe_source(self.request.source, storage.join(self.uri, WORK, "corpus"))
        chooser = Chooser(corpus, storage.join(self.uri, WORK), self.request.settings, self.context, self.clock)
        share, race, tried = self._race(chooser)
        pilot = None
        if self.request.pilot is not None and race.won:
            pilot = run_pilot(chooser, race, self.request.pilot, self.request.tolerance)
        selection, agreement = self._select(chooser, share, race.chosen_arm if pilot is None else pilot.chosen_arm)
        with self.clock.step("files"):
            write_pruned_files(corpus, selection, self.uri)
        decision = self._decide(chooser, selection, agreement, _Chosen(share, race, tried, pilot))
        return Pruned(selection, decision, self.uri)

    def _race(self, chooser: Chooser) -> tuple[float, RaceResult, tuple[ShareTried, ...]]:
        """Return the share to keep, the race at this share, and the shares that were tried for it."""
        request = self.request
        if request.keep != "auto":
            return request.keep, chooser.race(request.keep), ()
        share, taken, tried = 1.0, None, list[ShareTried]()
        # From the largest share on: a smaller one counts only if all larger ones are equivalent, so no correction for
        # their number is needed (a fixed sequence of tests).
        for smaller in AUTO_SHARES:
            race = chooser.race(smaller)
            if race.to_all_data is None:
                return share, taken or race, tuple(tried)
            mean, error = race.to_all_data
            outcome = compared_with_all_data(mean, error, request.tolerance, race.confidence)
            tried.append(ShareTried(smaller, mean, error, outcome))
            if outcome != EQUIVALENT:
                return share, taken or race, tuple(tried)
            share, taken = smaller, race
        assert taken is not None, "AUTO_SHARES is not empty"
        return share, taken, tuple(tried)

    def _select(self, chooser: Chooser, share: float, arm: ArmConfig) -> tuple[Selection, LabelAgreement]:
        """Score all rows, apply the chosen arm, and write the suspects; return the selection and the agreement."""
        corpus = chooser.corpus
        # Written last: while other files are replaced, no decision of an earlier call stands beside them.
        storage.remove(storage.join(self.uri, DECISION_FILE))
        table, agreement = chooser.table(arm)
        with self.clock.step("select"):
            budget: dict[str, Any] = {"count": corpus.rows} if share == 1 else {"fraction": share}
            selection = write_selection(
                table,
                arm,
                storage.join(self.uri, WORK, "selection"),
                seed=chooser.settings.seed,
                map_fn=self.context.executor.map,
                **budget,
            )
            write_suspects(corpus, table, self.uri)
        return selection, agreement

    def _decide(self, chooser: Chooser, selection: Selection, agreement: LabelAgreement, chosen: _Chosen) -> Decision:
        """Write the decision, after checking that every row is accounted for."""
        corpus, features, race, pilot = chooser.corpus, chooser.features, chosen.race, chosen.pilot
        recipe = None if self.request.pilot is None else self.request.pilot.recipe
        paid = cost_of_choice(chooser, pilot, self.request.epochs if recipe is None else recipe.epochs)
        decision = Decision(
            race,
            chosen.share,
            self.request.keep,
            self.request.tolerance,
            chosen.tried,
            _counts(corpus, selection),
            agreement.suspects,
            agreement.share,
            {"source": features.source, "pooling": features.pooling, "dimension": features.dimension},
            self.clock.cost,
            {"corpus": corpus.fingerprint, "features": features.key, "selection": selection.fingerprint},
            (*corpus.warnings, *weak_probe(agreement.share), *race.notes, *selection.warnings),
            pilot,
            paid,
        )
        if is_installed("report"):
            from raysample.report.decision_page import write_decision_page  # imports matplotlib

            page = storage.join(self.uri, REPORT_FILE)
            write_decision_page(page, decision, selection, self.request.source.path, self.request.output)
        else:
            advice = install_command("report")
            self.context.reporter.say(f"matplotlib is not installed, so no report is written ({advice})")
        storage.write_json(storage.join(self.uri, DECISION_FILE), decision.to_dict())
        return decision


def _counts(corpus: Corpus, selection: Selection) -> dict[str, int]:
    """Return the counts of rows in, kept, removed and quarantined; raises StorageError if they do not add up."""
    counts = {
        "in": corpus.counts["in"],
        "kept": selection.counts["kept"],
        "removed": selection.counts["pruned"],
        "quarantined": corpus.counts["quarantined"] + corpus.counts.get("filtered", 0),
    }
    if counts["in"] != counts["kept"] + counts["removed"] + counts["quarantined"]:
        raise StorageError(f"rows were lost: {counts} does not add up", "please report this; do not use the files")
    return counts
