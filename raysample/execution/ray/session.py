"""Join or start a Ray cluster without Ray's own output, and check that it has the resources that the work needs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from raysample.core import interruption
from raysample.core.config import EngineConfig
from raysample.core.errors import ClusterError
from raysample.execution.ray.reachability import head, reach

# Read when ray is imported or a cluster starts: no progress bars of Ray, no usage report, a health check of workers
# every second. The C++ core writes spurious errors to the driver's terminal (ray#53727, for every actor pool).
QUIET = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

# A busy machine may miss ray's start limit of 30 seconds once; the second attempt finds the files in the page cache.
SLOW_START = "timed out during startup"

import ray  # noqa: E402 - after the environment it reads


@contextmanager
def cluster(config: EngineConfig) -> Iterator[None]:
    """Join the cluster at `config.address`, or use the one joined before, and leave it at the end.

    Without an address Ray joins the cluster in RAY_ADDRESS or one that runs on this machine, else it starts one.
    """
    if ray.is_initialized():
        yield
        return
    reach(config)
    try:
        _join(config)
    except ClusterError as error:
        if SLOW_START not in error.problem:
            raise
        _join(config)
    _quiet_loggers()
    try:
        yield
    finally:
        ray.shutdown()


def _join(config: EngineConfig) -> None:
    """Call ray.init; any failure becomes a ClusterError."""
    own = config.address in (None, "local")
    try:
        with _native_stderr_muted():
            ray.init(
                address=config.address,
                num_cpus=config.cpus if own else None,
                include_dashboard=False if own else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        # Ray replaces the signal handlers, one in Python and one that writes a native stack trace: install ours again.
        interruption.again()
    except Exception as error:  # ray raises a bare Exception for a node that starts too slowly
        ray.shutdown()
        raise ClusterError(
            f"no Ray cluster could be joined or started ({_requested(config)}): {error}",
            "start one with `ray start --head`, leave engine.address out to start one here, or set engine.kind=local",
        ) from error


def _requested(config: EngineConfig) -> str:
    """Return the requested cluster and the setting that names it, as text."""
    found = head(config)
    return f"engine.address: {config.address}" if found is None else f"{found.origin}: {found.address}"


@contextmanager
def _native_stderr_muted() -> Iterator[None]:
    """Discard stderr output of C++ code (Ray announces its log level there); exceptions still propagate."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _quiet_loggers() -> None:
    """Show only errors of Ray's loggers."""
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def cpus() -> int:
    """Return the number of CPUs of the whole cluster."""
    return int(ray.cluster_resources().get("CPU", 0))


def slots(cpus_each: float, gpus_each: float) -> int:
    """Return the number of workers of this size that fit the cluster, at least one."""
    there = ray.cluster_resources()
    fits = [there.get(kind, 0) // each for kind, each in (("CPU", cpus_each), ("GPU", gpus_each)) if each]
    return max(1, int(min(fits)))


def require_resources(workers: int, cpus_each: float, gpus_each: float, what: str) -> None:
    """Raise ClusterError if the cluster has fewer CPUs or GPUs than `what` needs: Ray would wait forever.

    Checked for the cluster and for its nodes: a worker must fit into one node.
    """
    there = ray.cluster_resources()
    sizes = [(kind, each) for kind, each in (("CPU", cpus_each), ("GPU", gpus_each)) if each]
    for kind, each in sizes:
        if workers * each > there.get(kind, 0):
            raise ClusterError(
                f"{what} needs {workers} x {each:g} {kind}s; the cluster has {there.get(kind, 0):g}",
                "ask for fewer workers, or add nodes to the cluster",
            )
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fits = sum(int(min(node.get(kind, 0) // each for kind, each in sizes)) for node in nodes)
    if workers > fits:
        words = " and ".join(f"{each:g} {kind}s" for kind, each in sizes)
        raise ClusterError(
            f"{what} needs {workers} workers of {words} on one node each; the {len(nodes)} nodes have room for {fits}",
            "ask for fewer or smaller workers, or add nodes that are large enough",
        )
