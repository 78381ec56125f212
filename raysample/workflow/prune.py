"""`prune`: from labelled texts to a smaller training set, chosen by evidence.

Steps: describe the source, compute features, let candidates race, compute the scores that the winner reads of all rows,
select, write the files. Each step is keyed by what it is made from, below OUTPUT/work, and is not done twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, ModelConfig, SourceConfig
from raysample.core.errors import SelectionError, StorageError
from raysample.core.extras import install_command, is_installed
from raysample.core.locking import held
from raysample.data.corpus import Corpus, describe_source
from raysample.selection import Selection, write_selection
from raysample.selection.probe.probe_scorer import SAMPLED_SCORES
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.probe.probe_table import write_probe_table
from raysample.selection.race.candidates import portfolio, scores_of
from raysample.selection.race.decision import (
    DECISION_FILE,
    EQUIVALENT,
    REPORT_FILE,
    Decision,
    ShareTried,
    compared_with_all_data,
)
from raysample.selection.race.race import run_race
from raysample.selection.race.race_result import RaceResult, RaceSettings
from raysample.selection.race.race_rows import RaceRows
from raysample.selection.race.race_sample import RACE_ROWS, race_sample
from raysample.selection.text_features.feature_files import FeatureFiles, write_features
from raysample.workflow.context import RunContext
from raysample.workflow.pruned_files import write_pruned_files, write_suspects

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
        encoder: a frozen encoder for the features; None for n-grams.
        objective: what the race judges by: `accuracy`, `macro_f1`, `worst_group` or `log_loss`.
        confidence: 1 − the chance of a wrong claim.
        tolerance: loss to all data, in the objective's unit, that counts as equivalent.
        seed: of samples, folds and draws.
        race_rows: rows that race, at most; of more rows a seeded sample races, and the winner is applied to all.
        arms: the candidates; None for the portfolio.
        device: where the encoder and the probes run.
    """

    source: SourceConfig
    output: str
    keep: Keep = 0.5
    encoder: ModelConfig | None = None
    objective: str = "accuracy"
    confidence: float = 0.95
    tolerance: float = 0.005
    seed: int = 0
    race_rows: int = RACE_ROWS
    arms: tuple[ArmConfig, ...] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.keep != "auto" and not (isinstance(self.keep, float) and 0 < self.keep < 1):
            raise SelectionError(f"cannot keep {self.keep!r} of the rows", "give a share between 0 and 1, or auto")
        self.settings(0.5)  # checks objective and confidence

    def settings(self, share: float, sampled: bool = False) -> RaceSettings:
        """Return the settings of a race."""
        return RaceSettings(share, self.objective, self.confidence, self.seed, self.device, sampled)


@dataclass(frozen=True)
class Pruned:
    """What `prune` made: the selection, the decision, and the folder with the files."""

    selection: Selection
    decision: Decision
    uri: str


@dataclass
class _Clock:
    """Wall and CPU seconds of the steps of this process."""

    cost: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a step."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            before = self.cost.get(name, {"seconds": 0.0, "cpu_seconds": 0.0})
            self.cost[name] = {
                "seconds": round(before["seconds"] + time.perf_counter() - wall, 3),
                "cpu_seconds": round(before["cpu_seconds"] + time.process_time() - cpu, 3),
            }


def prune_source(request: PruneRequest, context: RunContext) -> Pruned:
    """Choose a selection by evidence and write its files; see the module for the steps.

    Raises:
        CorpusError: the source cannot be described, or has no n-gram twice.
        ModelError: the encoder cannot be loaded, or gives vectors that are not finite.
        SelectionError: the share leaves less than one row, or an arm of the request is not valid.
        StorageError: another process writes the folder.
    """
    uri = storage.absolute(request.output)
    with held(uri, 0.0, context.reporter.say):
        return _Pruning(request, context, uri).run()


