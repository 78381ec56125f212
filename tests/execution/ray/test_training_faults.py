"""A fine-tuning outlives its workers, its driver and its nodes, and comes to what it would have come to."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import training_runs, warm
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("forking")]

STEADY = {"epochs": 24, "resume": {"steps": 25, "minutes": 60.0}, "workers": 2}
# So small a rate that rounding, which differs with the number of workers, does not grow; and slow enough that there are
# steps left when another node has come.
ELASTIC = {**STEADY, "epochs": 100, "workers": [1, 2], "learning_rate": 1e-5, "schedule": "constant"}
SLOW = {"micro_batch_size": 1}
# By default Ray Train waits a minute for a node that is gone, and half a minute for its process group.
WAITS = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "25", "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5"}


def suffer(folder: Path) -> dict[str, Any]:
    """Run the ordeal on a cluster of its own."""
    # Ray's sockets need a short path; and nobody else must find this cluster by its usual place.
    place = tempfile.mkdtemp(prefix="ordeal-", dir="/tmp")
    paths = [str(ROOT), *(path for path in sys.path if path)]
    settings = {"RAY_TMPDIR": place, "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5", "OMP_NUM_THREADS": "1"}
    settings |= WAITS
    env = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)}
    for name in ("RAY_ADDRESS", "TMPDIR"):
        env.pop(name, None)
    log = folder / "ordeal.log"
    try:
        with log.open("wb") as stream:
            command = [*warm.python(), "-m", "tests.helpers.training_ordeal", str(folder)]
            code = subprocess.run(command, stdout=stream, stderr=stream, env=env, cwd=ROOT, timeout=1800).returncode
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert code == 0, log.read_text(errors="replace")[-4000:]
    return json.loads((folder / "told.json").read_text())


def test_deaths_of_workers_driver_and_nodes_change_nothing(tmp_path: Path) -> None:
    steady = training_runs.a_job(tmp_path / "steady-job", **STEADY)
    elastic = training_runs.a_job(tmp_path / "elastic-job", dropout=0.0, **ELASTIC, **SLOW)
    for name, job in (("steady", steady), ("elastic", elastic)):
        (tmp_path / name).write_bytes(pickle.dumps(job))
    told = suffer(tmp_path)

    # A worker was killed, then the driver; the third start came to the end: what two undisturbed workers come to.
    undisturbed = training_runs.in_folder(steady, tmp_path / "undisturbed")
    training_runs.group(2, tmp_path / "group", (undisturbed, (), True))
    assert told["steady"]["driver"] == -9
    assert told["steady"]["code"] == 0
    begun = json.loads(Path(steady.folder, "evaluation.json").read_text())["starts"]
    assert [count for _, count in begun] == [2, 2, 2]
    assert 0 == begun[0][0] < begun[1][0] < begun[2][0]
    assert training_runs.curve(steady).equals(training_runs.curve(undisturbed))
    assert training_runs.written(steady) == training_runs.written(undisturbed)

    # The notice made a state off the cadence; one worker went on from it, and two when there was a node again.
    alone = training_runs.a_job(tmp_path / "alone", dropout=0.0, **ELASTIC)
    training_runs.run(alone)
    assert told["elastic"]["code"] == 0
    assert told["elastic"]["second"]["workers"] == 1
    assert told["elastic"]["second"]["step"] >= max(told["elastic"]["noticed"])
    assert told["elastic"]["third"]["workers"] == 2
    found, expected = training_runs.curve(elastic), training_runs.curve(alone)
    for name in ("step", "epoch", "learning_rate"):
        assert found[name].equals(expected[name])
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3)
