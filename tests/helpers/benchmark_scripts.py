"""The scripts of benchmarks/ as modules, and what each of them has to report."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.helpers.paths import BENCHMARKS


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the scripts find what they share, as they do when they are run; torch gets its threads back."""
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    torch.set_num_threads(threads)


def imported(path: Path) -> ModuleType:
    name = f"benchmark_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def shared(name: str) -> Any:
    return importlib.import_module(name)


def assert_targets(targets: dict[str, dict[str, Any]]) -> None:
    """Every target says what it is, what it should be, and whether the one fits the other."""
    assert targets
    for found in targets.values():
        assert set(found) == {"value", "target", "met"}
        match = re.fullmatch(r"(<=|>=|==) ([\d.e-]+)", found["target"])
        assert match is not None
        value, limit = found["value"], float(match[2])
        assert found["met"] is {"<=": value <= limit, ">=": value >= limit, "==": value == limit}[match[1]]
