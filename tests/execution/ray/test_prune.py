"""The race and its selection on Ray, with one worker and with several, equal those of this process bit for bit."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import raysample
from raysample.core.config import EngineConfig
from raysample.selection.race.decision import Decision
from tests.workflow.test_prune import HOW, rows_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.mark.parametrize("race_rows", [20_000, 300])
def test_pruning_on_ray_is_that_of_this_process(race_rows: int, tmp_path: Path) -> None:
    rows, how = rows_of(480, noise=0.4), {**HOW, "race_rows": race_rows}
    here = raysample.prune(rows, str(tmp_path / "here"), **how)
    there = raysample.prune(rows, str(tmp_path / "there"), **how, engine=EngineConfig(kind="ray", address="local"))
    one, other = (Decision.load(str(tmp_path / name / "decision.json")) for name in ("here", "there"))
    assert one.race == other.race
    assert here.digest == there.digest
    for name in ("kept.parquet", "removed.parquet"):
        assert pq.read_table(tmp_path / "here" / name).equals(pq.read_table(tmp_path / "there" / name))
    assert (tmp_path / "here" / "suspects.csv").read_bytes() == (tmp_path / "there" / "suspects.csv").read_bytes()
