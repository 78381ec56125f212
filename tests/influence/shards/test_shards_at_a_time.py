"""Shards that are read and written while another is on the device give the same numbers, and crashes stay their own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.errors import ProvenanceError
from raysample.data.corpus import Corpus
from raysample.influence.shards import ShardScorer, crash_counter
from raysample.influence.shards import scorer as shards
from tests.helpers.scoring_jobs import elsewhere, every_job, one_by_one, parts_of, plain_job

LONG = 60.0


def test_the_numbers_are_those_of_one_shard_after_the_other(tmp_path: Path) -> None:
    job = every_job(tmp_path, rows=60, runs=1)
    alone, ahead, threads = (elsewhere(job, tmp_path / name) for name in ("alone", "ahead", "threads"))
    outcomes = one_by_one(alone)
    overlapped = ShardScorer(ahead)
    numbers = [shard.index for shard in overlapped.corpus.shards]
    assert len(numbers) == 4
    assert [outcome.shard for outcome in overlapped.score_all(numbers)] == numbers
    with ThreadPoolExecutor(2) as two:
        told = list(two.map(ShardScorer(threads).score, numbers))
    assert [(o.shard, o.rows, o.scored) for o in told] == [(o.shard, o.rows, o.scored) for o in outcomes]
    expected = parts_of(alone)
    assert len(expected) == 4
    assert all(table.equals(expected[name]) for name, table in parts_of(ahead).items())
    assert parts_of(ahead).keys() == parts_of(threads).keys() == expected.keys()
    assert all(table.equals(expected[name]) for name, table in parts_of(threads).items())


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return a list that tells what happens to which shard, in order."""
    seen, read, score = list[tuple[str, int]](), Corpus.read, shards.score_with_isolation
    at: dict[Any, int] = {}

    def reading(corpus: Corpus, shard: int) -> Any:
        rows = read(corpus, shard)
        at[rows["row_id"][0].as_py()] = shard
        seen.append(("read", shard))
        return rows

    def scoring(work: Any, rows: Any, encoded: Any = None) -> Any:
        shard = at[rows["row_id"][0].as_py()]
        seen.append(("score", shard))
        found = score(work, rows, encoded)
        seen.append(("scored", shard))
        return found

    monkeypatch.setattr(Corpus, "read", reading)
    monkeypatch.setattr(shards, "score_with_isolation", scoring)
    return seen


def test_the_next_shard_is_read_while_one_is_scored(
    tmp_path: Path, events: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, second, scoring = ShardScorer(plain_job(tmp_path)), threading.Event(), shards.score_with_isolation
    read = Corpus.read

    def reading(corpus: Corpus, shard: int) -> Any:
        if shard == 1:
            second.set()
        return read(corpus, shard)

    def waiting(work: Any, rows: Any, encoded: Any = None) -> Any:
        assert second.wait(LONG)
        return scoring(work, rows, encoded)

    monkeypatch.setattr(Corpus, "read", reading)
    monkeypatch.setattr(shards, "score_with_isolation", waiting)
    assert len(list(scorer.score_all(range(4)))) == 4
    assert [shard for what, shard in events if what == "scored"] == [0, 1, 2, 3]


def test_never_two_shards_are_on_the_device(tmp_path: Path, events: list[tuple[str, int]]) -> None:
    scorer = ShardScorer(plain_job(tmp_path))
    with ThreadPoolExecutor(4) as four:
        assert len(list(four.map(scorer.score, range(4)))) == 4
    device = [event for event in events if event[0] != "read"]
    assert sorted(shard for _, shard in device[::2]) == [0, 1, 2, 3]
    assert [("scored", shard) for _, shard in device[::2]] == device[1::2]


def test_a_shard_that_crashed_a_worker_is_worked_on_alone(tmp_path: Path, events: list[tuple[str, int]]) -> None:
    job = plain_job(tmp_path)
    scorer = ShardScorer(job)
    crashed = scorer.corpus.shards[1]
    with crash_counter.attempt(job.folder, crashed):
        marker = next(Path(job.folder, "attempts").iterdir())
        left = marker.read_bytes()
    marker.write_bytes(left)  # what a worker leaves that dies
    outcomes = list(scorer.score_all(range(4)))
    assert [outcome.crashes for outcome in outcomes] == [0, 1, 0, 0]
    assert [outcome.scored for outcome in outcomes] == [16, 14, 16, 14]
    # Nothing else is read between its own reading and the end of its scoring.
    at = events.index(("read", 1))
    assert events[at : at + 3] == [("read", 1), ("score", 1), ("scored", 1)]
    assert events.index(("scored", 0)) < at
    assert not list(Path(job.folder, "attempts").iterdir())


def test_a_row_that_the_tokenizer_fails_for_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, real = plain_job(tmp_path), models.encode
    odd = Corpus.load(job.corpus).read(2)["row_id"][5].as_py()

    def encode(words: Any, rows: Any, spec: ModelConfig) -> Any:
        if odd in rows["row_id"].to_pylist():
            raise ValueError("unreadable")
        return real(words, rows, spec)

    expected = elsewhere(job, tmp_path / "expected")
    one_by_one(expected)
    monkeypatch.setattr(models, "encode", encode)
    outcomes = list(ShardScorer(job).score_all(range(4)))
    assert [outcome.quarantined for outcome in outcomes] == [0, 0, 1, 0]
    for (name, found), whole in zip(parts_of(job).items(), parts_of(expected).values(), strict=True):
        kept = whole.filter(np.array([row != odd for row in whole["row_id"].to_pylist()]))
        assert found["row_id"].equals(kept["row_id"]), name


def test_an_error_of_reading_comes_at_its_turn_and_leaves_no_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, read = plain_job(tmp_path), Corpus.read

    def changed(corpus: Corpus, shard: int) -> Any:
        if shard == 2:
            raise ProvenanceError("rows changed", "restore them")
        return read(corpus, shard)

    monkeypatch.setattr(Corpus, "read", changed)
    outcomes = ShardScorer(job).score_all(range(4))
    assert [next(outcomes).shard, next(outcomes).shard] == [0, 1]
    with pytest.raises(ProvenanceError, match="rows changed"):
        next(outcomes)
    assert not list(Path(job.folder, "attempts").iterdir())
    assert len(parts_of(job)) == 2
