from __future__ import annotations

from typing import Any

import pytest

from raysample.core.config import EngineConfig
from raysample.core.errors import ClusterError

pytest.importorskip("ray")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Script what ray.init does, call by call: an exception is raised, None is success."""
    from raysample.execution.ray import session

    outcomes: list[Any] = []

    def init(**_: object) -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(session, "reach", lambda _: None)
    monkeypatch.setattr(session.ray, "init", init)
    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    return outcomes


def enter(config: EngineConfig) -> None:
    from raysample.execution.ray import session

    with session.cluster(config):
        pass


def test_a_slow_start_is_tried_once_more(starts: list[Any]) -> None:
    slow = "The current node timed out during startup."
    starts += [Exception(slow), None]
    enter(EngineConfig())
    assert starts == []
    starts += [Exception(slow), Exception(slow)]
    with pytest.raises(ClusterError, match="timed out during startup"):
        enter(EngineConfig())


def test_a_cluster_that_is_not_there_is_told_with_advice(starts: list[Any]) -> None:
    starts += [ConnectionError("refused")]
    with pytest.raises(ClusterError, match=r"10\.0\.0\.1:6379\): refused\n  -> start one with `ray start --head`"):
        enter(EngineConfig(address="10.0.0.1:6379"))


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus", "gpus", "problem"),
    [
        ([{"CPU": 4}], 5, 1, 0, "5 x 1 CPUs; the cluster has 4"),
        ([{"CPU": 4}], 1, 1, 1, "1 x 1 GPUs; the cluster has 0"),
        (
            [{"CPU": 2, "GPU": 1}] * 2,
            1,
            1,
            2,
            "1 workers of 1 CPUs and 2 GPUs on one node each; the 2 nodes have room for 0",
        ),
        ([{"CPU": 3}, {"CPU": 3}], 3, 2, 0, "3 workers of 2 CPUs on one node each; the 2 nodes have room for 2"),
        ([{"CPU": 2, "GPU": 1}, {"CPU": 9}], 3, 1, 0.5, "3 x 0.5 GPUs; the cluster has 1"),
        ([{"CPU": 2, "GPU": 1}] * 2, 4, 1, 0.5, None),
        ([{"CPU": 4}], 4, 0.9, 0, None),
    ],
)
def test_what_no_node_can_hold_is_told(
    nodes: list[dict[str, float]],
    workers: int,
    cpus: float,
    gpus: float,
    problem: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from raysample.execution.ray import session

    dead = {"Alive": False, "Resources": {"CPU": 99, "GPU": 99}}
    there = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    monkeypatch.setattr(session.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes] + [dead])
    monkeypatch.setattr(session.ray, "cluster_resources", lambda: there)
    if problem is None:
        session.require_resources(workers, cpus, gpus, "scoring")
        return
    with pytest.raises(ClusterError, match=f"scoring needs {problem}"):
        session.require_resources(workers, cpus, gpus, "scoring")