class _Pruning:
    """One call of `prune_source`."""

    def __init__(self, request: PruneRequest, context: RunContext, uri: str) -> None:
        self.request, self.context, self.uri, self.clock = request, context, uri, _Clock()
        self.map_fn, self.say = context.executor.map, context.reporter.say

    def at(self, *names: str) -> str:
        """Return a place below the folder of intermediate results."""
        return storage.join(self.uri, WORK, *names)

    def run(self) -> Pruned:
        """Do all steps."""
        request = self.request
        with self.clock.step("describe"):
            corpus = describe_source(request.source, self.at("corpus"))
        self.say(f"{corpus.rows:,} rows, {len(corpus.labels):,} classes: computing features")
        with self.clock.step("features"):
            features = write_features(
                corpus,
                self.at("features"),
                request.encoder,
                seed=request.seed,
                device=request.device,
                map_fn=self.map_fn,
            )
            sample = race_sample(corpus, features, request.race_rows, request.seed)
        share, race, tried = self._race(corpus, features, sample)
        selection, suspects = self._select(corpus, features, sample, share, race)
        with self.clock.step("files"):
            write_pruned_files(corpus, selection, self.uri)
        return Pruned(selection, self._decide(corpus, features, selection, suspects, share, race, tried), self.uri)

    def _race(
        self, corpus: Corpus, features: FeatureFiles, sample: RaceRows
    ) -> tuple[float, RaceResult, tuple[ShareTried, ...]]:
        """Return the share to keep, the race at this share, and the shares that were tried for it."""
        request = self.request
        if request.keep != "auto":
            return request.keep, self._race_at(corpus, features, sample, request.keep), ()
        share, taken, tried = 1.0, None, list[ShareTried]()
        # From the largest share on: a smaller one counts only if all larger ones are equivalent, so no correction for
        # their number is needed (a fixed sequence of tests).
        for smaller in AUTO_SHARES:
            race = self._race_at(corpus, features, sample, smaller)
            if race.to_all_data is None:
                return share, taken or race, tuple(tried)
            mean, error = race.to_all_data
            outcome = compared_with_all_data(mean, error, request.tolerance, request.confidence)
            tried.append(ShareTried(smaller, mean, error, outcome))
            if outcome != EQUIVALENT:
                return share, taken or race, tuple(tried)
            share, taken = smaller, race
        assert taken is not None, "AUTO_SHARES is not empty"
        return share, taken, tuple(tried)

    def _race_at(self, corpus: Corpus, features: FeatureFiles, sample: RaceRows, share: float) -> RaceResult:
        """Return the race at a share, read again if it was run before."""
        request, sampled = self.request, len(sample) < corpus.rows
        arms = (
            portfolio(SAMPLED_SCORES if sampled else tuple(PROBE_HIGHER_IS)) if request.arms is None else request.arms
        )
        settings = request.settings(share, sampled)
        key = storage.fingerprint([features.key, asdict(settings), len(sample), [arm.to_dict() for arm in arms]])
        place = self.at(f"race-{key[:12]}.json")
        if storage.exists(place):
            with manifests.damaged(place):
                return RaceResult.from_dict(manifests.mapping(place, "race")["race"])
        self.say(f"{len(arms)} candidates race at {share:.0%} kept on {len(sample):,} rows")
        with self.clock.step("race"):
            found = run_race(sample, settings, arms, self.map_fn)
        storage.write_json(place, {"noun": "Race", "race": found.to_dict()})
        return found

    def _select(
        self, corpus: Corpus, features: FeatureFiles, sample: RaceRows, share: float, race: RaceResult
    ) -> tuple[Selection, int]:
        """Score all rows, apply the chosen arm, and write the suspects; return the selection and their number."""
        arm, seed = ArmConfig(**race.arm), self.request.seed
        columns = sorted({"out_of_fold_confidence"} | scores_of([arm], PROBE_HIGHER_IS))
        with self.clock.step("scores"):
            table, suspects = write_probe_table(
                corpus,
                features,
                sample,
                self.at("scores"),
                columns,
                seed=seed,
                device=self.request.device,
                map_fn=self.map_fn,
            )
        with self.clock.step("select"):
            budget: dict[str, Any] = {"count": corpus.rows} if share == 1 else {"fraction": share}
            selection = write_selection(table, arm, self.at("selection"), seed=seed, map_fn=self.map_fn, **budget)
            write_suspects(corpus, table, self.uri)
        return selection, suspects

    def _decide(
        self,
        corpus: Corpus,
        features: FeatureFiles,
        selection: Selection,
        suspects: int,
        share: float,
        race: RaceResult,
        tried: tuple[ShareTried, ...],
    ) -> Decision:
        """Write the decision, after checking that every row is accounted for."""
        lost = corpus.counts["quarantined"] + corpus.counts.get("filtered", 0)
        counts = {
            "in": corpus.counts["in"],
            "kept": selection.counts["kept"],
            "removed": selection.counts["pruned"],
            "quarantined": lost,
        }
        if counts["in"] != counts["kept"] + counts["removed"] + counts["quarantined"]:
            raise StorageError(f"rows were lost: {counts} does not add up", "please report this; do not use the files")
        decision = Decision(
            race,
            share,
            self.request.keep,
            self.request.tolerance,
            tried,
            counts,
            suspects,
            {"source": features.source, "pooling": features.pooling, "dimension": features.dimension},
            self.clock.cost,
            {"corpus": corpus.fingerprint, "features": features.key, "selection": selection.fingerprint},
            (*corpus.warnings, *race.notes, *selection.warnings),
        )
        if is_installed("report"):
            from raysample.report.decision_page import write_decision_page  # imports matplotlib

            write_decision_page(
                storage.join(self.uri, REPORT_FILE), decision, selection, self.request.source.path, self.request.output
            )
        else:
            self.say(f"matplotlib is not installed, so no report is written ({install_command('report')})")
        storage.write_json(storage.join(self.uri, DECISION_FILE), decision.to_dict())
        return decision
