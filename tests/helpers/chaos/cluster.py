"""A Ray cluster of several nodes on this machine, whose processes can be killed. It knows none but its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import ray  # noqa: F401 - it brings psutil along
from ray.cluster_utils import Cluster

from raysample.execution.ray.session import SLOW_START
from tests.helpers import warm

import psutil  # isort: skip

T = TypeVar("T")
MEMORY = 80 * 2**20
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Parts of a node, which dies with them; no workers."""
# A node that is gone is noticed after some seconds, not after half a minute.
HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}


def _head() -> Cluster:
    arguments = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY, "_system_config": HEALTH}
    return Cluster(initialize_head=True, head_node_args=arguments)


def patiently(start: Callable[[], T]) -> T:
    """Start a node, and once more where a busy machine was too slow for it."""
    try:
        return start()
    except Exception as error:  # a bare Exception is what ray raises
        if SLOW_START not in str(error):
            raise
        return start()


class Nodes:
    """A head without CPUs, worker nodes of one CPU each, and the driver that works on them from the head."""

    def __init__(self, workers: int) -> None:
        with warm.warm_workers():
            self.cluster = patiently(_head)
        for _ in range(workers):
            self.add()
        self.cluster.wait_for_nodes(timeout=120)
        self.driver: subprocess.Popen[bytes] | None = None

    def add(self) -> str:
        """Add a worker node and return its id; it has joined the cluster then."""
        with warm.warm_workers():
            made = patiently(lambda: self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY))
        return str(made.node_id)

    def fallen(self) -> list[int]:
        """Return the places (of `removable`) of worker nodes that have died by themselves."""
        ended = [one.all_processes["raylet"][0].process.poll() is not None for one in self.removable()]
        return [place for place, gone in enumerate(ended) if gone]

    def raylets(self, node: Any = None) -> dict[int, Any]:
        """Return the process that starts the workers of a node, pid -> node; those of all nodes without one."""
        nodes = self.cluster.list_all_nodes() if node is None else [node]
        return {one.all_processes["raylet"][0].process.pid: one for one in nodes}

    def workers(self, node: Any = None) -> dict[int, str]:
        """Return the worker processes of one node or of all, pid -> what each is at (`ray::IDLE`)."""
        found: dict[int, str] = {}
        for raylet in self.raylets(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(raylet).children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        worker = warm.forked_by(child.pid)
                        found[worker] = " ".join(psutil.Process(worker).cmdline()).strip()
        return {pid: words for pid, words in found.items() if words.startswith("ray::") and words not in AGENTS}

    def start_driver(self, study: Path, output: Path, log: Path) -> None:
        """Start scoring, or start it again."""
        command = [*warm.python(), "-m", "tests.helpers.chaos.driver", str(study), str(output), self.cluster.address]
        with log.open("ab") as stream:
            self.driver = subprocess.Popen(command, stdout=stream, stderr=stream)

    def kill_driver(self) -> int:
        """Kill the driver and return its exit code."""
        assert self.driver is not None
        self.driver.kill()
        return self.driver.wait()

    def removable(self) -> list[Any]:
        """Return the worker nodes, in a fixed order."""
        return sorted(self.cluster.worker_nodes, key=lambda node: node.unique_id)

    def remove(self, place: int) -> list[int]:
        """Take a worker node away as a machine goes: all at once. Return the processes that died with it."""
        node = self.removable()[place]
        there = list(self.workers(node))
        self.cluster.remove_node(node, allow_graceful=False)
        for pid in there:
            kill(pid)
        return there

    @contextlib.contextmanager
    def running(self) -> Iterator[Nodes]:
        """Leave no process behind."""
        try:
            yield self
        finally:
            if self.driver is not None and self.driver.poll() is None:
                self.kill_driver()
            self.cluster.shutdown()


def kill(pid: int) -> None:
    """Kill a process at once, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead and not yet collected by its parent does not."""
    return parent(pid) is not None


def parent(pid: int) -> int | None:
    """Return the parent of a process that runs, None for one that does not; a worker's is the raylet."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else psutil.Process(warm.launcher_of(pid)).ppid()
    except psutil.NoSuchProcess:
        return None
