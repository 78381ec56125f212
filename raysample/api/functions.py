"""Functions from one artifact to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from raysample import models
from raysample.api.adoption import checkpoint_sets_of
from raysample.api.coercion import CorpusLike, corpus_of, folder_of, section, source_from, target_of, warn_of
from raysample.core import storage
from raysample.core.config import (
    ArmConfig,
    Columns,
    EconomyConfig,
    EngineConfig,
    FineTuneConfig,
    LabelsConfig,
    LandmarksConfig,
    ModelConfig,
    ScoreConfig,
    SourceConfig,
)
from raysample.core.progress import Reporter, SilentReporter
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus, Levels
from raysample.data.corpus import describe_source as describe_corpus
from raysample.data.log import Contents
from raysample.data.score_table import ScoreTable
from raysample.execution.create import create_executor
from raysample.influence.verification import Verification
from raysample.selection import Selection
from raysample.selection import write_selection as sample_table
from raysample.selection.lengths import length_warnings
from raysample.training.fine_tuning import Job, finish_job
from raysample.workflow import RunContext, ScoreRequest
from raysample.workflow.plugins import check_plugins, policy_plugins
from raysample.workflow.redrawn_rows import check_dynamic, with_draws
from raysample.workflow.score import score_corpus
from raysample.workflow.score_contents import score_contents
from raysample.workflow.verify import verify_finished


def describe(
    source: SourceConfig | str,
    output: str | None = None,
    *,
    columns: Columns | Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    levels: Levels | None = None,
    missing: Sequence[str] | None = None,
) -> Corpus:
    """Describe labelled texts as a Corpus.

    Args:
        source: a file, a folder, `hub:NAME`, or a SourceConfig.
        output: folder for the manifest and the quarantine; a new temporary one by default.
        columns: which columns hold text, label and so on.
        labels: fixed class names (for test corpora: those of the training corpus).
        levels: levels of the training corpus as well, if its label is hierarchical.
        missing: label values that mean no label, instead of the source's (by default -1 and "-"); with an empty list
            -1 is a class.

    >>> import raysample
    >>> from raysample.testing import tiny_corpus_files
    >>> corpus = raysample.describe(tiny_corpus_files("train", rows=60), columns={"id": "id"})
    >>> corpus.rows, corpus.labels
    (60, ('calm', 'quick', 'round'))
    """
    config = source_from(source, columns)
    if missing is not None:
        rule = section(LabelsConfig, {**config.labels.model_dump(), "missing": list(missing)})
        config = config.model_copy(update={"labels": rule})
    return describe_corpus(config, folder_of(output, "corpus"), labels=labels, levels=levels)


def fine_tune(
    train: CorpusLike,
    test: CorpusLike,
    output: str | None = None,
    *,
    model: ModelConfig | str = "tiny",
    recipe: FineTuneConfig | Mapping[str, Any] | None = None,
    engine: EngineConfig | None = None,
    reporter: Reporter | None = None,
) -> CheckpointSet:
    """Fine-tune a classifier and keep the checkpoints for scoring; emits a ResultWarning if the model learnt nothing.

    Args:
        train, test: Corpus objects, sources, or paths.
        output: folder of the CheckpointSet; a new temporary one by default.
        model: an encoder's folder or hub name, `tiny`, or a ModelConfig.
        recipe: a FineTuneConfig or its fields.
        engine: where to run; this process by default.
        reporter: shows messages and progress; none by default.

    >>> import raysample
    >>> from raysample.testing import tiny_corpus_files
    >>> train, test = tiny_corpus_files("train", rows=60), tiny_corpus_files("test", rows=30, seed=1)
    >>> found = raysample.fine_tune(train, test, model="tiny", recipe={"epochs": 1, "checkpoints": 2})
    >>> [checkpoint.step for checkpoint in found.checkpoints]
    [1, 2]
    """
    folder = folder_of(output, "checkpoints")
    corpus = corpus_of(train)
    held_out = corpus_of(test, corpus.labels, corpus.levels)
    spec = model if isinstance(model, ModelConfig) else ModelConfig(path=model)
    config = recipe if isinstance(recipe, FineTuneConfig) else section(FineTuneConfig, dict(recipe or {}))
    base = models.prepare_base(spec, corpus, storage.join(folder, "base"))
    key = storage.fingerprint([corpus.fingerprint, held_out.fingerprint, spec.to_dict(), config.recipe])
    job = Job(corpus.uri, held_out.uri, base, spec, config, folder=folder, key=key)
    check_dynamic(config, corpus.grouped)
    with create_executor(engine) as running:
        job = with_draws(job, corpus, storage.join(folder, "draws"), running.map)
        checkpoint_set: CheckpointSet = finish_job(
            job, running.fine_tune(job, config.workers_range, reporter or SilentReporter())
        )
    warn_of(checkpoint_set.warnings)
    return checkpoint_set


def score(
    checkpoints: CheckpointSet | str | Sequence[str] | Sequence[CheckpointSet],
    corpus: CorpusLike | Contents,
    scores: Sequence[str | dict[str, Any]] = ("vog", "el2n"),
    output: str | None = None,
    *,
    max_length: int | None = None,
    precision: Literal["float32", "bfloat16"] | None = None,
    batch_tokens: int = 4_096,
    source: Literal["checkpoints", "capture"] = "checkpoints",
    method: Literal["rules", "loop"] = "rules",
    targets: Mapping[str, SourceConfig | str] | None = None,
    landmarks: LandmarksConfig | Mapping[str, Any] | None = None,
    economy: EconomyConfig | Mapping[str, Any] | None = None,
    memory: str = "auto",
    verify_rows: int | None = None,
    workers: int | None = None,
    engine: EngineConfig | None = None,
    reporter: Reporter | None = None,
) -> ScoreTable:
    """Score every row of a corpus at the checkpoints of a run; a ResultWarning names scores that mostly measure length.

    Args:
        checkpoints: a CheckpointSet, its folder, or one or more `save_pretrained` folders in training order; or several
            CheckpointSets (runs with different seeds), over which every score is averaged.
        corpus: a Corpus, a source, or a path; or the Contents of a log, of which only contents without scores in the
            table in `output` are visited.
        scores: names, or mappings with `name` and options.
        output: folder of the ScoreTable; a new temporary one by default.
        max_length: maximum number of tokens per row; by default as in fine-tuning, or 64 for adopted folders.
        precision, batch_tokens, source, method, landmarks, economy, memory, verify_rows, workers: see ScoreConfig.
        targets: name -> a source or a path, for scores with a target corpus.
        engine: where to run; this process by default.
        reporter: shows messages and progress; none by default.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints, tiny_corpus_files
    >>> corpus = raysample.describe(tiny_corpus_files("train", rows=60), columns={"id": "id"})
    >>> table = raysample.score(tiny_checkpoints("run"), corpus, ["el2n", "vog"])
    >>> table.columns, table.counts["scored"]
    (('el2n', 'vog'), 60)
    """
    folder = folder_of(output, "scores")
    checkpoint_sets = checkpoint_sets_of(checkpoints, folder)
    rows = corpus if isinstance(corpus, Contents) else corpus_of(corpus, checkpoint_sets[0].labels)
    values: dict[str, Any] = {"precision": precision, "source": source, "method": method, "memory": memory}
    values |= {"batch_tokens": batch_tokens, "verify_rows": verify_rows, "workers": workers}
    values |= {"landmarks": landmarks, "economy": economy}
    values |= {"targets": {name: target_of(given, rows) for name, given in (targets or {}).items()}}
    given = {name: value for name, value in values.items() if value is not None}
    config = section(ScoreConfig, {"scores": list(scores), **given})
    request = ScoreRequest(checkpoint_sets, config, _model_of(checkpoint_sets[0], max_length), folder)
    table = _scored(request, rows, engine, reporter)
    warn_of(length_warnings(table, table.columns))
    return table


def _model_of(checkpoints: CheckpointSet, max_length: int | None) -> ModelConfig:
    """Return the model configuration that checkpoints were made with, with another `max_length` if given."""
    made_with = ModelConfig.model_validate(checkpoints.config.get("model", {}))
    return made_with.model_copy(update={"max_length": max_length or made_with.max_length})


def _scored(
    request: ScoreRequest, rows: Corpus | Contents, engine: EngineConfig | None, reporter: Reporter | None
) -> ScoreTable:
    """Return the scores of a corpus, or of the contents of a log."""
    with create_executor(engine) as executor:
        context = RunContext(executor, reporter or SilentReporter())
        if isinstance(rows, Contents):
            return score_contents(request, rows, context)
        return score_corpus(request, rows, context)


def verify(
    table: ScoreTable | str,
    checkpoints: CheckpointSet | str | Sequence[CheckpointSet],
    corpus: Corpus,
    *,
    rows: int = 64,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Verification:
    """Score a seeded sample of a table's rows again, one row at a time in float64, and compare.

    The result is also stored beside the table, as `verification.json`.

    Args:
        table: a ScoreTable or its folder.
        checkpoints, corpus: checkpoints and corpus of the table; the corpus as `describe` returned it.
        rows, seed: size and seed of the sample.
        reporter: shows messages and progress; none by default.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints, tiny_corpus_files
    >>> corpus = raysample.describe(tiny_corpus_files("train", rows=60), columns={"id": "id"})
    >>> checkpoints = tiny_checkpoints("run")
    >>> table = raysample.score(checkpoints, corpus, ["el2n"])
    >>> raysample.verify(table, checkpoints, corpus, rows=8).passed
    True
    """
    stored = ScoreTable.load(table) if isinstance(table, str) else table
    request = ScoreRequest(
        checkpoint_sets_of(checkpoints, stored.uri),
        ScoreConfig.model_validate(stored.made_by["score"]),
        ModelConfig.model_validate(stored.made_by["model"]),
        stored.uri,
    )
    return verify_finished(request, stored, corpus, rows, seed, reporter)


def sample(
    table: ScoreTable | str,
    policy: str = "auto",
    score: str | None = None,
    *,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
    normalise: Literal["none", "class", "corpus"] = "none",
    quota: Literal["corpus", "proportional", "balanced"] = "corpus",
    seed: int = 0,
    output: str | None = None,
    engine: EngineConfig | None = None,
    **more: Any,
) -> Selection:
    """Select rows of a score table by a policy; a ResultWarning reports lost classes and scores that measure length.

    Args:
        table: a ScoreTable or its folder.
        policy: name of a policy, as in `raysample.selection.policies.POLICIES`; or `auto`.
        score: the score column, for policies that use one.
        fraction, count, tokens: the budget; give one.
        normalise, quota: see ArmConfig.
        seed: seed of random draws and ties.
        output: folder of the Selection; a new temporary one by default.
        engine: where to count and write; this process by default. The rows are the same.
        more: the policy's own options (`temperature=0.5`), and limits (`min_per_class=20`) as in ArmConfig.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints, tiny_corpus_files
    >>> corpus = raysample.describe(tiny_corpus_files("train", rows=60), columns={"id": "id"})
    >>> table = raysample.score(tiny_checkpoints("run"), corpus, ["el2n"])
    >>> half = raysample.sample(table, "hard", score="el2n", fraction=0.5)
    >>> half.counts["kept"]
    30
    """
    read = ScoreTable.load(table) if isinstance(table, str) else table
    arm = section(ArmConfig, {"policy": policy, "score": score, "normalise": normalise, "quota": quota, **more})
    folder = folder_of(output, "selection")
    with create_executor(engine) as running:
        check_plugins(policy_plugins([arm]), running)
        selection = sample_table(
            read, arm, folder, fraction=fraction, count=count, tokens=tokens, seed=seed, map_fn=running.map
        )
    warn_of(selection.warnings, selection.name)
    return selection
