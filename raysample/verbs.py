"""The verbs as functions, for notebooks and programs: each takes and returns the nouns.

    trace = raysample.fine_tune("train.parquet", "test.parquet", output="runs/mine", model="bert-base-cased")
    table = raysample.score(checkpoints=trace, corpus="train.parquet", scores=["vog", "el2n"])
    half = raysample.sample(table, "hard", score="vog", normalise="class", fraction=0.5)
    table.to_pandas(); half.kept_ids()

They run in this process unless `engine=EngineConfig(kind="ray")` says otherwise; the scores are the same.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from raysample import model as models
from raysample import storage
from raysample.checkpoints import Checkpoint, CheckpointSet
from raysample.config import (
    ArmConfig,
    Columns,
    EconomyConfig,
    EngineConfig,
    FineTuneConfig,
    LandmarksConfig,
    ModelConfig,
    ScoreConfig,
    Section,
    SourceConfig,
)
from raysample.contents import Contents
from raysample.contents import compact as compact_log
from raysample.contents import expand as expand_scores
from raysample.corpus import Corpus
from raysample.corpus import describe as describe_corpus
from raysample.engine import Engine, LocalEngine
from raysample.errors import CheckpointError, ConfigError
from raysample.fine_tuning import Job, finish
from raysample.model.adapters import CONFIG as ADAPTERS
from raysample.pipeline.contents import score_contents
from raysample.pipeline.scoring import job_of, score_corpus
from raysample.progress import Reporter, SilentReporter
from raysample.scoring import ScoreJob
from raysample.selection import Selection
from raysample.selection import sample as sample_table
from raysample.table import ScoreTable
from raysample.verification import Verification, verify_table

CorpusLike = Corpus | SourceConfig | str
Kind = TypeVar("Kind", bound=Section)


def engine_of(config: EngineConfig | None) -> Engine:
    """Return the engine that a configuration names; Ray is imported only if it is asked for."""
    if config is None or config.kind == "local":
        return LocalEngine()
    from raysample.on_ray.engine import RayEngine

    return RayEngine(config)


def describe(
    source: SourceConfig | str,
    output: str | None = None,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
) -> Corpus:
    """Describe labelled texts as a Corpus.

    Args:
        source: a file, a folder, `hub:NAME`, or a SourceConfig.
        output: folder for the manifest and the quarantine; a new temporary one by default.
        columns: which columns hold text, label and so on.
        labels: fixed class names (for test corpora: those of the training corpus).
    """
    return describe_corpus(_source_of(source, columns), _folder(output, "corpus"), labels=labels)


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
    """Fine-tune a classifier and keep the checkpoints that scores need.

    Args:
        train, test: Corpus objects, sources, or paths.
        output: folder of the CheckpointSet; a new temporary one by default.
        model: an encoder's folder or hub name, `tiny`, or a ModelConfig.
        recipe: a FineTuneConfig or its fields.
        engine: where to run; this process by default.
        reporter: who is told of the progress; nobody by default.
    """
    folder = _folder(output, "checkpoints")
    corpus = _corpus(train)
    held_out = _corpus(test, corpus.labels)
    spec = model if isinstance(model, ModelConfig) else ModelConfig(path=model)
    config = recipe if isinstance(recipe, FineTuneConfig) else _section(FineTuneConfig, dict(recipe or {}))
    base = models.prepare(spec, corpus, storage.join(folder, "base"))
    key = storage.fingerprint([corpus.fingerprint, held_out.fingerprint, spec.plain(), config.plain()])
    job = Job(corpus.uri, held_out.uri, base, spec, config, folder=folder, key=key)
    with engine_of(engine) as running:
        return finish(job, running.fine_tune(job, config.workers, reporter or SilentReporter()))


def compact(
    log: SourceConfig | str,
    output: str,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    window: int | None = None,
    engine: EngineConfig | None = None,
) -> Contents:
    """Bring the unique contents of a log up to date: only files that are new or changed are read.

    Args:
        log: a folder of Parquet, JSONL or CSV files, best in date partitions; or a SourceConfig.
        output: folder of the contents; the same one every day.
        columns: which columns hold text, label and so on.
        window: count the newest so many partitions alone.
        engine: where to read and merge; this process by default. The result is the same.
    """
    with engine_of(engine) as running:
        return compact_log(_source_of(log, columns), output, window=window, spread=running.map)


def expand(
    table: ScoreTable | str, contents: Contents | str, output: str | None = None, *, engine: EngineConfig | None = None
) -> ScoreTable:
    """Put the scores of a log's contents back on every row of the log.

    Args:
        table: scores of the contents, or their folder. contents: as `compact` returned them, or their folder.
        output: folder of the ScoreTable; a new temporary one by default.
        engine: where to read and write; this process by default.
    """
    scores = ScoreTable.load(table) if isinstance(table, str) else table
    known = Contents.load(contents) if isinstance(contents, str) else contents
    with engine_of(engine) as running:
        return expand_scores(scores, known, _folder(output, "scores"), spread=running.map)


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
    targets: Mapping[str, SourceConfig | str] | None = None,
    landmarks: LandmarksConfig | Mapping[str, Any] | None = None,
    economy: EconomyConfig | Mapping[str, Any] | None = None,
    memory: str = "auto",
    workers: int | None = None,
    engine: EngineConfig | None = None,
    reporter: Reporter | None = None,
) -> ScoreTable:
    """Score every row of a corpus at the checkpoints of a run.

    Args:
        checkpoints: a CheckpointSet, its folder, or one or more `save_pretrained` folders in training order; or several
            CheckpointSets (runs with different seeds), over which every score is averaged.
        corpus: a Corpus, a source, or a path; or the Contents of a log, of which only those are visited that the table
            in `output` does not know.
        scores: names, or mappings with `name` and options.
        output: folder of the ScoreTable; a new temporary one by default.
        max_length: tokens a row is cut to; by default as in fine-tuning, or 64 for foreign folders.
        precision, batch_tokens, source, landmarks, economy, memory, workers: see ScoreConfig.
        targets: name -> a source or a path, for the scores that point to a target corpus.
        engine: where to run; this process by default.
        reporter: who is told of the progress; nobody by default.
    """
    folder = _folder(output, "scores")
    traces = _traces(checkpoints, folder)
    rows = corpus if isinstance(corpus, Contents) else _corpus(corpus, traces[0].labels)
    values: dict[str, Any] = {
        "scores": list(scores),
        **({} if precision is None else {"precision": precision}),
        "batch_tokens": batch_tokens,
        "source": source,
        "targets": {name: _source(given, rows) for name, given in (targets or {}).items()},
        "landmarks": landmarks,
        "economy": economy,
        "memory": memory,
        "workers": workers,
    }
    made_with = ModelConfig.model_validate(traces[0].config.get("model", {}))
    model = made_with.model_copy(update={"max_length": max_length or made_with.max_length})
    config = _section(ScoreConfig, values)
    with engine_of(engine) as running:
        if isinstance(rows, Contents):
            return score_contents(traces, rows, config, model, folder, running, reporter or SilentReporter())
        return score_corpus(traces, rows, config, model, folder, running, reporter or SilentReporter())


def verify(
    table: ScoreTable | str,
    checkpoints: CheckpointSet | str | Sequence[CheckpointSet],
    corpus: Corpus,
    *,
    rows: int = 64,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Verification:
    """Score a seeded sample of a table's rows again by the slow twin, one row at a time in float64, and compare.

    The result is also stored beside the table, as `verification.json`.

    Args:
        table: a ScoreTable or its folder.
        checkpoints, corpus: what it was scored with, the corpus as `describe` returned it.
        rows, seed: size and seed of the sample.
        reporter: who is told of the progress; nobody by default.
    """
    stored = ScoreTable.load(table) if isinstance(table, str) else table
    return verify_table(stored, _job_of(stored, checkpoints, corpus), rows=rows, seed=seed, reporter=reporter)


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
    """Choose rows of a score table by a policy.

    Args:
        table: a ScoreTable or its folder.
        policy: the name of one, as in `raysample.policies.POLICIES`; or `auto`.
        score: the column that it goes by, where it goes by one.
        fraction, count, tokens: the budget; give one.
        normalise, quota: see ArmConfig.
        seed: decides random choices and ties.
        output: folder of the Selection; a new temporary one by default.
        engine: where to count and write; this process by default. The rows are the same.
        more: the policy's own options (`temperature=0.5`), and limits (`min_per_class=20`) as in ArmConfig.
    """
    read = ScoreTable.load(table) if isinstance(table, str) else table
    arm = _section(ArmConfig, {"policy": policy, "score": score, "normalise": normalise, "quota": quota, **more})
    folder = _folder(output, "selection")
    with engine_of(engine) as running:
        return sample_table(
            read, arm, folder, fraction=fraction, count=count, tokens=tokens, seed=seed, spread=running.map
        )


def adopt(folders: Sequence[str], output: str | None = None, *, labels: Sequence[str] | None = None) -> CheckpointSet:
    """Make a CheckpointSet of `save_pretrained` folders in training order.

    A folder named like `checkpoint-500` or `step-500` gives the step; one checkpoint an epoch is assumed, as the
    folders do not tell. Learning rates are unknown and set to 1.

    Args:
        folders: of whole models, or of adapters that peft saved: these count alone then.
        output: folder of the CheckpointSet; a new temporary one by default.
        labels: class names in the order of the classifier's outputs; by default those of the last folder's config.json,
            which folders of adapters lack.
    """
    if not folders:
        raise CheckpointError("no checkpoint folders were given", "name at least one `save_pretrained` folder")
    places = [storage.absolute(str(folder)) for folder in folders]
    for place in places:
        if not any(storage.exists(storage.join(place, name)) for name in ("config.json", ADAPTERS)):
            raise CheckpointError(f"{place!r} has no config.json", "give folders that `save_pretrained` wrote")
    found = [re.search(r"(\d+)$", place.rstrip("/")) for place in places]
    steps = [int(match.group(1)) if match else 0 for match in found]
    if steps != sorted(set(steps)) or 0 in steps:
        steps = list(range(1, len(places) + 1))
    rows = tuple(Checkpoint(p, step, float(i + 1), 1.0) for i, (p, step) in enumerate(zip(places, steps, strict=True)))
    names = tuple(labels) if labels is not None else _labels(places[-1])
    return CheckpointSet(rows, names, seed=0, config={"adopted": True}).save(_folder(output, "checkpoints"))


def _labels(place: str) -> tuple[str, ...]:
    """Return the class names that a model's folder tells."""
    if not storage.exists(storage.join(place, "config.json")):
        raise CheckpointError(
            f"{place!r} holds adapters, which do not tell the names of the classes",
            "adopt them with raysample.adopt(folders, labels=[...]), in the order of the classifier's outputs",
        )
    told = json.loads((Path(storage.localise(place)) / "config.json").read_text(encoding="utf-8")).get("id2label", {})
    if not told:
        raise CheckpointError(f"{place!r} has no id2label in its config.json", "save a sequence classifier there")
    return tuple(str(told[key]) for key in sorted(told, key=int))


