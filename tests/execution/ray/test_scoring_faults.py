"""Scoring outlives its workers, a node and its driver: no row is lost, doubled or changed, no finished shard redone."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raysample.data.score_table import ScoreTable

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("forking")]

ROWS, SHARDS, SEED = 60_000, 40, 4
# One shard costs three actors more. After the node is gone there is one worker node left, beside the head.
FAULTS = {"actor": 1, "worker": 1, "shard": 1, "node": 1, "driver": 1}


@pytest.fixture
def chaos() -> Any:
    """Return the modules that benchmarks/faults.py uses, too; some of them import ray."""
    return {
        name: importlib.import_module(f"tests.helpers.chaos.{name}")
        for name in ("study", "faults", "ordeal", "judging")
    }


def test_faults_cost_no_row_and_no_finished_work(chaos: Any, tmp_path: Path) -> None:
    study = chaos["study"].prepare(tmp_path / "study", ROWS, SHARDS, SEED)
    undisturbed = study.score(tmp_path / "undisturbed")
    faults = chaos["faults"].planned(FAULTS, SHARDS, SEED)
    plan = chaos["ordeal"].plan(study, tmp_path / "disturbed", faults, nodes=2, seed=SEED)
    told = chaos["ordeal"].run(tmp_path / "ordeal", plan, patience=600)

    # Every fault that was planned did happen, and while there was work to do.
    assert Counter(fault["kind"] for fault in told["faults"]) == FAULTS
    assert all(fault["at"] < SHARDS for fault in told["faults"])
    by_kind = {fault["kind"]: fault for fault in told["faults"]}
    assert by_kind["driver"]["exit"] == -9
    assert by_kind["node"]["nodes_left"] == 2
    assert len(set(by_kind["shard"]["pids"])) == 3

    disturbed = ScoreTable.load(str(tmp_path / "disturbed"))
    assert disturbed.to_arrow().equals(undisturbed.to_arrow())
    mistakes = chaos["judging"].mistakes(study, undisturbed, disturbed, told)
    assert {what: count for what, count in mistakes.items() if count} == {}
    assert chaos["judging"].losses(told)["drivers killed"] == 1
    assert disturbed.fingerprint == undisturbed.fingerprint
    assert told["parts"] == SHARDS

    corpus, broken = study.corpus, Counter(study.truth["stage"].to_pylist())
    assert corpus.counts == {
        "in": ROWS,
        "usable": ROWS - broken["corpus"],
        "quarantined": broken["corpus"],
        "filtered": 0,
    }
    assert disturbed.counts == {
        "in": corpus.rows,
        "scored": corpus.rows - broken["score"],
        "quarantined": broken["score"],
    }
    assert len(study.truth) == ROWS // 100
    assert len(set(study.truth["reason"].to_pylist())) == 13
    assert chaos["judging"].misjudged(study, tmp_path / "undisturbed") == {"missing": 0, "wrong": 0}
    assert sum(len(pq.read_table(path)) for path in (tmp_path / "disturbed").glob("parts-*/part-*.parquet")) == len(
        disturbed.to_arrow()
    )
