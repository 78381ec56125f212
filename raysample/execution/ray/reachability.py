"""Check that a cluster answers before Ray is imported, since Ray would wait for minutes."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from raysample.core.config import EngineConfig
from raysample.core.errors import ClusterError
from raysample.core.extras import require_extra

_LOG = logging.getLogger(__name__)

RAY_ADDRESS = "RAY_ADDRESS"
CLIENT_PORT = 10001
# Timeouts in seconds: first attempt, later attempts, all attempts (a head may be starting), and the protocol greeting.
FIRST, TRY, PATIENCE, GREETING = 1.5, 5.0, 15.0, 15.0


@dataclass(frozen=True)
class ClusterHead:
    """The head of a cluster: the configured address, the setting that it comes from, host and port."""

    address: str
    origin: str
    host: str
    port: int


def head(config: EngineConfig) -> ClusterHead | None:
    """Return the head to be joined; None if Ray looks for a cluster on this machine, or starts one.

    Raises:
        ClusterError: the address is not that of a cluster head.
    """
    address, origin = config.address, "engine.address"
    if address in (None, "auto"):
        address, origin = os.environ.get(RAY_ADDRESS, "").strip(), RAY_ADDRESS
    if address in ("", "auto", "local"):
        return None
    assert address is not None
    scheme, _, rest = address.rpartition("://")
    if scheme not in ("", "ray"):
        if scheme not in ("http", "https"):
            return None  # another library's, which Ray looks up
        raise ClusterError(
            f"{origin} is {address!r}, the address of a dashboard, and not of a Ray cluster's head",
            f"give HOST:PORT (6379, if it was not changed) or ray://HOST:{CLIENT_PORT}, or unset {RAY_ADDRESS}",
        )
    host, _, port = rest.partition("/")[0].partition("?")[0].rpartition(":")
    if scheme == "ray" and not port.isdigit():
        host, port = rest.partition("/")[0], str(CLIENT_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ClusterError(
            f"{origin} is {address!r}, which is no address of a Ray cluster's head",
            f"give HOST:PORT, for example 10.0.0.5:6379, or ray://HOST:{CLIENT_PORT}, `auto` or `local`",
        )
    return ClusterHead(address, origin, host.strip("[]"), int(port))


def require_ray() -> None:
    """Raise a MissingExtraError if Ray is not installed."""
    require_extra("ray", "engine.kind: ray", "set engine.kind=local to work in this process")


def reach(config: EngineConfig, say: Callable[[str], None] | None = None) -> None:
    """Wait until the head to be joined answers.

    Args:
        config: the executor's configuration.
        say: receives a message at once; by default a warning is logged if the first attempt fails.

    Raises:
        ClusterError: the address is not that of a cluster head, or no head answers there within half a minute.
        MissingExtraError: Ray is not installed.
    """
    require_ray()
    target = head(config)
    if target is None:
        return
    words = f"joining the Ray cluster at {target.address} ({target.origin})"
    if say is not None:
        say(words)
    problem = _connect(target, None if say is not None else words)
    problem = problem or _greet(target)
    if problem:
        raise ClusterError(
            f"no Ray cluster answers at {target.address} ({target.origin}): {problem}",
            f"start its head, or correct {target.origin}; unset {RAY_ADDRESS} or give engine.address=local to start a "
            "cluster here, or set engine.kind=local",
        )


def _connect(target: ClusterHead, words: str | None) -> str:
    """Open a connection; return the problem, empty on success."""
    began, patience = time.monotonic(), FIRST
    while True:
        try:
            with closing(socket.create_connection((target.host, target.port), timeout=patience)):
                return ""
        except OSError as error:
            problem = str(error) or type(error).__name__
        if time.monotonic() - began > PATIENCE:
            return problem
        if words is not None:
            _LOG.warning("%s: %s so far", words, problem)
            words = None
        patience = TRY
        time.sleep(1)


def _greet(target: ClusterHead) -> str:
    """Wait for the protocol's greeting, since an open port may belong to a hanging or another process."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return ""
    try:
        import grpc
    except ImportError:  # no part of a bare ray
        return ""
    host = f"[{target.host}]" if ":" in target.host else target.host
    channel = grpc.insecure_channel(f"{host}:{target.port}", options=(("grpc.enable_http_proxy", 0),))
    try:
        grpc.channel_ready_future(channel).result(timeout=GREETING)
    except grpc.FutureTimeoutError:
        return f"the port is open, but nothing there speaks Ray's language within {GREETING:g} seconds"
    finally:
        channel.close()
    return ""
