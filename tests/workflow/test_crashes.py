"""Shards over which workers died: in bad luck they are scored apart, poisoned they are set aside, and all end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import raysample
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.core.errors import ScoreError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table_layout import part_name
from raysample.influence.shards import ScoreJob, ShardScorer, crash_counter, isolated
from raysample.testing import tiny_checkpoints
from tests.helpers.corpora import tiny_corpus
from tests.helpers.crashing_models import make_deadly

pytestmark = pytest.mark.slow


@pytest.fixture
def trace(tmp_path: Path) -> CheckpointSet:
    return tiny_checkpoints(tmp_path / "run", 2)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return tiny_corpus(tmp_path, 120, files=1, shard_rows=40)


def job_of(trace: CheckpointSet, corpus: Corpus, folder: Path) -> ScoreJob:
    model = ModelConfig(max_length=16, trust_remote_code=True)
    return ScoreJob(corpus.uri, (trace.uri,), ScoreConfig(scores=["el2n"]), model, str(folder), str(folder / "r"))


def mark(job: ScoreJob, corpus: Corpus, shard: int, died: int, scoring: int | None = None) -> Path:
    place = Path(job.folder, "attempts", f"{corpus.shards[shard].name}.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"attempts": died, "scoring": died if scoring is None else scoring}))
    return place


def lost(job: ScoreJob, corpus: Corpus, shard: int) -> list[tuple[int, str]]:
    rows = pq.read_table(Path(job.folder, f"quarantine-{corpus.shards[shard].name}.parquet"))
    return list(zip(rows["row"].to_pylist(), rows["reason"].to_pylist(), strict=True))


def test_a_shard_in_bad_luck_is_scored_apart_and_gets_the_same_numbers(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path
) -> None:
    whole, job = (job_of(trace, corpus, tmp_path / name) for name in ("whole", "scores"))
    marker = mark(job, corpus, 1, crash_counter.MAX_DEATHS)
    assert ShardScorer(whole).score(1).scored == 40
    scorer = ShardScorer(job)
    assert scorer.score(1).scored == 40
    assert not marker.exists()
    one, other = (pq.read_table(Path(at.folder, part_name(corpus.shards[1]))) for at in (whole, job))
    assert one.equals(other)
    assert scorer.score(2).scored == 40  # the worker has its models again


@pytest.mark.usefixtures("forked")
def test_a_shard_that_kills_every_process_is_set_aside(trace: CheckpointSet, corpus: Corpus, tmp_path: Path) -> None:
    make_deadly(trace, 2)  # [CLS]: every row's
    job = job_of(trace, corpus, tmp_path / "scores")
    marker = mark(job, corpus, 0, crash_counter.MAX_DEATHS)
    outcome = ShardScorer(job).score(0)
    assert (outcome.rows, outcome.scored, outcome.quarantined) == (40, 0, 40)
    why = "its shard crashed 3 workers and every process of its own"
    assert lost(job, corpus, 0) == [(row, why) for row in range(40)]
    assert not marker.exists()


def test_deaths_of_worker_and_process_together_have_an_end(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path
) -> None:
    job = job_of(trace, corpus, tmp_path / "scores")
    mark(job, corpus, 0, crash_counter.MAX_SCORING_DEATHS)
    scorer = ShardScorer(job)
    assert scorer.score(0).quarantined == 40
    assert {reason for _, reason in lost(job, corpus, 0)} == {"its shard crashed 10 workers"}
    marker = mark(job, corpus, 1, crash_counter.MAX_SCORING_DEATHS + crash_counter.MAX_DEATHS)
    with pytest.raises(ScoreError, match=r"13 workers died over rows 40 to 80(.|\n)*give workers more memory, delete"):
        scorer.score(1)
    marker.unlink()
    assert scorer.score(1).scored == 40


@pytest.mark.usefixtures("forked")
def test_deaths_before_the_rows_are_touched_count_for_less(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path
) -> None:
    """A storm that hits a worker again and again while a process of its own starts is not the shard's fault."""
    job = job_of(trace, corpus, tmp_path / "scores")
    mark(job, corpus, 0, crash_counter.MAX_WORKER_DEATHS - 1, scoring=crash_counter.MAX_SCORING_DEATHS - 1)
    scorer = ShardScorer(job)
    assert scorer.score(0).scored == 40
    mark(job, corpus, 1, crash_counter.MAX_WORKER_DEATHS, scoring=crash_counter.MAX_DEATHS)
    assert scorer.score(1).quarantined == 40
    assert {reason for _, reason in lost(job, corpus, 1)} == {"its shard crashed 30 workers"}


