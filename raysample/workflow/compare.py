"""The comparison: write the selections, warn about their effect on classes, retrain every cell, summarise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, CompareConfig
from raysample.core.map_fn import MapFn, threads
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.evaluation import FULL, ArmCell, doubts
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.class_balance import class_shift, class_warnings
from raysample.evaluation.comparison import Comparison
from raysample.execution.base import Executor
from raysample.selection import Selection, write_selection
from raysample.selection.lengths import length_warnings
from raysample.selection.policies import AUTO, create_policy, policy_plugin
from raysample.selection.policies.steps import policy_columns
from raysample.selection.table_blocks import IN_MEMORY_ROWS
from raysample.tracking import Value
from raysample.training.fine_tuning import Job, Outcome, outcome_of, read_outcome, steps
from raysample.workflow.choice import Chooser
from raysample.workflow.context import RunContext
from raysample.workflow.layout import RunFolder
from raysample.workflow.tracked_selection import store_selection
from raysample.workflow.training_results import figures

FIXED = (
    "The selection was fixed: {} chose by the same scores for every seed, so the intervals do not tell how other runs "
    "would have scored."
)
OWN = "Every seed selected by scores of other runs ({}): the intervals hold what runs differ in scoring, too."
SHARED = (
    "{} chose for {} seeds by the scores of {} runs in turn, so the intervals hold in part what runs differ in scoring."
)


@dataclass
class Retraining:
    """Arms x fractions x seeds on one score table; `job(seed)` gives the recipe on all rows.

    `own`: score tables that some seeds use for their selections in place of `table`. `chooser`: chooses what `auto`
    stands for, at each fraction; None without an `auto` arm.
    """

    config: CompareConfig
    context: RunContext
    run_folder: RunFolder
    table: ScoreTable
    checkpoint_sets: Sequence[CheckpointSet]
    train: Corpus
    job: Callable[[int], Job]
    params: Callable[..., dict[str, Value]]
    notes: tuple[str, ...] = ()
    selections: dict[ArmCell, Selection] = field(default_factory=dict)
    own: Mapping[int, ScoreTable] = field(default_factory=dict)
    chooser: Chooser | None = None
    chosen: dict[float, tuple[ArmConfig, ScoreTable]] = field(default_factory=dict)

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
                selection = self._selection(arm, fraction, seed)
                self.selections[arm.name, fraction, seed] = selection
                if seed == self.config.seeds[0]:
                    run.dataset(
                        arm.name, selection.uri, selection.fingerprint, "selection", {"keep_fraction": f"{fraction:g}"}
                    )
                    store_selection(run, selection)
        self.context.reporter.say(f"  {len(self.selections)} selections in {self.run_folder.at('selections')}")
        self._tell_classes()

    def _tell_classes(self) -> None:
        """Report class shifts, the classes that lose most rows, and warnings."""
        for (arm, fraction), kept in self.kept_counts().items():
            shares = {c: kept[c] / n for c, n in enumerate(self.train.class_counts) if n}
            least = min(shares, key=lambda c: shares[c])
            self.context.reporter.say(
                f"  {arm} at {fraction:.0%}: class shift {class_shift(self.train.class_counts, kept):.2f}, "
                f"cuts {self.train.labels[least]} most ({kept[least]:,} of {self.train.class_counts[least]:,} left)"
            )
        for warning in (*self.class_warnings(), *self.length_warnings()):
            self.context.reporter.say(f"  warning: {warning}")

    def _selection(self, arm: ArmConfig, fraction: float, seed: int) -> Selection:
        """Return a cell's selection: the stored one if arm, scores and corpus are the same, else a new one."""
        uri = self.run_folder.selection(arm, fraction, seed)
        arm, table = self._resolved(arm, fraction, seed)
        if storage.exists(storage.join(uri, "selection.json")):
            result = Selection.load(uri)
            same_scores = (
                result.scores in (None, table.fingerprint)
                and result.counts["in"] == table.counts["in"]
                and result.counts["quarantined"] == table.counts["quarantined"]
            )
            if same_scores and result.corpus == table.corpus and _same_arm(result, arm):
                return result
        return write_selection(
            table, arm, uri, fraction=fraction, seed=seed, map_fn=map_for(table, self.context.executor)
        )

    def _resolved(self, arm: ArmConfig, fraction: float, seed: int) -> tuple[ArmConfig, ScoreTable]:
        """Return the arm that a cell selects by, and the table that it reads: for `auto`, what the race chose."""
        if arm.policy != AUTO or self.chooser is None:
            return arm, self.own.get(seed, self.table) if self._columns(arm) else self.table
        if fraction not in self.chosen:
            race = self.chooser.race(fraction)
            self.context.reporter.say(f"  auto at {fraction:.0%}: {race.reason}")
            self.chosen[fraction] = race.chosen_arm, self.chooser.table(race.chosen_arm)[0]
        return self.chosen[fraction]

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

    def class_warnings(self) -> tuple[str, ...]:
        """Return warnings about classes that the selections empty or nearly wipe out."""
        return class_warnings(self.train.labels, self.train.class_counts, self.kept_counts())

    def retrain(self) -> Comparison:
        """Train every unfinished cell, including the full data set with every seed, and summarise."""
        jobs = {cell: self._job(*cell) for cell in self._all_cells()}
        results: dict[ArmCell, Outcome] = {}
        for cell, job in jobs.items():
            found = self._finished(cell, job)
            if found is not None:
                results[cell] = found
        if results:
            self.context.reporter.say(f"  {len(results)} of {len(jobs)} runs were finished before")
        missing = {job.key: cell for cell, job in jobs.items() if cell not in results}
        # Longest jobs first, so that no CPU idles at the end while the last long job runs.
        todo = sorted((jobs[cell] for cell in missing.values()), key=lambda job: -steps(job))
        run_all, reporter = self.context.executor.fine_tune_many, self.context.reporter
        for job, outcome in run_all(todo, self.config.workers, reporter) if todo else ():
            cell = missing[job.key]
            self._store_outcome(cell, job, outcome)
            results[cell] = outcome
            self._track(cell, outcome)
        for cell in [cell for cell in jobs if cell not in missing.values()]:
            self._track(cell, results[cell], reused=True)
        return self._summarised([(cell, results[cell]) for cell in jobs])

    def _store_outcome(self, cell: ArmCell, job: Job, outcome: Outcome) -> None:
        """Store the outcome of a retraining; the JSON file is written last, since it marks the run as finished."""
        if outcome.evaluation.predictions is not None:
            storage.write_parquet(self.run_folder.predictions(*cell), outcome.evaluation.predictions.table())
        storage.write_json(self.run_folder.result(*cell), {"key": job.key, "cell": list(cell), **outcome.to_dict()})

    def _all_cells(self) -> Iterator[ArmCell]:
        """Yield every cell: the full data set with every seed, then every arm."""
        for seed in self.config.seeds:
            yield FULL, 1.0, seed
        for arm, fraction, seed in self.cells():
            yield arm.name, fraction, seed

    def _job(self, arm: str, fraction: float, seed: int) -> Job:
        """Return the job of a cell: the recipe on the rows of its selection."""
        whole = self.job(seed)
        if arm == FULL:
            return whole
        chosen = self.selections[arm, fraction, seed]
        fixed = steps(whole) if self.config.regime == "equal_steps" else None
        # The cell is part of the key: two fractions may round to the same rows.
        key = storage.fingerprint([whole.key, chosen.fingerprint, fixed, arm, fraction])
        return replace(whole, selection=chosen.uri, steps=fixed, key=key)

    def _finished(self, cell: ArmCell, job: Job) -> Outcome | None:
        """Return the stored outcome of a cell if it was made by the same job, else None."""
        watched = next(
            (checkpoint_set for checkpoint_set in self.checkpoint_sets if checkpoint_set.config.get("key") == job.key),
            None,
        )
        if cell[0] == FULL and watched is not None:
            # A scored fine-tuning run is the full-data run of its seed.
            return outcome_of(watched.uri)
        uri = self.run_folder.result(*cell)
        if not storage.exists(uri):
            return None
        same = manifests.mapping(uri, "key")["key"] == job.key
        return read_outcome(uri, self.run_folder.predictions(*cell)) if same else None

    def _track(self, cell: ArmCell, outcome: Outcome, reused: bool = False) -> None:
        """Track one retraining as a nested run."""
        arm, fraction, seed = cell
        config = next((a for a in self.config.arms if a.name == arm), None)
        values: dict[str, Any] = {"method": arm, "keep_fraction": fraction, "seed": seed, "n_train": outcome.rows}
        if config is not None:
            values |= {
                "policy": config.policy,
                "score": config.score,
                "normalise": config.normalise,
                "quota": config.quota,
            }
        name = f"{arm} {fraction:.0%} seed {seed}"
        with self.context.tracker.run(name, self.params("arm", **values), {"reused": str(reused).lower()}) as run:
            if cell in self.selections:
                chosen = self.selections[cell]
                run.dataset(arm, chosen.uri, chosen.fingerprint, "training", {"parent": self.train.fingerprint})
            sizes = {"train_seconds": outcome.seconds, "kept_rows": outcome.rows, "steps": outcome.steps}
            run.metrics({**figures(outcome), **sizes})

    def _summarised(self, outcomes: list[tuple[ArmCell, Outcome]]) -> Comparison:
        """Return the comparison of all outcomes, with verdicts, doubts and warnings, and store it."""
        runs = tuple(
            RunResult(*cell, o.rows, o.steps, {**o.evaluation.metrics, "train_seconds": o.seconds}, o.evaluation.recall)
            for cell, o in outcomes
        )
        names = () if self.train.levels is None else self.train.levels.names
        comparison = Comparison(
            labels=self.train.labels,
            class_counts=tuple(self.train.class_counts),
            kept_counts=self.kept_counts(),
            runs=runs,
            summaries=summarise(runs),
            confidence=self.config.confidence,
            regime=self.config.regime,
            warnings=self.warnings(),
            levels=tuple(name for name in names if all(f"{name}_accuracy" in run.metrics for run in runs)),
        )
        said = {cell: o.evaluation.predictions for cell, o in outcomes if o.evaluation.predictions is not None}
        found = comparison.judged(said, self.config.objective, self.config.tolerance)
        losses = {cell: o.evaluation.metrics.get("nll", math.nan) for cell, o in outcomes}
        doubtful = doubts(said, losses, self.train.labels)
        warnings = (*doubtful, *comparison.warnings)
        comparison = replace(comparison, **found, doubts=doubtful, warnings=warnings, remarks=self._remarks())
        storage.write_json(self.run_folder.comparison, comparison.to_dict())
        return comparison

    def _remarks(self) -> tuple[str, ...]:
        """Return a sentence on whether all seeds selected by the same scores, which affects the intervals."""
        scored, seeds = self.scored_arms(), len(self.config.seeds)
        if not scored or seeds < 2:
            return ()
        runs = len({table.fingerprint for table in self.own.values()})
        if not runs:
            return (FIXED.format(", ".join(scored)),)
        return (OWN.format(", ".join(scored)) if runs == seeds else SHARED.format(", ".join(scored), seeds, runs),)


def map_for(table: ScoreTable, engine: Executor) -> MapFn:
    """Return the map function of a selection: threads for tables that fit in memory, else the executor's.

    Starting tasks takes longer than counting a few million rows.
    """
    return threads if table.counts["scored"] <= IN_MEMORY_ROWS else engine.map


def _same_arm(found: Selection, arm: ArmConfig) -> bool:
    """Return whether a stored selection was made by this arm, and by the same version of a plug-in policy."""
    plugin = policy_plugin(arm)
    return found.arm == arm.to_dict() and found.plugin == (None if plugin is None else plugin.to_dict())
