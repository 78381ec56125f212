"""What all tests share: an offline, quiet environment, one Ray cluster, and what runs beside what."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from multiprocessing import spawn
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.2",
    # Ray's workers are the longest chain of a parallel run; by default they come after everything else (15).
    RAY_worker_niceness="0",
    # Several processes share few cores: neither they nor those that they start take a thread for each core as well.
    OMP_NUM_THREADS="1",
    # Where transformers copies the code of models that bring their own.
    HF_MODULES_CACHE=tempfile.mkdtemp(prefix="modules-"),
)

# A server of the developer's is no place for the runs of tests.
os.environ.pop("MLFLOW_TRACKING_URI", None)

import pytest

from tests.helpers import warm


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that others are forked from once for all processes of a parallel run."""
    _own_modules_cache()
    if config.getoption("numprocesses", None):
        stack = ExitStack()
        stack.enter_context(warm.forking())
        config.add_cleanup(stack.close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Fork the processes of a parallel run, too: each would import for ten seconds what the tests import."""
    for spec in specs:
        spec.python = shlex.join(warm.python())


def _own_modules_cache() -> None:
    """Give this process a cache of its own where it was forked with transformers, which has read its environment."""
    if "transformers" in sys.modules:
        import_module("transformers.dynamic_module_utils").HF_MODULES_CACHE = os.environ["HF_MODULES_CACHE"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin a parallel run with what takes longest, so that its processes end together."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not item.get_closest_marker("ray"), not item.get_closest_marker("slow")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a module in one process, whose fixtures are then made once; likewise those that need Ray.

    The tests of the session's cluster are together, and so are those that start clusters of their own: two processes,
    whose clusters mostly wait, one for its workers and one for its deaths.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ModulesTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return _cluster(config.rootpath / module) or module

    return ModulesTogether(config, log)


@cache
def _cluster(module: Path) -> str:
    """Tell from its text which cluster a module needs, if any, since this process imports no test."""
    text = module.read_text(encoding="utf-8")
    if "pytest.mark.ray" not in text:
        return ""
    return "the session's cluster" if "ray_cluster" in text else "clusters of their own"


@pytest.fixture(scope="session")
def forking() -> Iterator[None]:
    """See to it that there is a process that Ray's workers are forked from, and others that tests start."""
    with warm.forking():
        yield


@pytest.fixture
def forked(forking: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Fork what a test starts as `sys.executable`, and what multiprocessing spawns; return the program that does so."""
    program = warm.executable(tmp_path)
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(program))
    return program


CLUSTER = ExitStack()
"""What ends the cluster of the tests on Ray, while there is one."""


@pytest.fixture(scope="module")
def ray_cluster(forking: None) -> None:
    """One cluster for all modules on Ray; three logical CPUs on two cores, so that nothing starves."""
    from raysample.core.config import EngineConfig
    from raysample.execution.ray import session

    if not session.ray.is_initialized():
        CLUSTER.enter_context(warm.warm_workers())
        CLUSTER.enter_context(session.cluster(EngineConfig(address="local", cpus=3)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the cluster before the first test that needs no Ray: an idle one takes a tenth of a core."""
    if nextitem is None or not nextitem.get_closest_marker("ray"):
        CLUSTER.close()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small labelled corpus: train.parquet with 200 rows, test.parquet with 60."""
    from raysample.testing import tiny_corpus_files

    folder = tmp_path_factory.mktemp("small")
    for name, rows, seed in (("train", 200, 0), ("test", 60, 1)):
        tiny_corpus_files(folder / name, rows, seed, files=1)
        (folder / name / "part-00000.parquet").rename(folder / f"{name}.parquet")
    return folder


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each block that is visited from now on, in this process."""
    from raysample.influence.shards import run_visits

    counts, real = list[int](), run_visits.score_block

    def counting(*given: Any, **more: Any) -> Any:
        counts.append(len(given[3]))
        return real(*given, **more)

    monkeypatch.setattr(run_visits, "score_block", counting)
    return counts
