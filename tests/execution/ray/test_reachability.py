"""Before Ray is asked to join a cluster, it is said which, and whether anything answers there."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysample.core.config import EngineConfig
from raysample.core.errors import ClusterError
from raysample.execution.ray import reachability
from raysample.execution.ray.reachability import ClusterHead, head, reach
from tests.helpers.paths import ROOT


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(reachability, "PATIENCE", 0.0)
    monkeypatch.setattr(reachability, "GREETING", 0.5)
    monkeypatch.setattr(reachability, "FIRST", 0.5)


@pytest.fixture
def closed() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[int]:
    """Listen on a port, and never say a word: a head that is paused, or another program."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.0.5:6379", "10.0.0.5", 6379),
        ("head.svc:6380", "head.svc", 6380),
        ("ray://head:10002", "head", 10002),
        ("ray://head", "head", 10001),
        ("[::1]:6379", "::1", 6379),
    ],
)
def test_addresses_of_heads(address: str, host: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert head(EngineConfig(address=address)) == ClusterHead(address, "engine.address", host, port)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert head(EngineConfig()) == head(EngineConfig(address="auto")) == ClusterHead(address, "RAY_ADDRESS", host, port)
    assert head(EngineConfig(address="local")) is None


@pytest.mark.parametrize("address", [None, "auto", "local"])
def test_without_an_address_ray_looks_for_itself(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert head(EngineConfig(address=address)) is None
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert head(EngineConfig(address=address)) is None


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://127.0.0.1:8265", "of a dashboard"),
        ("head", "no address of a Ray"),
        ("head:ray", "no address of a Ray"),
        ("head:0", "no address of a Ray"),
        (":6379", "no address of a Ray"),
    ],
)
def test_what_is_no_address_of_a_head(address: str, problem: str) -> None:
    with pytest.raises(ClusterError, match=rf"engine.address is .*{problem}.*\n  -> give HOST:PORT"):
        head(EngineConfig(address=address))


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_a_dead_head_is_told(form: str, closed: int) -> None:
    said = list[str]()
    address = form.format(closed)
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at .*refused.*\n  -> start its head"):
        reach(EngineConfig(address=address), said.append)
    assert said == [f"joining the Ray cluster at {address} (engine.address)"]


def test_a_program_that_gives_no_ear_is_told_by_the_log(
    closed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = iter((0.0, 1.0, 2.0, 99.0))
    monkeypatch.setattr(reachability, "PATIENCE", 15.0)
    monkeypatch.setattr(reachability.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(reachability.time, "sleep", lambda _: None)
    with pytest.raises(ClusterError, match="refused"):
        reach(EngineConfig(address=f"127.0.0.1:{closed}"))
    assert caplog.text.count(f"joining the Ray cluster at 127.0.0.1:{closed} (engine.address)") == 1


def test_a_host_that_is_unknown_is_told() -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at nowhere\.invalid:6379"):
        reach(EngineConfig(address="nowhere.invalid:6379"))


def test_a_port_that_never_speaks_is_told(silent: int) -> None:
    with pytest.raises(ClusterError, match="the port is open, but nothing there speaks"):
        reach(EngineConfig(address=f"127.0.0.1:{silent}"))


def test_a_head_that_answers_is_joined(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent import futures

    import grpc

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setattr(reachability, "GREETING", 60.0)
    try:
        reach(EngineConfig(address=f"127.0.0.1:{port}"))
    finally:
        server.stop(0)


def test_the_command_line_says_so_before_it_loads_anything(closed: int, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"output: {tmp_path}\n")
    script = """if True:
        import sys
        from raysample.cli import main
        from raysample.execution.ray import reachability
        reachability.PATIENCE = 0
        code = main.main(["run", sys.argv[1]])
        print(*sorted({"ray", "torch", "mlflow", "transformers"} & set(sys.modules)))
        sys.exit(code)
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "c.yaml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin", "RAY_ADDRESS": f"127.0.0.1:{closed}"},
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines() == [f"joining the Ray cluster at 127.0.0.1:{closed} (RAY_ADDRESS)", ""]
    assert "no Ray cluster answers" in done.stderr
    assert not [one for one in tmp_path.iterdir() if one.name != "c.yaml"]
