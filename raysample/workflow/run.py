"""The steps of a run: each reads and writes artifacts in the run folder, reuses finished work and is tracked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from raysample import models
from raysample.core import storage
from raysample.core.config import RunConfig, ScoreConfig
from raysample.core.errors import ConfigError
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import SCORES_MANIFEST, ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.influence.shards.crash_counter import reopen
from raysample.tracking import Value
from raysample.training.fine_tuning import Job
from raysample.workflow import adopt, economy, tracker_params, training_results
from raysample.workflow.checks import check_windows, require_artifact
from raysample.workflow.choice import chooser_of
from raysample.workflow.compare import Retraining
from raysample.workflow.context import RunContext
from raysample.workflow.describe import RunCorpora, corpus_notes, describe_corpora, report_corpora
from raysample.workflow.fine_tune import fine_tuned, finished_checkpoints
from raysample.workflow.layout import RunFolder
from raysample.workflow.per_run_scores import own_scores
from raysample.workflow.redrawn_rows import track_draws, with_draws
from raysample.workflow.score import score_corpus
from raysample.workflow.score_identity import ScoringPlan
from raysample.workflow.score_request import ScoreRequest
from raysample.workflow.score_results import score_lines, track_scores


@dataclass
class Pipeline:
    """The steps of one run in order: corpora, checkpoints, scores, selections, comparison."""

    config: RunConfig
    context: RunContext
    durations: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run_folder = RunFolder.from_config(self.config)
        self.mine = self.run_folder.check(self.config)
        self._taken: CheckpointSet | None = None

    def corpora(self) -> RunCorpora:
        """Describe the corpora of the run, or load existing descriptions of this configuration."""
        if not self.mine:
            # The classes must have the order of an adopted classifier's outputs.
            known = None if self.config.adopt is None else self._adopted().labels
            with self._timed("describe"):
                describe_corpora(self.config.corpus, self.run_folder, known)
        corpora = self._corpora()
        report_corpora(corpora, self.run_folder, self.context)
        return corpora

    def _corpora(self) -> RunCorpora:
        """Return the described corpora."""
        return RunCorpora.load(self.run_folder, self.config.corpus)

    def base(self, train: Corpus) -> str:
        """Return the folder of the initial model, created or checked."""
        return models.prepare_base(self.config.model, train, self.run_folder.at("model"))

    def checkpoints(self) -> list[CheckpointSet]:
        """Fine-tune on all rows, once per run of `score.runs`, keeping the checkpoints; finished runs are reused.

        With `adopt` nothing is trained: the adopted checkpoints are returned.
        """
        if self.config.adopt is not None:
            return [self._adopt()]
        self.context.reporter.say("fine-tune")
        corpora = self.corpora()
        base = self.base(corpora.train)
        check_windows(self.config, corpora.train.rows)
        self.run_folder.claim(self.config)
        self.mine = True
        return [self._fine_tuned(corpora, base, seed) for seed in self.seeds]

    def _adopt(self) -> CheckpointSet:
        """Adopt checkpoints and track the step."""
        self.context.reporter.say("adopt")
        train = self.corpora().train
        checkpoint_set = self.adopted(train)
        self.run_folder.claim(self.config)
        self.mine = True
        with self.context.tracker.run("adopt", self.params("adopt", n_train=train.rows)) as run:
            run.metrics({"checkpoints": len(checkpoint_set.checkpoints)})
        self.context.reporter.say(
            f"  {len(checkpoint_set.checkpoints)} checkpoints, from {', '.join(checkpoint_set.config['from'])}"
        )
        return checkpoint_set

    def adopted(self, train: Corpus) -> CheckpointSet:
        """Return the adopted checkpoints, after checking that they suit the scores and the classes."""
        checkpoint_set = self._adopted()
        adopt.check_adopted(checkpoint_set, train, self.config.score, self.context.reporter)
        return checkpoint_set

    def _adopted(self) -> CheckpointSet:
        """Return the adopted checkpoints, loaded or adopted once."""
        assert self.config.adopt is not None
        if self._taken is None:
            self._taken = adopt.adopted(self.config.adopt, self.run_folder.adopted, keep=self.mine)
        return self._taken

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs whose checkpoints are scored."""
        return [self.config.fine_tune.seed + run for run in range(self.config.score.runs)]

    def _fine_tuned(self, corpora: RunCorpora, base: str, seed: int) -> CheckpointSet:
        """Fine-tune one run, or reuse it if finished, and track it."""
        train, reporter = corpora.train, self.context.reporter
        job = self.job(corpora, base, seed, self.run_folder.checkpoints(seed))
        job = with_draws(job, train, self.run_folder.draws, self.context.executor.map)
        with self.context.tracker.run("fine-tune", self.params("fine-tune", seed=seed, n_train=train.rows)) as run:
            run.dataset("train", train.uri, train.fingerprint, "training")
            track_draws(run, job)
            checkpoint_set = finished_checkpoints(job)
            if checkpoint_set is None:
                with self._timed("fine-tune"):
                    checkpoint_set = fine_tuned(job, self.context.within(run))
            else:
                reporter.say("  finished before, taken as it is")
            outcome = training_results.load_outcome(checkpoint_set)
            run.metrics({**training_results.figures(outcome, tested=False), "kept_rows": outcome.rows})
        reporter.say(f"  {len(checkpoint_set.checkpoints)} checkpoints, {training_results.training_headline(outcome)}")
        doubts = [f"warning: {doubt}" for doubt in checkpoint_set.warnings]
        for line in (*training_results.training_remarks(outcome), *doubts):
            reporter.say(f"  {line}")
        return checkpoint_set

    def scores(self) -> ScoreTable:
        """Score every training row at the checkpoints; finished shards are reused, only missing ones are scored."""
        if self.config.adopt is not None and not self.mine:
            self.checkpoints()
        self.context.reporter.say("score")
        checkpoint_sets = self.checkpoint_sets()
        train = Corpus.load(self.run_folder.train)
        names = ", ".join(spec if isinstance(spec, str) else spec["name"] for spec in self.config.score.scores)
        params = self.params(
            "score",
            seed=checkpoint_sets[0].seed,
            n_train=train.rows,
            scores=names,
            precision=economy.precision(self.config.score),
        )
        with self.context.tracker.run("score", params) as run:
            with self._timed("score"):
                table = score_corpus(self.request(checkpoint_sets, self.config.score), train, self.context.within(run))
            track_scores(run, table, train, self.durations["score"])
        for line in score_lines(table, train, len(checkpoint_sets)):
            self.context.reporter.say(f"  {line}")
        return table

    def retry(self) -> ScoreTable:
        """Retry the shards that have quarantined rows, and no others."""
        train = Corpus.load(self.run_folder.train)
        folder = storage.join(self.run_folder.scores, self._plan(train).parts)
        rows = reopen(folder, train.shards)
        self.context.reporter.say(f"retry: {rows:,} rows are in quarantine")
        table = self.scores()
        self.context.reporter.say(f"  {rows - table.counts['quarantined']:,} of them have scores now")
        return table

    def request(self, checkpoint_sets: Sequence[CheckpointSet], config: ScoreConfig) -> ScoreRequest:
        """Return the scoring of the training rows at these checkpoints with this configuration."""
        return ScoreRequest(checkpoint_sets, config, self.config.model, self.run_folder.scores)

    def _plan(self, train: Corpus) -> ScoringPlan:
        """Return the plan of the training rows' score table, for comparison with the stored table."""
        request = self.request(self.checkpoint_sets(), self.score_config(train))
        return ScoringPlan.from_request(request, train.fingerprint, request.load_targets(), train.grouped)

    def checkpoint_sets(self) -> list[CheckpointSet]:
        """Return the checkpoints that `fine-tune` wrote, one set per run, or the adopted ones."""
        folders = [self.run_folder.checkpoints(seed) for seed in self.seeds]
        folders = folders if self.config.adopt is None else [self.run_folder.adopted]
        for folder in folders:
            require_artifact(storage.join(folder, CHECKPOINTS_MANIFEST), "checkpoints", "fine-tune")
        return [CheckpointSet.load(folder) for folder in folders]

    def table(self) -> ScoreTable:
        """Return the table that `score` wrote; raises ConfigError if it is missing or outdated."""
        require_artifact(storage.join(self.run_folder.scores, SCORES_MANIFEST), "score table", "score")
        table = ScoreTable.load(self.run_folder.scores)
        if table.made_by["key"] != self._plan(Corpus.load(self.run_folder.train)).key:
            raise ConfigError(
                f"the score table {table.uri!r} was made with other score options, checkpoints or code",
                "run `raysample score` with this configuration first",
            )
        return table

    def score_config(self, train: Corpus) -> ScoreConfig:
        """Return the score configuration of the table, with the choice of `score.economy` applied."""
        config = self.config.score
        choice = None
        if config.economy is not None:
            choice = economy.stored_choice(self.request(self.checkpoint_sets(), config), train)
        return config if choice is None else economy.economy_config(config, choice)

    def retraining(self) -> Retraining:
        """Return the steps of the comparison on the finished table."""
        checkpoint_sets, table = self.checkpoint_sets(), self.table()
        corpora = self._corpora()
        train, base = corpora.train, self.base(corpora.train)

        def job(seed: int) -> Job:
            """Return the job of one seed on all rows."""
            return self.job(corpora, base, seed, None)

        return Retraining(
            config=self.config.compare,
            context=self.context,
            run_folder=self.run_folder,
            table=table,
            checkpoint_sets=checkpoint_sets,
            train=train,
            job=job,
            params=self.params,
            notes=corpus_notes(corpora, self.run_folder),
            show_text=self.config.report.show_text,
            chooser=chooser_of(self.config, train, self.run_folder.at("auto"), self.context),
        )

    def sample(self) -> Retraining:
        """Write the selections of all arms and report their effect on the classes."""
        self.context.reporter.say("sample")
        retraining = self.retraining()
        own = own_scores(self.request(retraining.checkpoint_sets, self.config.score), retraining)
        retraining = replace(retraining, own=own)
        with self._timed("sample"):
            retraining.select()
        return retraining

    def compare(self) -> Comparison:
        """Retrain every arm at every fraction with every seed, and summarise."""
        retraining = self.sample()
        self.context.reporter.say("compare")
        with self._timed("compare"):
            return retraining.retrain()

    def job(self, corpora: RunCorpora, base: str, seed: int, folder: str | None) -> Job:
        """Return the recipe as a job on all rows; its key names everything the result depends on."""
        train, model = corpora.train, self.config.model
        recipe, saved = self.config.fine_tune.model_copy(update={"seed": seed}), check_windows(self.config, train.rows)
        if folder is None:
            # Arms are compared at equal steps, so retrainings never stop early; `full` is all rows in every epoch.
            recipe = recipe.model_copy(update={"early_stopping": None, "dynamic": None})
        rows = {name: corpus.fingerprint for name, corpus in corpora.named().items()}
        key = storage.fingerprint([rows, model.to_dict(), recipe.recipe, saved])
        chooses = None if corpora.validation is None else corpora.validation.uri
        job = Job(train.uri, corpora.test.uri, base, model, recipe, folder=folder, save_at=saved, key=key)
        return replace(job, validation=chooses)

    def params(self, verb: str, **values: Value) -> dict[str, Value]:
        """Return the parameters of one tracked run: the same names in every run, so that MLflow can compare them."""
        return tracker_params.params(self.config, verb, values)

    def provenance(self) -> dict[str, Any]:
        """Return the report's data on provenance."""
        corpora = self._corpora().named()
        return tracker_params.provenance(self.config, corpora, self.table(), self.checkpoint_sets()[0], self.durations)

    @contextmanager
    def tracked(self, verb: str) -> Iterator[Pipeline]:
        """Open a tracked run of the whole, and yield the pipeline whose steps are tracked inside it."""
        with self.context.tracker.run(self.config.name, self.params(verb)) as parent:
            yield replace(self, context=self.context.within(parent))

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        """Record the duration of a step in seconds."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.durations[step] = time.perf_counter() - began
