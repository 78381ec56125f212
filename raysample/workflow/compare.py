"""The comparison: retrain every cell on its selection, and summarise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raysample.core import manifests, storage
from raysample.data.checkpoint_set import CheckpointSet
from raysample.evaluation import FULL, ArmCell, doubts
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.new_texts import few_new_texts, find_new_texts
from raysample.training.fine_tuning import Job, Outcome, outcome_of, read_outcome, steps
from raysample.workflow.auto_choice import auto_remarks
from raysample.workflow.selections import ArmSelections
from raysample.workflow.training_results import figures

FIXED = (
    "The selection was fixed: {} chose by the same scores for every seed, so the intervals do not tell how other runs "
    "would have scored."
)
OWN = "Every seed selected by scores of other runs ({}): the intervals hold what runs differ in scoring, too."
SHARED = (
    "{} chose for {} seeds by the scores of {} runs in turn, so the intervals hold in part what runs differ in scoring."
)


@dataclass(kw_only=True)
class Retraining(ArmSelections):
    """The retraining on these selections."""

    checkpoint_sets: Sequence[CheckpointSet]

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
        """Return the job of a cell: the recipe on the rows of its selection, or of those of its epochs."""
        whole = self.job(seed)
        if arm == FULL:
            return whole
        first, *redraws = self.selections[arm, fraction, seed], *self.redraws.get((arm, fraction, seed), ())
        fixed = self.fixed_steps(whole)
        # The cell is part of the key: two fractions may round to the same rows.
        chosen = [selection.fingerprint for selection in (first, *redraws)]
        key = storage.fingerprint([whole.key, chosen, fixed, arm, fraction])
        redrawn = tuple(selection.uri for selection in redraws)
        return replace(whole, selection=first.uri, redraws=redrawn, steps=fixed, key=key)

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
                "draws": 1 + len(self.redraws.get(cell, ())),
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
        runs = tuple(_run_result(cell, outcome) for cell, outcome in outcomes)
        # The test rows are the same for every run.
        counts = outcomes[0][1].evaluation.counts
        names = () if self.train.levels is None else self.train.levels.names
        comparison = Comparison(
            labels=self.train.labels,
            class_counts=tuple(self.train.class_counts),
            kept_counts=self.kept_counts(),
            runs=runs,
            summaries=summarise(runs),
            confidence=self.config.confidence,
            regime=self.config.regime,
            warnings=(*self.warnings(), *few_new_texts(counts)),
            new_texts=find_new_texts(counts),
            levels=tuple(name for name in names if all(f"{name}_accuracy" in run.metrics for run in runs)),
        )
        said = {cell: o.evaluation.predictions for cell, o in outcomes if o.evaluation.predictions is not None}
        found = comparison.judged(said, self.config.objective, self.config.tolerance)
        losses = {cell: o.evaluation.metrics.get("nll", math.nan) for cell, o in outcomes}
        doubtful = doubts(said, losses, self.train.labels)
        warnings = (*doubtful, *comparison.warnings)
        comparison = replace(comparison, **found, doubts=doubtful, warnings=warnings)
        comparison = replace(comparison, remarks=(*auto_remarks(self.chosen, comparison), *self._remarks()))
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


def _run_result(cell: ArmCell, outcome: Outcome) -> RunResult:
    """Return the results of one retraining."""
    found, chosen = outcome.evaluation, {} if outcome.validation is None else outcome.validation.metrics
    metrics = {**found.metrics, "train_seconds": outcome.seconds}
    return RunResult(*cell, outcome.rows, outcome.steps, metrics, found.recall, chosen)
