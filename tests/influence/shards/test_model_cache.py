"""Checkpoints that do not fit take turns: the numbers are those of resident ones, and the memory is really bounded."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from torch import nn

from raysample import models as model
from raysample.core import storage
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.influence.scores import SCORES
from raysample.influence.shards import ShardScorer
from raysample.influence.shards.model_cache import ModelCache, Models
from raysample.testing import LABELS, tiny_checkpoints
from tests.helpers.scoring_jobs import MODEL, elsewhere, every_job, one_by_one, parts_of, plain_job


class Watch:
    """Counts the models that are alive when another one is loaded, that one included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.most, self.loads, real = 0, Counter[str](), model.load_model

        def load(uri: str, **options: Any) -> nn.Module:
            network = real(uri, **options)
            self.loads[Path(uri).name] += 1
            self.alive.add(network)
            self.most = max(self.most, len(self.alive))
            return network

        monkeypatch.setattr(model, "load_model", load)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_every_score_is_the_same_bit_for_bit_with_any_room(tmp_path: Path) -> None:
    job = every_job(tmp_path, rows=40)
    resident = elsewhere(job, tmp_path / "resident")
    one_by_one(resident)
    expected = parts_of(resident)
    assert set(SCORES) <= set(next(iter(expected.values())).column_names)
    for room in (1, 4):
        turning = replace(elsewhere(job, tmp_path / f"room-{room}"), max_resident_models=room)
        one_by_one(turning)
        found = parts_of(turning)
        assert found.keys() == expected.keys()
        for name, table in found.items():
            for column in table.column_names:
                assert table[column].equals(expected[name][column]), (room, name, column)


@pytest.mark.parametrize("room", [1, 2, 3])
def test_no_more_models_are_alive_than_there_is_room_for(room: int, tmp_path: Path, watch: Watch) -> None:
    job = plain_job(tmp_path, scores=("vog", "grand", "el2n"))
    job = replace(job, max_resident_models=room)
    outcomes = one_by_one(job)
    assert sum(outcome.scored for outcome in outcomes) == 60
    assert watch.most == room
    if room == 3:
        assert set(watch.loads.values()) == {1}
    else:
        # The first to come stay: the last checkpoint, with room for two. The others come for every shard.
        turns = 3 - (room - 1)
        assert watch.loads.total() >= turns * (len(outcomes) - 1) + 3
    assert watch.loads.total() <= 3 * len(outcomes) + 1


def test_all_models_are_loaded_once_where_nothing_bounds_them(tmp_path: Path, watch: Watch) -> None:
    one_by_one(plain_job(tmp_path))
    assert watch.loads == {f"step-{step:06d}": 1 for step in (10, 20, 30)}
    assert watch.most == 3


def test_several_runs_share_the_room(tmp_path: Path, watch: Watch) -> None:
    job = every_job(tmp_path, rows=20)
    watch.most = 0
    gc.collect()
    scorer = ShardScorer(replace(job, max_resident_models=2))
    assert scorer.score(0).scored == 10
    assert watch.most == 2


def test_the_shelf_keeps_the_first_and_lends_one_place() -> None:
    cache, made = ModelCache(3), list[int]()

    def get(number: int) -> nn.Module:
        def load() -> nn.Module:
            made.append(number)
            return nn.Identity()

        return cache.get(("run", number), load)

    for number in (0, 1, 2, 3, 0, 1, 2, 3, 3, 0):
        get(number)
    assert made == [0, 1, 2, 3, 2, 3]
    assert get(0) is get(0)


def test_remote_checkpoints_are_copied_and_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = tiny_checkpoints(tmp_path / "run", 2)
    remote = fsspec.filesystem("memory")
    remote.put(str(tmp_path / "run"), "/turns", recursive=True)
    trace = CheckpointSet(
        tuple(Checkpoint(f"memory://turns/{Path(c.uri).name}", c.step, c.epoch, 1e-3) for c in local.checkpoints),
        LABELS,
        seed=0,
    )
    calls, copy, check = Counter[str](), storage.localise, checkpoint_set.verify_checkpoint
    monkeypatch.setattr(storage, "localise", lambda uri: calls.update(["copy"]) or copy(uri))
    monkeypatch.setattr(
        checkpoint_set, "verify_checkpoint", lambda uri, files: calls.update(["check"]) or check(uri, files)
    )
    models = Models(trace, MODEL, "cpu", ModelCache(1))
    for _ in range(3):
        for at in range(2):
            here, there = models[at].state_dict(), model.load_model(local.checkpoints[at].uri).state_dict()
            assert all(np.array_equal(here[name], there[name]) for name in there)
    assert calls == {"copy": 2, "check": 2}
    remote.rm("/turns", recursive=True)