def _job_of(table: ScoreTable, checkpoints: CheckpointSet | str | Sequence[CheckpointSet], corpus: Corpus) -> ScoreJob:
    """Return what a finished table was scored with, as its manifest tells."""
    config = ScoreConfig.model_validate(table.made_by["score"])
    model = ModelConfig.model_validate(table.made_by["model"])
    parts = table.parts[0].rpartition("/")[0]
    return job_of(_traces(checkpoints, table.uri), corpus, config, model, table.uri, parts)


def _traces(
    checkpoints: CheckpointSet | str | Sequence[str] | Sequence[CheckpointSet], folder: str
) -> list[CheckpointSet]:
    if isinstance(checkpoints, CheckpointSet | str):
        return [_trace(checkpoints, folder)]
    sets = [given for given in checkpoints if isinstance(given, CheckpointSet)]
    if not sets:
        return [_trace([str(given) for given in checkpoints], folder)]
    if len(sets) < len(checkpoints):
        raise CheckpointError(
            "checkpoints mixes CheckpointSets with folders", "give CheckpointSets of several runs, or folders of one"
        )
    return [_trace(given, storage.join(folder, f"run-{i}")) for i, given in enumerate(sets)]


def _source(given: SourceConfig | str, like: Corpus | Contents) -> SourceConfig:
    """Return a target as a source; a bare path has the columns and the kind of labels of the scored corpus."""
    if isinstance(given, SourceConfig):
        return given
    return SourceConfig(path=given, columns=like.source.columns, labels=like.source.labels)


