"""Fine-tunings on a cluster whose processes die: `python -m tests.helpers.training_ordeal FOLDER`.

FOLDER holds `steady` and `elastic`, two pickled jobs. What happened is written to `told.json`.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysample.training.fine_tuning import Job
from tests.helpers import warm
from tests.helpers.chaos.cluster import Nodes, kill

import ray  # isort: skip
from ray.core.generated import autoscaler_pb2  # isort: skip

PATIENCE = 400.0
CADENCE = 25
"""Steps between states: any other step of a state tells of a notice."""


class Scene:
    """One fine-tuning, its driver, and what can be seen of it on storage."""

    def __init__(self, nodes: Nodes, folder: Path, name: str) -> None:
        self.nodes, self.place, self.log = nodes, folder / name, folder / f"{name}.log"
        job: Job = pickle.loads(self.place.read_bytes())
        self.states = Path(str(job.folder), "resume")
        self.driver = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as stream:
            command = [
                *warm.python(),
                "-m",
                "tests.helpers.training_driver",
                str(self.place),
                self.nodes.cluster.address,
            ]
            return subprocess.Popen(command, stdout=stream, stderr=stream)

    def steps(self) -> list[int]:
        """Return the steps of the states that are there whole."""
        return sorted(int(path.parent.name.removeprefix("step-")) for path in self.states.glob("step-*/COMPLETE.json"))

    def starts(self) -> list[dict[str, Any]]:
        """Return from which steps, and with how many workers, it began so far."""
        place = self.states / "starts.json"
        return json.loads(place.read_text()) if place.exists() else []

    def until(self, what: str, true: Callable[[], Any]) -> Any:
        """Wait until something is true, and return it."""
        began = time.monotonic()
        while not (found := true()):
            if self.driver.poll() is not None:
                raise RuntimeError(f"the driver ended with {self.driver.returncode} before {what}: {self.tail()}")
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"no {what}; states {self.steps()}, starts {self.starts()}: {self.tail()}")
            time.sleep(0.02)
        return found

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def trainers(self) -> list[int]:
        """Return the processes of the training workers."""
        return sorted(pid for pid, words in self.nodes.workers().items() if "TrainWorker" in words)

    def end(self) -> int:
        return self.driver.wait(timeout=PATIENCE)


def steady(scene: Scene) -> dict[str, Any]:
    """Kill a worker, then the driver; start it again."""
    scene.until("first state", scene.steps)
    victim = scene.trainers()[-1]
    kill(victim)
    second = scene.until("second start", lambda: len(scene.starts()) == 2 and scene.starts()[1])
    scene.until("new state", lambda: scene.steps() and scene.steps()[-1] > second["step"])
    scene.driver.kill()
    died = scene.driver.wait()
    scene.driver = scene.start()
    code = scene.end()
    return {"driver": died, "code": code, "killed": [victim]}


def elastic(scene: Scene) -> dict[str, Any]:
    """Announce that a node will leave, take it away, and bring another one."""
    scene.until("first state", scene.steps)
    node = scene.nodes.removable()[0]
    announce(scene.nodes.cluster.address, node.node_id, seconds=10)
    noticed = scene.until("state at the notice", lambda: [step for step in scene.steps() if step % CADENCE])
    scene.nodes.remove(0)
    second = scene.until("second start", lambda: len(scene.starts()) == 2 and scene.starts()[1])
    scene.until("new state", lambda: scene.steps() and scene.steps()[-1] > second["step"])
    scene.nodes.add()
    third = scene.until("third start", lambda: len(scene.starts()) == 3 and scene.starts()[2])
    return {"noticed": noticed, "second": second, "third": third, "code": scene.end()}


def announce(address: str, node: str, seconds: int) -> None:
    """Tell the cluster, as a cloud's agent would, that a node will be taken away."""
    deadline = time.time_ns() // 1_000_000 + seconds * 1_000
    client = ray._raylet.GcsClient(address=address)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = client.drain_node(node, reason, "spot reclaim", deadline)
    assert accepted, why


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with Nodes(2).running() as nodes:
        # In this order: what a killed driver had reserved stays so for minutes, and ranges of workers wait for it.
        told = {name: work(Scene(nodes, folder, name)) for name, work in (("elastic", elastic), ("steady", steady))}
    (folder / "told.json").write_text(json.dumps(told))
