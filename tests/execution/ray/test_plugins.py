"""Plug-ins from a package outside the tree: found by Ray workers that have it, else refused by name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import raysample
from raysample.core.config import ArmConfig, EngineConfig
from raysample.core.errors import PluginError
from raysample.execution.create import create_executor
from raysample.testing import tiny_checkpoints
from raysample.workflow.plugins import check_plugins, policy_plugins
from tests.helpers import warm
from tests.helpers.corpora import tiny_corpus
from tests.helpers.paths import ROOT
from tests.helpers.plugin_package import write_package

pytestmark = pytest.mark.ray

DRIVER = """
import sys
import raysample
from raysample.core.config import ArmConfig, EngineConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.execution.create import create_executor
from raysample.selection import write_selection
from tests.helpers.warm import warm_workers

folder = sys.argv[1]
run, corpus = CheckpointSet.load(f"{folder}/run"), Corpus.load(sys.argv[2])
scores = ["el2n", "outside.plugins:Doubt", {"name": "doubt-by-entry-point", "squared": True, "as": "squared"}]
on_ray = EngineConfig(kind="ray", address="local", cpus=3)
arm = {"policy": "outside.plugins:Nearest", "score": "doubt"}
here = raysample.score(run, corpus, scores, f"{folder}/here", max_length=16)
mine = raysample.sample(here, arm["policy"], score="doubt", fraction=0.5)
with warm_workers(), create_executor(on_ray) as executor:
    there = raysample.score(run, corpus, scores, f"{folder}/there", max_length=16, engine=on_ray)
    # Tasks count and write, as they do for large tables.
    theirs = write_selection(there, ArmConfig(**arm), f"{folder}/half", fraction=0.5, map_fn=executor.map)
assert there.fingerprint == here.fingerprint
assert there.to_pandas().equals(here.to_pandas())
assert theirs.kept_ids().equals(mine.kept_ids())
assert theirs.plugin == mine.plugin
print("equal:", len(theirs.kept_ids()))
"""


@pytest.mark.usefixtures("forking")
def test_a_score_and_a_policy_from_outside_work_on_ray(tmp_path: Path) -> None:
    """Run a driver whose cluster inherits the path of the package, as a user's would."""
    write_package(tmp_path / "site")
    tiny_checkpoints(tmp_path / "run", 3)
    corpus = tiny_corpus(tmp_path / "rows", 60, shard_rows=16)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "RAY_ADDRESS": ""}
    env.pop("RAY_ADDRESS")
    command = [*warm.python(), "-c", DRIVER, str(tmp_path), corpus.uri]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("equal: 30")


@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_lack_a_plug_in_refuse_it_by_name_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path / "site", name="only_here")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    corpus, run = tiny_corpus(tmp_path / "rows", 60, shard_rows=16), tiny_checkpoints(tmp_path / "run", 3)
    engine = EngineConfig(kind="ray")
    told = (
        r"score 'only_here.plugins:Doubt' \(version 3\): ModuleNotFoundError: No module named 'only_here'[^$]*modules"
    )
    with pytest.raises(PluginError, match=told):
        raysample.score(run, corpus, ["only_here.plugins:Doubt"], str(tmp_path / "scores"), engine=engine)
    assert not list((tmp_path / "scores").rglob("part-*"))
    with create_executor(engine) as executor, pytest.raises(PluginError, match=r"policy 'only_here.plugins:Nearest'"):
        check_plugins(policy_plugins([ArmConfig(policy="only_here.plugins:Nearest", score="vog")]), executor)