def _trace(checkpoints: CheckpointSet | str | Sequence[str], folder: str) -> CheckpointSet:
    if isinstance(checkpoints, CheckpointSet):
        return checkpoints if checkpoints.uri else checkpoints.save(storage.join(folder, "checkpoints"))
    if isinstance(checkpoints, str):
        place = storage.absolute(checkpoints)
        if any(storage.exists(storage.join(place, name)) for name in ("config.json", ADAPTERS)):
            return adopt([place], storage.join(folder, "checkpoints"))
        return CheckpointSet.load(place)
    return adopt(checkpoints, storage.join(folder, "checkpoints"))


def _source_of(source: SourceConfig | str, columns: Columns | Mapping[str, str] | None) -> SourceConfig:
    if isinstance(source, SourceConfig):
        return source
    given = dict(columns) if isinstance(columns, Mapping) else columns
    return _section(SourceConfig, {"path": source, **({"columns": given} if given is not None else {})})


def _corpus(given: CorpusLike, labels: Sequence[str] | None = None) -> Corpus:
    return given if isinstance(given, Corpus) else describe(given, labels=labels)


def _folder(given: str | None, noun: str) -> str:
    return storage.absolute(given) if given is not None else tempfile.mkdtemp(prefix=f"raysample-{noun}-")


def _section(kind: type[Kind], values: dict[str, Any]) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise ConfigError(
            f"{kind.__name__}: {problems}", f"see the fields of raysample.config.{kind.__name__}"
        ) from error
