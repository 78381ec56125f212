"""Race, pilot and selection on Ray, with one worker and with several, equal those of this process bit for bit."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import raysample
from raysample.core.config import EngineConfig, ModelConfig
from raysample.selection.race.decision import Decision
from tests.helpers.model_folders import saved
from tests.workflow.test_pilot import HOW as HOW_WITH_PILOT
from tests.workflow.test_pilot import unequal_rows
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


def test_a_pilot_on_ray_is_that_of_this_process(tmp_path: Path) -> None:
    rows, threads = unequal_rows(), torch.get_num_threads()
    torch.set_num_threads(1)  # as in a task: several threads sum in another order
    how = {**HOW_WITH_PILOT, "encoder": ModelConfig(path=saved(tmp_path / "base"), max_length=24)}
    try:
        here = raysample.prune(rows, str(tmp_path / "here"), **how)
    finally:
        torch.set_num_threads(threads)
    there = raysample.prune(rows, str(tmp_path / "there"), **how, engine=EngineConfig(kind="ray", address="local"))
    one, other = (Decision.load(str(tmp_path / name / "decision.json")).pilot for name in ("here", "there"))
    assert one is not None
    assert other is not None
    assert one.entries == other.entries
    assert here.digest == there.digest
