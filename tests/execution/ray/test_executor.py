"""The shell on Ray gives what the core gives in this process."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysample
from raysample.core.config import EngineConfig, FineTuneConfig, ModelConfig, ScoreConfig, SourceConfig
from raysample.core.errors import CheckpointError, ClusterError, StorageError, TrainingError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.execution.create import create_executor
from raysample.influence.capture import score_capture
from raysample.influence.scores import SCORES as REGISTRY
from raysample.influence.scores import create_scores
from raysample.influence.shards import ScoreJob
from raysample.models import tokenizer
from raysample.selection import Selection
from raysample.selection.redraws import draw_seed
from raysample.training.capture import Capture
from tests.helpers import every_score
from tests.helpers.crashing_models import make_deadly

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

ON_RAY = EngineConfig(kind="ray")
SCORES = every_score.specs()
NAMES = list(REGISTRY)
# Without dropout, whose masks every worker draws for itself.
MODEL = ModelConfig(hidden_size=16, vocabulary_size=200, max_length=16, dropout=0)
RECIPE = FineTuneConfig(epochs=3, batch_size=16, learning_rate=3e-3, checkpoints=4, precision="float32", capture=True)


@pytest.fixture(scope="module")
def corpora(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    folder = tmp_path_factory.mktemp("corpora")
    source = SourceConfig.model_validate({"path": str(small_run / "train.parquet"), "columns": {"id": "id"}})
    from raysample.data.corpus import describe_source

    train = describe_source(source, str(folder / "train"), shard_rows=60)
    held_out = SourceConfig.model_validate({"path": str(small_run / "test.parquet"), "columns": {"id": "id"}})
    return train, describe_source(held_out, str(folder / "test"), labels=train.labels)


@pytest.fixture(scope="module")
def local(corpora: tuple[Corpus, Corpus], tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    return raysample.fine_tune(*corpora, str(tmp_path_factory.mktemp("local") / "run"), model=MODEL, recipe=RECIPE)


@pytest.fixture(scope="module")
def on_ray(corpora: tuple[Corpus, Corpus], tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    """Two data-parallel workers (gloo)."""
    recipe = RECIPE.model_copy(update={"workers": 2})
    folder = str(tmp_path_factory.mktemp("on-ray") / "run")
    return raysample.fine_tune(*corpora, folder, model=MODEL, recipe=recipe, engine=ON_RAY)


def test_two_workers_leave_the_checkpoints_of_the_same_schedule(local: CheckpointSet, on_ray: CheckpointSet) -> None:
    def schedule(trace: CheckpointSet) -> list[tuple[int, float, float]]:
        return [(c.step, c.epoch, c.learning_rate) for c in trace.checkpoints]

    assert schedule(on_ray) == schedule(local)
    assert len(on_ray.checkpoints) == 4
    # The same batches and gradients, but for the order in which they are summed.
    assert on_ray.metrics["nll"] == pytest.approx(local.metrics["nll"], rel=1e-3)
    assert on_ray.metrics["accuracy"] == pytest.approx(local.metrics["accuracy"], abs=0.05)
    assert on_ray.corpus == local.corpus


def test_training_on_ray_leaves_ctrl_c_as_it_was(on_ray: CheckpointSet) -> None:
    # Ray Train would put a handler of its own there, which swallows every later Ctrl-C.
    assert on_ray.checkpoints
    # A job that a script started in the background inherits that Ctrl-C is ignored.
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)


def test_two_workers_capture_every_row_once_per_epoch(
    local: CheckpointSet, on_ray: CheckpointSet, corpora: tuple[Corpus, Corpus]
) -> None:
    captured = Capture.load(on_ray.uri)
    assert (captured.epochs, captured.rows, len(captured.files(1))) == (3, corpora[0].rows, 2)
    scores = create_scores(["confidence", "forgetting"])
    here, there = (score_capture(trace.uri, corpora[0], scores) for trace in (local, on_ray))
    # Without dropout only the order of sums differs.
    np.testing.assert_allclose(there["confidence"], here["confidence"], atol=5e-3)


@pytest.fixture(scope="module")
def tables(
    local: CheckpointSet, corpora: tuple[Corpus, Corpus], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ScoreTable, ScoreTable]:
    folder = tmp_path_factory.mktemp("tables")
    targets = {every_score.TARGET: corpora[1].source}
    here = raysample.score(local, corpora[0], SCORES, str(folder / "here"), targets=targets)
    there = raysample.score(local, corpora[0], SCORES, str(folder / "there"), targets=targets, engine=ON_RAY)
    return here, there


def test_scores_through_ray_equal_those_of_this_process(tables: tuple[ScoreTable, ScoreTable]) -> None:
    here, there = tables
    assert len(here.parts) > 2
    assert there.fingerprint == here.fingerprint
    assert there.to_arrow().equals(here.to_arrow())


def test_a_rerun_scores_only_the_shards_that_are_missing(
    tables: tuple[ScoreTable, ScoreTable], local: CheckpointSet, corpora: tuple[Corpus, Corpus]
) -> None:
    there = tables[1]
    before = there.to_arrow()
    paths = [Path(there.uri, part) for part in there.parts]
    times = [path.stat().st_mtime_ns for path in paths]
    paths[1].unlink()
    targets = {every_score.TARGET: corpora[1].source}
    again = raysample.score(local, corpora[0], SCORES, there.uri, targets=targets, engine=ON_RAY)
    assert again.to_arrow().equals(before)
    assert [path.stat().st_mtime_ns == time for path, time in zip(paths, times, strict=True)] == [
        place != 1 for place in range(len(paths))
    ]


def test_a_damaged_checkpoint_is_named(on_ray: CheckpointSet, corpora: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    weights = Path(on_ray.checkpoints[1].uri, "model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(CheckpointError, match=r"step-\d+/model.safetensors' is missing or damaged"):
            raysample.score(on_ray, corpora[0], ["el2n"], str(tmp_path), engine=ON_RAY)
    finally:
        weights.write_bytes(whole)


def test_a_failing_worker_tells_its_reason(corpora: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    recipe = {"learning_rate": 1e30, "warmup_ratio": 0, "precision": "float32"}
    with pytest.raises(TrainingError, match=r"lower fine_tune\.learning_rate"):
        raysample.fine_tune(*corpora, str(tmp_path), model=MODEL, recipe=recipe, engine=ON_RAY)


def test_too_many_workers_are_refused_before_ray_waits_for_ever(corpora: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="needs 99 x 1 CPUs; the cluster has 3"):
        raysample.fine_tune(*corpora, str(tmp_path), model=MODEL, recipe={"workers": 99}, engine=ON_RAY)


def test_selected_rows_can_be_trained_on_in_tasks(
    tables: tuple[ScoreTable, ScoreTable], corpora: tuple[Corpus, Corpus], local: CheckpointSet, tmp_path: Path
) -> None:
    from raysample.core.progress import SilentReporter
    from raysample.execution.create import create_executor
    from raysample.training.fine_tuning import Job, execute

    half = raysample.sample(tables[0], "hard", "el2n", fraction=0.5, output=str(tmp_path / "half"))
    base = str(Path(local.uri, "base"))
    jobs = [
        Job(corpora[0].uri, corpora[1].uri, base, MODEL, RECIPE, selection=uri, key=str(uri))
        for uri in (None, half.uri)
    ]
    with create_executor(ON_RAY) as engine:
        outcomes = {job.key: outcome for job, outcome in engine.fine_tune_many(jobs, 2, SilentReporter())}
    assert outcomes[half.uri].rows == corpora[0].rows // 2
    for job in jobs:
        assert outcomes[job.key].evaluation == execute(job).evaluation
    assert outcomes["None"].evaluation.metrics == local.metrics


def test_two_workers_draw_and_train_on_the_rows_of_each_epoch(corpora: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    dynamic = {"redraw": {"policy": "class_power", "power": 0.5, "weights": "unbiased"}, "share": 0.3}
    recipe = FineTuneConfig.model_validate({**RECIPE.to_dict(), "capture": False, "dynamic": dynamic})
    here = raysample.fine_tune(*corpora, str(tmp_path / "here"), model=MODEL, recipe=recipe)
    two = recipe.model_copy(update={"workers": 2})
    there = raysample.fine_tune(*corpora, str(tmp_path / "there"), model=MODEL, recipe=two, engine=ON_RAY)
    for name in ("seed-0", "seed-0-epoch-2", "seed-0-epoch-3"):
        drawn = [Selection.load(str(tmp_path / place / "draws" / name)) for place in ("here", "there")]
        assert drawn[0].fingerprint == drawn[1].fingerprint
    one, other = (pq.read_table(Path(found.uri, "curve.parquet")) for found in (here, there))
    assert len(one) == 12  # 60 rows in batches of 16, three times
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-3)
    assert there.metrics["nll"] == pytest.approx(here.metrics["nll"], rel=1e-3)


def test_redrawn_rows_can_be_trained_on_in_tasks(
    tables: tuple[ScoreTable, ScoreTable], corpora: tuple[Corpus, Corpus], local: CheckpointSet, tmp_path: Path
) -> None:
    from raysample.core.progress import SilentReporter
    from raysample.training.fine_tuning import Job, execute

    draws = [
        raysample.sample(
            tables[0], "softmax", "el2n", fraction=0.5, seed=draw_seed(3, epoch), output=f"{tmp_path}/{epoch}"
        )
        for epoch in range(3)
    ]
    base, recipe = str(Path(local.uri, "base")), RECIPE.model_copy(update={"capture": False})
    first, *others = (draw.uri for draw in draws)
    job = Job(corpora[0].uri, corpora[1].uri, base, MODEL, recipe, selection=first, redraws=tuple(others), key="drawn")
    with create_executor(ON_RAY) as engine:
        ((_, outcome),) = engine.fine_tune_many([job], 1, SilentReporter())
    assert (outcome.rows, outcome.steps) == (100, 21)
    assert outcome.evaluation == execute(job).evaluation


@pytest.mark.parametrize("policy", ["random", "hard", "mix", "explore", "linear", "tilted", "hedge"])
def test_a_selection_in_tasks_is_that_of_threads(
    policy: str, tables: tuple[ScoreTable, ScoreTable], tmp_path: Path
) -> None:
    told: dict[str, dict[str, object]] = {
        "hard": {"score": "grand", "normalise": "class", "min_per_class": 5},
        "mix": {"scores": ["vog", "aum"]},
        "explore": {"score": "el2n"},
        "linear": {"score": "el2n", "drop_suspects": {"score": "aum", "share": 0.05}},
        "tilted": {"score": "el2n", "power": 0.5, "drop_suspects": {"score": "aum", "within": "class"}},
        "hedge": {"score": "aum", "share": 0.2},
    }
    here, there = (
        raysample.sample(
            tables[0], policy, fraction=0.4, seed=3, output=str(tmp_path / name), engine=on, **told.get(policy, {})
        )
        for name, on in (("here", None), ("there", ON_RAY))
    )
    assert here.fingerprint == there.fingerprint
    assert here.to_arrow().equals(there.to_arrow())


def test_what_a_task_raises_comes_back_as_it_was(tables: tuple[ScoreTable, ScoreTable], tmp_path: Path) -> None:
    broken = replace(tables[0], parts=(*tables[0].parts[:-1], "parts/none.parquet"))
    with pytest.raises(StorageError, match=r"none.parquet' does not exist"):
        raysample.sample(broken, "random", fraction=0.4, output=str(tmp_path / "out"), engine=ON_RAY)


def test_a_shard_that_kills_its_workers_is_set_aside_and_the_others_are_scored(
    small_run: Path, local: CheckpointSet, tmp_path: Path
) -> None:
    from raysample.core.progress import SilentReporter
    from raysample.execution.ray import scoring

    rows = pq.read_table(small_run / "train.parquet")
    texts = rows["text"].to_pylist()
    texts[77] = "☠"  # the only word that the tokenizer does not know
    at = rows.schema.get_field_index("text")
    pq.write_table(rows.set_column(at, "text", pa.array(texts)), tmp_path / "train.parquet")
    source = SourceConfig.model_validate({"path": str(tmp_path / "train.parquet"), "columns": {"id": "id"}})
    from raysample.data.corpus import describe_source

    corpus = describe_source(source, str(tmp_path / "corpus"), shard_rows=60)
    shutil.copytree(local.checkpoints[-1].uri, tmp_path / "run" / "deadly")
    made = replace(local, checkpoints=(replace(local.checkpoints[-1], uri=str(tmp_path / "run" / "deadly")),))
    make_deadly(made, tokenizer(local.checkpoints[-1].uri).unk_token_id)
    made.save(str(tmp_path / "run"))
    job = ScoreJob(
        corpus.uri,
        (str(tmp_path / "run"),),
        ScoreConfig(scores=["el2n"]),
        MODEL.model_copy(update={"trust_remote_code": True}),
        str(tmp_path / "parts"),
        str(tmp_path / "references"),
    )
    shards = [shard.index for shard in corpus.shards]
    with create_executor(ON_RAY):
        outcomes = list(scoring.score_on_ray(job, shards, 1, 0, SilentReporter()))
    assert sorted(outcome.shard for outcome in outcomes) == shards
    assert {outcome.shard: outcome.quarantined for outcome in outcomes if outcome.quarantined} == {1: 60}
    lost = pq.read_table(tmp_path / "parts" / f"quarantine-{corpus.shards[1].name}.parquet")
    assert set(lost["reason"].to_pylist()) == {"its shard crashed 3 workers and every process of its own"}
    assert lost["row"].to_pylist() == list(range(60, 120))


def test_an_actor_may_take_its_share_of_the_smallest_node() -> None:
    from raysample.execution.ray import scoring

    alone, crowded = scoring.memory_per_worker(1, 0), scoring.memory_per_worker(99, 0)
    assert alone is not None
    assert crowded is not None
    assert 0 <= crowded < alone
    with pytest.raises(ClusterError, match="scoring needs 1 x 1 GPUs; the cluster has 0"):
        scoring.memory_per_worker(1, 1)


def test_parts_hold_no_text(tables: tuple[ScoreTable, ScoreTable]) -> None:
    here = tables[0]
    assert pq.read_schema(Path(here.uri, here.parts[0])).names == ["row_id", "label", "tokens", *NAMES]


def test_statistics_merged_by_tasks_are_those_merged_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    from raysample.core import storage
    from raysample.data.score_table import STATISTICS, table_schema
    from raysample.influence.shards import part_statistics, write_statistics

    rng = np.random.default_rng(0)
    names = tuple(f"part-{i}.parquet" for i in range(4))
    for i, name in enumerate(names):
        label, tokens = rng.integers(0, 3, 50), rng.integers(1, 9, 50)
        ids, vog = [f"{i}-{row}" for row in range(50)], rng.lognormal(size=50)
        part = pa.table({"row_id": ids, "label": label, "tokens": tokens, "vog": vog}).cast(table_schema(("vog",)))
        storage.write_parquet(storage.join(str(tmp_path), name), part)
    counts = {"in": 200, "scored": 200, "quarantined": 0}
    scores: dict[str, Any] = {"vog": {"score": "vog", "higher_is": "harder"}}
    table = ScoreTable(str(tmp_path), names, scores, ("a", "b", "c"), "c", "k", counts, {})
    write_statistics(table)
    here = (tmp_path / STATISTICS).read_bytes()
    monkeypatch.setattr(part_statistics, "BATCH", 2)
    with create_executor(ON_RAY) as engine:
        write_statistics(table, engine.map)
    assert (tmp_path / STATISTICS).read_bytes() == here
