"""What a scoring worker takes is planned from sizes on storage, and follows what the configuration allows."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

import raysample
from raysample import models
from raysample.core.config import LandmarksConfig, ModelConfig, ScoreConfig
from raysample.core.numerics import memory
from raysample.core.progress import Reporter
from raysample.core.units import format_bytes
from raysample.data.corpus import Corpus
from raysample.execution.local import LocalExecutor
from raysample.influence.shards import ScoreJob
from raysample.influence.shards.memory_plan import MemoryPlan, memory_plan
from raysample.testing import Family, tiny_checkpoints
from tests.helpers.scoring_jobs import MODEL, checkpoints_of, every_job, plain_job

MIB = 2**20


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "modernbert"])
def test_the_size_of_a_checkpoint_is_told_by_its_headers(family: Family, tmp_path: Path) -> None:
    place = tiny_checkpoints(tmp_path, 1, family=family).checkpoints[0].uri
    network = models.load_model(place)
    found = models.model_size(place)
    assert found.parameters == sum(weight.numel() for weight in network.parameters())
    assert (found.hidden, found.layers) == (16, 2)
    assert found.bytes == 4 * found.parameters


def test_a_pickled_checkpoint_is_sized_by_its_length(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\0" * 4000)
    assert models.model_size(str(tmp_path)) == models.ModelSize(1000, 8, 0)


def plan_of(job: ScoreJob, room: int | None) -> MemoryPlan:
    found = memory_plan(job, Corpus.load(job.corpus), room)
    assert found is not None
    return found


def test_as_many_models_are_held_as_there_is_room_for(tmp_path: Path) -> None:
    job = replace(plain_job(tmp_path), model=ModelConfig(max_length=8))
    one = models.model_size(checkpoints_of(job)[0].checkpoints[0].uri).bytes
    free = plan_of(job, None)
    assert (free.models, free.model, free.max_resident_models) == (3, one, None)
    assert free.block == 2 * 4 * 16 * 8 * 16  # mean and sum of squares, 16 rows of up to 8 tokens of 16 numbers
    beside = free.batch + free.block
    assert plan_of(job, free.needed).max_resident_models is None
    assert plan_of(job, beside + 2 * one).max_resident_models == 2
    assert plan_of(job, beside + one).max_resident_models == 1
    assert plan_of(job, beside + one).needed == beside + one
    assert "TOO" not in str(plan_of(job, beside + one))
    short = plan_of(job, 1000)
    assert short.max_resident_models == 1
    assert "less than that: lower corpus.shard_rows or score.batch_tokens" in str(short)


def test_windows_runs_directions_and_landmarks_count(tmp_path: Path) -> None:
    job = every_job(tmp_path)
    found = plan_of(job, None)
    one = models.model_size(checkpoints_of(job)[0].checkpoints[0].uri).bytes
    assert found.models == 6
    assert found.model > one  # with the directions to the target
    first = ScoreConfig(scores=[{"name": "el2n", "checkpoints": {"first": 1}}])
    assert plan_of(replace(job, config=first), None).models == 4  # the first and the last of each run
    assert plan_of(replace(job, config=first), None).block == 0
    predicted = ScoreConfig(scores=["loss", "vog"], landmarks=LandmarksConfig(scores=["vog"]))
    assert plan_of(replace(job, config=predicted), None).models == 6
    captured = ScoreConfig(scores=["el2n"], source="capture")
    assert memory_plan(replace(job, config=captured), Corpus.load(job.corpus), None) is None


def test_the_plan_is_told_before_the_scoring_and_followed(tmp_path: Path) -> None:
    job, out = plain_job(tmp_path), io.StringIO()
    told = Reporter(Console(file=out, width=200))
    trace, corpus = checkpoints_of(job)[0], Corpus.load(job.corpus)
    given = {"scores": ["vog", "el2n"], "batch_tokens": 64, "max_length": MODEL.max_length}
    free = raysample.score(trace, corpus, output=str(tmp_path / "free"), reporter=told, **given)
    assert "memory of a worker: 3 models of" in out.getvalue()
    assert "all models stay in memory; a worker may take" in out.getvalue()
    one = free.cost["worker_bytes"]
    out.truncate(0)
    room = f"{(one - 1000) / 1000:.3f} KB"
    tight = raysample.score(trace, corpus, output=str(tmp_path / "tight"), memory=room, reporter=told, **given)
    lines = out.getvalue().replace("\n", " ")
    assert "come from the disk in turn, for every 16 rows" in lines
    assert lines.index("memory of a worker") < lines.index("score: done")
    assert free.cost["models_held"] == 3
    assert tight.cost["models_held"] < 3
    assert tight.to_arrow().equals(free.to_arrow())
    assert tight.fingerprint == free.fingerprint


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8GiB", 8 * 2**30), ("1.5 GB", 1_500_000_000), ("512 MiB", 512 * MIB), ("200KB", 200_000), ("1TB", 10**12)],
)
def test_amounts_of_memory_are_read(text: str, amount: int) -> None:
    assert ScoreConfig(memory=text).memory_bytes == amount


def test_other_amounts_are_refused() -> None:
    assert ScoreConfig().memory_bytes is None
    for text in ("8", "much", "8 gib", "-1GB", ""):
        with pytest.raises(ValidationError, match="memory"):
            ScoreConfig(memory=text)


def test_free_memory_is_bounded_by_the_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert memory._left_in_container(tmp_path) == [700]
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._left_in_container(tmp_path) == memory._left_in_container(tmp_path / "none") == []
    room = LocalExecutor().memory_per_worker(1)
    assert room is not None
    assert 0 < room < 2**50
    assert format_bytes(3 * MIB) == "3.15 MB"
    assert format_bytes(5 * 2**30 // 2) == "2.68 GB"
