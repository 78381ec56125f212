from __future__ import annotations

from typing import Any

import pytest

from raysample.config import EngineConfig
from raysample.errors import ClusterError

pytest.importorskip("ray")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Script what ray.init does, call by call: an exception is raised, None is success."""
    from raysample.on_ray import session

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
    from raysample.on_ray import session

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
