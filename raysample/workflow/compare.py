"""The comparison: retrain every cell on its selection, and summarise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from raysample.core import manifests, storage
from raysample.core.config.selection import Regime
from raysample.data.checkpoint_set import CheckpointSet
from raysample.evaluation import FULL, ArmCell, doubts
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.new_texts import few_new_texts, find_new_texts
from raysample.training.fine_tuning import Job, Outcome, outcome_of, read_outcome, steps
from raysample.workflow.auto_choice import auto_remarks
from raysample.workflow.selections import ArmSelections, fixed_steps, training_passes
from raysample.workflow.training_results import figures

FIXED = (
    "The selection was fixed: {} chose by the same scores for every seed, so the intervals do not tell how other runs "
    "would have scored."
)
OWN = "Every seed selected by scores of other runs ({}): the intervals hold what runs differ in scoring, too."
SHARED = (
    "{} chose for {} seeds by the scores of {} runs in turn, so the intervals hold in part what runs differ in scoring."
)


class RegimeCell(NamedTuple):
    """One retraining: its cell and its regime. Training on all data is the same in every regime, and done once."""

    cell: ArmCell
    regime: Regime


@dataclass(kw_only=True)
class Retraining(ArmSelections):
    """The retraining on these selections."""

    checkpoint_sets: Sequence[CheckpointSet]

    def retrain(self) -> Comparison:
        """Train every unfinished cell in its regimes, including the full data set with every seed, and summarise."""
        jobs = {run: self._job(run) for run in self._all_runs()}
        results: dict[RegimeCell, Outcome] = {}
        for run, job in jobs.items():
            found = self._finished(run, job)
            if found is not None:
                results[run] = found
        if results:
            self.context.reporter.say(f"  {len(results)} of {len(jobs)} runs were finished before")
        missing = {job.key: run for run, job in jobs.items() if run not in results}
        # Longest jobs first, so that no CPU idles at the end while the last long job runs.
        todo = sorted((jobs[run] for run in missing.values()), key=lambda job: -steps(job))
        run_all, reporter = self.context.executor.fine_tune_many, self.context.reporter
        for job, outcome in run_all(todo, self.config.workers, reporter) if todo else ():
            run = missing[job.key]
            self._store_outcome(run, job, outcome)
            results[run] = outcome
            self._track(run, job, outcome)
        for run in [run for run in jobs if run not in missing.values()]:
            self._track(run, jobs[run], results[run], reused=True)
        return self._summarised({run: results[run] for run in jobs})

    def _store_outcome(self, run: RegimeCell, job: Job, outcome: Outcome) -> None:
        """Store the outcome of a retraining; the JSON file is written last, since it marks the run as finished."""
        place, content = (*run.cell, run.regime), {"key": job.key, "cell": list(run.cell), **outcome.to_dict()}
        if outcome.evaluation.predictions is not None:
            storage.write_parquet(self.run_folder.predictions(*place), outcome.evaluation.predictions.table())
        storage.write_json(self.run_folder.result(*place), content)

    def _all_runs(self) -> Iterator[RegimeCell]:
        """Yield every retraining: the full data set with every seed, then every arm in every regime of its fraction."""
        for seed in self.config.seeds:
            yield RegimeCell((FULL, 1.0, seed), "equal_epochs")
        for arm, fraction, seed in self.cells():
            for regime in self.config.regimes(fraction):
                yield RegimeCell((arm.name, fraction, seed), regime)

    def _job(self, run: RegimeCell) -> Job:
        """Return the job of a retraining: the recipe on the rows of its selection, or of those of its epochs."""
        arm, fraction, seed = run.cell
        whole = self.job(seed)
        if arm == FULL:
            return whole
        first, fixed = self.selections[run.cell], fixed_steps(whole, run.regime)
        # A training at equal steps may have more epochs than one at equal epochs, and so more draws.
        redraws = self.redraws.get(run.cell, ())[: training_passes(first, whole, fixed) - 1]
        # The cell is part of the key: two fractions may round to the same rows.
        chosen = [selection.fingerprint for selection in (first, *redraws)]
        key = storage.fingerprint([whole.key, chosen, fixed, arm, fraction])
        redrawn = tuple(selection.uri for selection in redraws)
        return replace(whole, selection=first.uri, redraws=redrawn, steps=fixed, key=key)

    def _finished(self, run: RegimeCell, job: Job) -> Outcome | None:
        """Return the stored outcome of a retraining if it was made by the same job, else None."""
        watched = next(
            (checkpoint_set for checkpoint_set in self.checkpoint_sets if checkpoint_set.config.get("key") == job.key),
            None,
        )
        if run.cell[0] == FULL and watched is not None:
            # A scored fine-tuning run is the full-data run of its seed.
            return outcome_of(watched.uri)
        uri = self.run_folder.result(*run.cell, run.regime)
        if not storage.exists(uri):
            return None
        same = manifests.mapping(uri, "key")["key"] == job.key
        return read_outcome(uri, self.run_folder.predictions(*run.cell, run.regime)) if same else None

    def _track(self, retrained: RegimeCell, job: Job, outcome: Outcome, reused: bool = False) -> None:
        """Track one retraining as a nested run.

        The run of an arm has its regime as a parameter, and in its name if it stands beside one at equal epochs. A run
        on all data has the parameter of the configuration, since all regimes share it.
        """
        cell, regime = retrained
        arm, fraction, seed = cell
        name = f"{arm} {fraction:.0%} seed {seed}"
        config = next((a for a in self.config.arms if a.name == arm), None)
        values: dict[str, Any] = {"method": arm, "keep_fraction": fraction, "seed": seed, "n_train": outcome.rows}
        if config is not None:
            values |= {
                "policy": config.policy,
                "score": config.score,
                "normalise": config.normalise,
                "quota": config.quota,
                "draws": 1 + len(job.redraws),
                "regime": regime,
            }
            name += "" if regime == self.config.first_regime else " equal steps"
        with self.context.tracker.run(name, self.params("arm", **values), {"reused": str(reused).lower()}) as run:
            if cell in self.selections:
                chosen = self.selections[cell]
                run.dataset(arm, chosen.uri, chosen.fingerprint, "training", {"parent": self.train.fingerprint})
            sizes = {"train_seconds": outcome.seconds, "kept_rows": outcome.rows, "steps": outcome.steps}
            run.metrics({**figures(outcome), **sizes})

    def _summarised(self, outcomes: Mapping[RegimeCell, Outcome]) -> Comparison:
        """Return the comparison of all outcomes, that at equal steps inside it, with warnings and remarks; store it."""
        first = self.config.first_regime
        comparison = self._compared(outcomes, first)
        beside = None
        if any(run.regime != first and run.cell[0] != FULL for run in outcomes):
            beside = self._compared(outcomes, "equal_steps")
        new = () if beside is None else (doubt for doubt in beside.doubts if doubt not in comparison.doubts)
        counts = next(iter(outcomes.values())).evaluation.counts
        warnings = (*(f"at equal steps: {doubt}" for doubt in new), *self.warnings(), *few_new_texts(counts))
        remarks = (*auto_remarks(self.chosen, comparison), *self._remarks())
        warnings = (*comparison.doubts, *warnings)
        comparison = replace(comparison, warnings=warnings, remarks=remarks, equal_steps=beside)
        storage.write_json(self.run_folder.comparison, comparison.to_dict())
        return comparison

    def _compared(self, every: Mapping[RegimeCell, Outcome], regime: Regime) -> Comparison:
        """Return the comparison of the retrainings in one regime and on all data, with verdicts and doubts."""
        outcomes = {run.cell: outcome for run, outcome in every.items() if run.regime == regime or run.cell[0] == FULL}
        runs = tuple(_run_result(cell, outcome) for cell, outcome in outcomes.items())
        shares = {fraction for _, fraction, _ in outcomes}
        # The test rows are the same for every run.
        counts = next(iter(outcomes.values())).evaluation.counts
        names = () if self.train.levels is None else self.train.levels.names
        comparison = Comparison(
            labels=self.train.labels,
            class_counts=tuple(self.train.class_counts),
            kept_counts={cell: rows for cell, rows in self.kept_counts().items() if cell[1] in shares},
            runs=runs,
            summaries=summarise(runs),
            confidence=self.config.confidence,
            regime=regime,
            new_texts=find_new_texts(counts),
            choice_seconds=self.choice_seconds(),
            levels=tuple(name for name in names if all(f"{name}_accuracy" in run.metrics for run in runs)),
        )
        said = {cell: o.evaluation.predictions for cell, o in outcomes.items() if o.evaluation.predictions is not None}
        found = comparison.judged(said, self.config.objective, self.config.tolerance)
        losses = {cell: o.evaluation.metrics.get("nll", math.nan) for cell, o in outcomes.items()}
        return replace(comparison, **found, doubts=doubts(said, losses, self.train.labels))

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