def test_a_process_of_its_own_counts_a_death_when_it_comes_to_the_rows(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path
) -> None:
    job, shard = job_of(trace, corpus, tmp_path / "scores"), corpus.shards[0]
    counts = list[crash_counter.CrashCount]()
    for died in range(3):
        with crash_counter.attempt(job.folder, shard) as before:
            assert before == crash_counter.CrashCount(died, died)
            counts.append(crash_counter.deaths(job.folder, shard))
        mark(job, corpus, 0, died + 1)  # what a worker leaves that dies
    assert counts == [crash_counter.CrashCount(n, n) for n in (1, 2, 3)]
    with crash_counter.attempt(job.folder, shard) as before:
        assert before.isolated
        assert crash_counter.deaths(job.folder, shard) == crash_counter.CrashCount(4, 3)  # the process starts
        for _ in range(isolated.TRIALS):
            crash_counter.mark_started(job.folder, shard, before)
            assert crash_counter.deaths(job.folder, shard) == crash_counter.CrashCount(4, 4)
        left = json.loads(next(Path(job.folder, "attempts").iterdir()).read_text())
        assert left["pid"] == os.getpid()  # the worker's, by which it is found
    assert crash_counter.deaths(job.folder, shard) == crash_counter.CrashCount()


@pytest.mark.usefixtures("forked")
def test_a_process_that_dies_over_the_rows_has_told_that_it_came_to_them(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path
) -> None:
    make_deadly(trace, 2)
    job, shard = job_of(trace, corpus, tmp_path / "scores"), corpus.shards[0]
    mark(job, corpus, 0, crash_counter.MAX_DEATHS)
    with crash_counter.attempt(job.folder, shard) as before:
        assert not isolated.survived(job, 0, before)
        assert crash_counter.deaths(job.folder, shard) == crash_counter.CrashCount(
            crash_counter.MAX_DEATHS + 1, crash_counter.MAX_DEATHS + 1
        )


def test_what_an_attempt_left_that_died_half_way_is_no_quarantine(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path
) -> None:
    job = job_of(trace, corpus, tmp_path / "scores")
    mark(job, corpus, 0, crash_counter.MAX_SCORING_DEATHS)
    ShardScorer(job).score(0)
    Path(job.folder, part_name(corpus.shards[0])).unlink()  # as if it had died before it wrote the part
    assert ShardScorer(job).score(0).scored == 40
    assert not list(Path(job.folder).glob("quarantine-*"))


@pytest.mark.usefixtures("forked")
def test_what_scoring_raises_apart_is_raised_here(trace: CheckpointSet, corpus: Corpus, tmp_path: Path) -> None:
    job = job_of(trace, corpus, tmp_path / "scores")
    mark(job, corpus, 0, crash_counter.MAX_DEATHS)
    scorer = ShardScorer(job)
    weights = Path(trace.checkpoints[1].uri, "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(raysample.core.errors.CheckpointError, match="missing or damaged"):
        scorer.score(0)


def test_a_process_that_cannot_begin_is_no_crash_of_the_shard(
    trace: CheckpointSet, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ScoreError, match=r"ended with code 1 before it began"):
        isolated.survived(job_of(trace, corpus, tmp_path / "scores"), 0, crash_counter.CrashCount(3, 3))


def test_a_process_ends_with_its_worker(forked: str, tmp_path: Path) -> None:
    # An order that never comes: the process waits in a pipe that nobody writes to, until its own is closed.
    os.mkfifo(tmp_path / isolated.ORDER)
    command = [
        forked,
        "-c",
        f"from raysample.influence.shards import isolated; isolated.score_ordered_shard({str(tmp_path)!r})",
    ]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _, errors = child.communicate(timeout=120)  # closes the pipe
    assert child.returncode == 1
    assert "Traceback" not in errors
