"""The selections of a comparison: arms x fractions x seeds, written before any retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from raysample.core import storage
from raysample.core.config import ArmConfig, CompareConfig
from raysample.core.config.selection import Regime
from raysample.core.map_fn import MapFn, threads
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.evaluation import ArmCell
from raysample.evaluation.class_balance import class_shift, class_warnings
from raysample.execution.base import Executor
from raysample.selection import Selection, write_selection
from raysample.selection.lengths import length_warnings
from raysample.selection.policies import AUTO, create_policy, policy_plugin
from raysample.selection.policies.steps import policy_columns
from raysample.selection.redraws import check_draws, draw_seed
from raysample.selection.result import KEPT, SELECTION_MANIFEST
from raysample.selection.table_blocks import IN_MEMORY_ROWS
from raysample.tracking import Value
from raysample.training import schedule_training
from raysample.training.fine_tuning import Job, steps
from raysample.workflow.auto_choice import AutoChoice, choose_auto
from raysample.workflow.choice import Chooser
from raysample.workflow.context import RunContext
from raysample.workflow.layout import RunFolder
from raysample.workflow.tracked_selection import store_selection


@dataclass(kw_only=True)
class ArmSelections:
    """The selections of arms x fractions x seeds on one score table; `job(seed)` gives the recipe on all rows.

    `redraws`: of an arm with `redraw` the selections of the epochs after the first, which is in `selections`, as many
    as its longest training takes. `own`: score tables that some seeds use for their selections in place of `table`.
    `chooser`: chooses what `auto` stands for, at each fraction; None without an `auto` arm. `show_text`: whether its
    list of suspects has their texts.
    """

    config: CompareConfig
    context: RunContext
    run_folder: RunFolder
    table: ScoreTable
    train: Corpus
    job: Callable[[int], Job]
    params: Callable[..., dict[str, Value]]
    notes: tuple[str, ...] = ()
    selections: dict[ArmCell, Selection] = field(default_factory=dict)
    redraws: dict[ArmCell, tuple[Selection, ...]] = field(default_factory=dict)
    own: Mapping[int, ScoreTable] = field(default_factory=dict)
    chooser: Chooser | None = None
    show_text: bool = False
    chosen: dict[float, AutoChoice] = field(default_factory=dict)

    def cells(self) -> Iterator[tuple[ArmConfig, float, int]]:
        """Yield every arm at every fraction with every seed."""
        for fraction in self.config.fractions:
            for arm in self.config.arms:
                for seed in self.config.seeds:
                    yield arm, fraction, seed

    def select(self) -> None:
        """Write all selections (finished ones are reused) and report their effect on classes, before any retraining."""
        params = self.params("sample", n_train=self.table.counts["scored"])
        with self.context.tracker.run("sample", params) as run:
            for arm, fraction, seed in self.cells():
                selection, *redraws = self._drawn(arm, fraction, seed)
                self.selections[arm.name, fraction, seed] = selection
                if redraws:
                    self.redraws[arm.name, fraction, seed] = tuple(redraws)
                if seed == self.config.seeds[0]:
                    tags = {"keep_fraction": f"{fraction:g}", "draws": f"{1 + len(redraws)}"}
                    run.dataset(arm.name, selection.uri, selection.fingerprint, "selection", tags)
                    store_selection(run, selection)
        count = len(self.selections) + sum(map(len, self.redraws.values()))
        self.context.reporter.say(f"  {count} selections in {self.run_folder.at('selections')}")
        self._tell_classes()

    def _tell_classes(self) -> None:
        """Report class shifts, the classes that lose most rows, and warnings."""
        for (arm, fraction), kept in self.kept_counts().items():
            shares = {c: kept[c] / n for c, n in enumerate(self.train.class_counts) if n}
            least = min(shares, key=lambda c: shares[c])
            self.context.reporter.say(
                f"  {arm} at {fraction:.0%}: class shift {class_shift(self.train.class_counts, kept):.2f}, "
                f"cuts {self.train.labels[least]} most ({kept[least]:,} of {self.train.class_counts[least]:,} left)"
                f"{self.describe_draws((arm, fraction, self.config.seeds[0]))}"
            )
        for warning in (*self.class_warnings(), *self.length_warnings()):
            self.context.reporter.say(f"  warning: {warning}")

    def describe_draws(self, cell: ArmCell) -> str:
        """Return, for an arm with `redraw`, how many epochs have a draw of their own; nothing for other arms."""
        return f"; drawn anew for each of {1 + len(self.redraws[cell])} epochs" if cell in self.redraws else ""

    def _drawn(self, arm: ArmConfig, fraction: float, seed: int) -> list[Selection]:
        """Return the selections of a cell: one, or with `redraw` one per epoch of its longest training."""
        first, regimes = self._selection(arm, fraction, seed, 0), self.config.regimes(fraction)
        return self.with_redraws(arm, first, seed, lambda epoch: self._selection(arm, fraction, seed, epoch), regimes)

    def with_redraws(
        self, arm: ArmConfig, first: Selection, seed: int, draw: Callable[[int], Selection], regimes: Sequence[Regime]
    ) -> list[Selection]:
        """Return the first selection of an arm and, with `redraw`, those that `draw` makes for the other epochs.

        `regimes`: those in which the selections are trained on; the one with the most epochs decides.

        Raises:
            SelectionError: the draws keep different numbers of rows, or all of them the same rows.
        """
        if not arm.redraw:
            return [first]
        whole = self.job(seed)
        draws = [
            first,
            *map(draw, range(1, max(training_passes(first, whole, fixed_steps(whole, each)) for each in regimes))),
        ]
        check_draws(draws)
        return draws

    def _selection(self, arm: ArmConfig, fraction: float, seed: int, epoch: int) -> Selection:
        """Return an epoch's selection, stored or new."""
        uri = self.run_folder.selection(arm, fraction, seed, epoch)
        arm, table = self._resolved(arm.fixed, fraction, seed)
        map_fn = map_for(table, self.context.executor)
        return stored_selection(table, arm, uri, fraction=fraction, seed=draw_seed(seed, epoch), map_fn=map_fn)

    def _resolved(self, arm: ArmConfig, fraction: float, seed: int) -> tuple[ArmConfig, ScoreTable]:
        """Return the arm that a cell selects by, and the table that it reads: for `auto`, what the race chose."""
        if arm.policy != AUTO or self.chooser is None:
            return arm, self.own.get(seed, self.table) if self._columns(arm) else self.table
        if fraction not in self.chosen:
            self.chosen[fraction] = choose_auto(self.chooser, fraction, self.show_text)
            self.context.reporter.say(f"  auto at {fraction:.0%}: {self.chosen[fraction].race.reason}")
        return self.chosen[fraction].arm, self.chosen[fraction].table

    def kept_counts(self) -> dict[tuple[str, float], tuple[int, ...]]:
        """Return the rows per class that each arm keeps at each fraction (first seed)."""
        first = self.config.seeds[0]
        return {
            (arm, fraction): tuple(chosen.kept_class_counts)
            for (arm, fraction, seed), chosen in self.selections.items()
            if seed == first
        }

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about the corpora, classes that lose rows, and scores that mostly measure length."""
        return (*self.notes, *self.class_warnings(), *self.length_warnings())

    def length_warnings(self) -> tuple[str, ...]:
        """Return warnings about the arms' scores that mostly measure text length."""
        columns = (name for arm in self.config.arms for name in self._columns(arm))
        return length_warnings(self.table, columns)

    def _columns(self, arm: ArmConfig) -> tuple[str, ...]:
        """Return the score columns that an arm reads."""
        return policy_columns(create_policy(arm, self.table.higher_is))

    def scored_arms(self) -> list[str]:
        """Return the names of the arms that read a score."""
        return [arm.name for arm in self.config.arms if self._columns(arm)]

    def choice_seconds(self) -> dict[str, float]:
        """Return by arm what choosing its rows cost, as far as it was stored; see `Comparison.choice_seconds`."""
        # The time of preparing is that of the last call alone, and nothing if all shards were finished before.
        seconds = self.table.cost.get("score_seconds")
        found = {} if seconds is None else dict.fromkeys(self.scored_arms(), seconds)
        races = [one.seconds for one in self.chosen.values()]
        return found | ({AUTO: round(max(races), 3)} if races else {})

    def class_warnings(self) -> tuple[str, ...]:
        """Return warnings about classes that the selections empty or nearly wipe out."""
        return class_warnings(self.train.labels, self.train.class_counts, self.kept_counts())


