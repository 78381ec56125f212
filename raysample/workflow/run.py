"""The steps of a run: each reads and writes nouns in the workspace, reuses what is finished, tells the tracker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raysample import models
from raysample.core import storage
from raysample.core.config import RunConfig, ScoreConfig
from raysample.core.errors import ConfigError
from raysample.core.progress import Reporter
from raysample.data.checkpoint_set import MANIFEST as CHECKPOINTS_MANIFEST
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.corpus import overlap as overlaps
from raysample.data.score_table import MANIFEST as SCORES_MANIFEST
from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.execution.base import Executor
from raysample.influence import label_origin
from raysample.influence.shards.crash_counter import reopen
from raysample.tracking import Tracker, Value
from raysample.training.fine_tuning import CURVE, EVALUATION, Job, clear, finish_job
from raysample.workflow import adopt, economy, tracker_params, training_results
from raysample.workflow.checks import check_windows, corpus_line, corpus_remarks
from raysample.workflow.compare import Retraining
from raysample.workflow.describe import describe_both
from raysample.workflow.layout import Workspace
from raysample.workflow.per_run_scores import own_scores
from raysample.workflow.score import described_targets, score_corpus
from raysample.workflow.score_identity import ScoringPlan


@dataclass
class Pipeline:
    """One run's steps in order: corpora, checkpoints, scores, selections, comparison."""

    config: RunConfig
    engine: Executor
    tracker: Tracker
    reporter: Reporter
    durations: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workspace = Workspace.of(self.config)
        self.mine = self.workspace.check(self.config)
        self._taken: CheckpointSet | None = None

    def corpora(self) -> tuple[Corpus, Corpus]:
        """Describe the training and test corpora, or take the descriptions that are there."""
        space = self.workspace
        if not self.mine:
            self._timed("describe", self._describe)
        train, test = Corpus.load(space.train), Corpus.load(space.test)
        for name, corpus in (("train", train), ("test", test)):
            self.reporter.say(f"  {name}: {corpus_line(corpus)}")
            for remark in corpus_remarks(corpus):
                self.reporter.say(f"    {remark}")
        found = self.overlap(train, test)
        if found.test_rows:
            self.reporter.say(f"  {overlaps.describe_overlap(found, test.rows)}")
        return train, test

    def overlap(self, train: Corpus, test: Corpus) -> overlaps.Overlap:
        """Find the texts that lie in both corpora, once."""
        found = overlaps.stored_overlap(self.workspace.overlap, train, test)
        if found is None:
            found = overlaps.overlap(train, test, self.engine.map)
            storage.write_json(self.workspace.overlap, found.to_dict())
        return found

    def _describe(self) -> None:
        # The order of an adopted classifier's outputs is that of the classes.
        known = None if self.config.adopt is None else self._adopted().labels
        describe_both(self.config.corpus, self.workspace, known)

    def base(self, train: Corpus) -> str:
        """Make or check the model folder to start from."""
        return models.prepare_base(self.config.model, train, self.workspace.at("model"))

    def checkpoints(self) -> list[CheckpointSet]:
        """Fine-tune on all rows, once per run of `score.runs`, keeping the checkpoints; finished runs are reused.

        With `adopt` nothing is trained: the checkpoints are what others saved.
        """
        if self.config.adopt is not None:
            return [self._adopt()]
        self.reporter.say("fine-tune")
        train, test = self.corpora()
        base = self.base(train)
        check_windows(self.config, train.rows)
        self.workspace.claim(self.config)
        self.mine = True
        return [self._fine_tuned(train, test, base, seed) for seed in self.seeds]

    def _adopt(self) -> CheckpointSet:
        self.reporter.say("adopt")
        train, _ = self.corpora()
        trace = self.adopted(train)
        self.workspace.claim(self.config)
        self.mine = True
        with self.tracker.run("adopt", self.params("adopt", n_train=train.rows)) as run:
            run.metrics({"checkpoints": len(trace.checkpoints)})
        self.reporter.say(f"  {len(trace.checkpoints)} checkpoints, from {', '.join(trace.config['from'])}")
        return trace

    def adopted(self, train: Corpus) -> CheckpointSet:
        """Return the checkpoints that are adopted, once they suit the scores and the classes of the rows."""
        trace = self._adopted()
        adopt.check_adopted(trace, train, self.config.score, self.reporter)
        return trace

    def _adopted(self) -> CheckpointSet:
        assert self.config.adopt is not None
        if self._taken is None:
            self._taken = adopt.adopted(self.config.adopt, self.workspace.adopted, keep=self.mine)
        return self._taken

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs whose checkpoints are scored."""
        return [self.config.fine_tune.seed + run for run in range(self.config.score.runs)]

    def _fine_tuned(self, train: Corpus, test: Corpus, base: str, seed: int) -> CheckpointSet:
        folder = self.workspace.checkpoints(seed)
        job = self.job(train, test, base, seed, folder)
        with self.tracker.run("fine-tune", self.params("fine-tune", seed=seed, n_train=train.rows)) as run:
            run.dataset("train", train.uri, train.fingerprint, "training")
            trace = _finished_checkpoints(folder, job.key)
            if trace is None:
                trace = self._train(job)
                training_results.tell_curve(run, storage.join(folder, CURVE))
            else:
                self.reporter.say("  finished before, taken as it is")
            outcome = training_results.load_outcome(trace)
            run.metrics({**training_results.figures(outcome), "kept_rows": train.rows})
        self.reporter.say(f"  {len(trace.checkpoints)} checkpoints, {training_results.training_headline(outcome)}")
        for line in (*training_results.training_remarks(outcome), *(f"warning: {doubt}" for doubt in trace.warnings)):
            self.reporter.say(f"  {line}")
        return trace

    def _train(self, job: Job) -> CheckpointSet:
        """Fine-tune, from the newest state that an earlier attempt left, if it was the same run."""
        clear(job)
        workers = self.config.fine_tune.workers_range
        outcome = self._timed("fine-tune", lambda: self.engine.fine_tune(job, workers, self.reporter))
        for note in filter(None, (*outcome.notes, outcome.resumed)):
            self.reporter.say(f"  {note}")
        trace: CheckpointSet = finish_job(job, outcome)
        return trace

    def scores(self) -> ScoreTable:
        """Score every training row at the checkpoints; finished shards are kept, only missing ones are done."""
        if self.config.adopt is not None and not self.mine:
            self.checkpoints()
        self.reporter.say("score")
        traces = self.traces()
        train = Corpus.load(self.workspace.train)
        names = ", ".join(spec if isinstance(spec, str) else spec["name"] for spec in self.config.score.scores)
        params = self.params(
            "score",
            seed=traces[0].seed,
            n_train=train.rows,
            scores=names,
            precision=economy.precision(self.config.score),
        )
        with self.tracker.run("score", params) as run:
            began = time.perf_counter()
            table = score_corpus(
                traces,
                train,
                self.config.score,
                self.config.model,
                self.workspace.scores,
                self.engine,
                self.reporter,
                run,
            )
            self.durations["score"] = time.perf_counter() - began
            run.dataset("train", train.uri, train.fingerprint, "scoring")
            counts = {f"{name}_rows": table.counts[name] for name in ("scored", "quarantined")}
            run.metrics(counts, step=table.counts["in"])
            costs = {f"cost_{name}": value for name, value in table.cost.items()}
            run.metrics({"score_seconds": self.durations["score"], **costs})
            run.artifact(storage.join(table.uri, SCORES_MANIFEST))
        share = table.cost.get("share_of_training")
        paid = "" if share is None else f", at {share:.2f} of one fine-tuning"
        self.reporter.say(f"  {table.counts['scored']:,} rows x {len(table.columns)} scores{paid} in {table.uri}")
        if train.origin != "gold":
            self.reporter.say(f"  {label_origin.describe_label_origin(train.origin, table.scores)}")
        return table

    def retry(self) -> ScoreTable:
        """Score the shards again that set rows aside, and nothing else."""
        train = Corpus.load(self.workspace.train)
        folder = storage.join(self.workspace.scores, self._plan(train).parts)
        rows = reopen(folder, train.shards)
        self.reporter.say(f"retry: {rows:,} rows are in quarantine")
        table = self.scores()
        self.reporter.say(f"  {rows - table.counts['quarantined']:,} of them have scores now")
        return table

    def _plan(self, train: Corpus) -> ScoringPlan:
        targets = described_targets(self.config.score, self.workspace.scores)
        config = self.score_config(train)
        return ScoringPlan.of(self.traces(), train.fingerprint, config, self.config.model, targets, train.grouped)

    def traces(self) -> list[CheckpointSet]:
        """Load the checkpoints that `fine-tune` wrote, one set per run; or those that were adopted."""
        folders = [self.workspace.checkpoints(seed) for seed in self.seeds]
        folders = folders if self.config.adopt is None else [self.workspace.adopted]
        for folder in folders:
            _need(storage.join(folder, CHECKPOINTS_MANIFEST), "checkpoints", "fine-tune")
        return [CheckpointSet.load(folder) for folder in folders]

    def table(self) -> ScoreTable:
        """Load the table that `score` wrote."""
        _need(storage.join(self.workspace.scores, SCORES_MANIFEST), "score table", "score")
        table = ScoreTable.load(self.workspace.scores)
        if table.made_by["key"] != self._plan(Corpus.load(self.workspace.train)).key:
            raise ConfigError(
                f"the score table {table.uri!r} was made with other score options, checkpoints or code",
                "run `raysample score` with this configuration first",
            )
        return table

    def score_config(self, train: Corpus) -> ScoreConfig:
        """Return how the table was scored: what `score.economy` came to, where it is asked for."""
        config = self.config.score
        choice = None
        if config.economy is not None:
            choice = economy.stored_choice(config, self.traces(), train, self.workspace.scores)
        return config if choice is None else economy.economy_config(config, choice)

    def retraining(self) -> Retraining:
        """Return the comparison's steps on the table that is there."""
        traces, table = self.traces(), self.table()
        train, test = Corpus.load(self.workspace.train), Corpus.load(self.workspace.test)
        base = self.base(train)

        def job(seed: int) -> Job:
            return self.job(train, test, base, seed, None)

        return Retraining(
            self.config.compare,
            self.workspace,
            table,
            traces,
            train,
            job,
            self.params,
            self.tracker,
            self.reporter,
            self._notes(train, test),
        )

    def _notes(self, train: Corpus, test: Corpus) -> tuple[str, ...]:
        """Return what a reader of the comparison must know of the corpora."""
        found = overlaps.stored_overlap(self.workspace.overlap, train, test)
        repeats = (overlaps.describe_overlap(found, test.rows),) if found is not None and found.test_rows else ()
        return (*label_origin.test_warnings(test), *repeats)

    def sample(self) -> Retraining:
        """Write the selections of all arms and show what they do to the classes."""
        self.reporter.say("sample")
        retraining = self.retraining()
        retraining.own = own_scores(self.config, retraining, self.engine)
        self._timed("sample", lambda: retraining.select(self.engine))
        return retraining

    def compare(self) -> Comparison:
        """Retrain every arm at every fraction with every seed, and summarise."""
        retraining = self.sample()
        self.reporter.say("compare")
        comparison: Comparison = self._timed("compare", lambda: retraining.retrain(self.engine))
        return comparison

    def job(self, train: Corpus, test: Corpus, base: str, seed: int, folder: str | None) -> Job:
        """Return the recipe as a job on all rows; its key names everything the result depends on."""
        recipe, saved = self.config.fine_tune.model_copy(update={"seed": seed}), check_windows(self.config, train.rows)
        if folder is None:
            # Compared are equal numbers of steps, whatever held-out rows would say.
            recipe = recipe.model_copy(update={"early_stopping": None})
        key = storage.fingerprint(
            [train.fingerprint, test.fingerprint, self.config.model.to_dict(), recipe.recipe, saved]
        )
        return Job(train.uri, test.uri, base, self.config.model, recipe, folder=folder, save_at=saved, key=key)

    def params(self, verb: str, **values: Value) -> dict[str, Value]:
        """Return the parameters of one tracked run: the same names in every run, so that MLflow can compare them."""
        return tracker_params.params(self.config, verb, values)

    def provenance(self) -> dict[str, Any]:
        """Return what the report says about how it was made."""
        train, test = Corpus.load(self.workspace.train), Corpus.load(self.workspace.test)
        return tracker_params.provenance(self.config, (train, test), self.table(), self.traces()[0], self.durations)

    def _timed(self, step: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return work()
        finally:
            self.durations[step] = time.perf_counter() - began


def _finished_checkpoints(folder: str, key: str) -> CheckpointSet | None:
    if not (
        storage.exists(storage.join(folder, CHECKPOINTS_MANIFEST)) and storage.exists(storage.join(folder, EVALUATION))
    ):
        return None
    trace = CheckpointSet.load(folder)
    return trace if trace.config.get("key") == key else None


def _need(manifest: str, what: str, verb: str) -> None:
    if not storage.exists(manifest):
        raise ConfigError(
            f"there is no {what} at {manifest!r} yet", f"run `raysample {verb}` with this configuration first"
        )