def fixed_steps(whole: Job, regime: Regime) -> int | None:
    """Return the steps of every training in a regime, those of the job on all rows; None with equal epochs."""
    return steps(whole) if regime == "equal_steps" else None


def training_passes(selection: Selection, whole: Job, fixed: int | None) -> int:
    """Return how often a training goes over a selection, by its number of steps if fixed, else by the epochs."""
    return schedule_training(selection.counts[KEPT], whole.config, fixed).passes


def map_for(table: ScoreTable, engine: Executor) -> MapFn:
    """Return the map function of a selection: threads for tables that fit in memory, else the executor's.

    Starting tasks takes longer than counting a few million rows.
    """
    return threads if table.counts["scored"] <= IN_MEMORY_ROWS else engine.map


def stored_selection(
    table: ScoreTable,
    arm: ArmConfig,
    uri: str,
    *,
    fraction: float | None = None,
    count: int | None = None,
    seed: int,
    map_fn: MapFn,
) -> Selection:
    """Return the selection in folder `uri` if arm, budget, seed, scores and corpus are the same, else write it."""
    if storage.exists(storage.join(uri, SELECTION_MANIFEST)):
        result = Selection.load(uri)
        same_budget = (result.fraction, result.seed) == (fraction, seed) and count in (None, result.counts[KEPT])
        same_scores = (
            result.scores in (None, table.fingerprint)
            and result.counts["in"] == table.counts["in"]
            and result.counts["quarantined"] == table.counts["quarantined"]
        )
        if same_scores and same_budget and result.corpus == table.corpus and _same_arm(result, arm):
            return result
    return write_selection(table, arm, uri, fraction=fraction, count=count, seed=seed, map_fn=map_fn)


def _same_arm(found: Selection, arm: ArmConfig) -> bool:
    """Return whether a stored selection was made by this arm, and by the same version of a plug-in policy."""
    plugin = policy_plugin(arm)
    return found.arm == arm.to_dict() and found.plugin == (None if plugin is None else plugin.to_dict())
