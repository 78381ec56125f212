"""Lazy packages know their names before the first use, and import their modules on it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

LAZY = ("raysample", "raysample.cli.commands", "raysample.report", "raysample.tracking.mlflow")


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_is_known_before_its_use_and_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        getattr(module, name)


@pytest.mark.parametrize("package", LAZY)
def test_an_unknown_name_is_an_attribute_error_with_the_name_of_the_package(package: str) -> None:
    with pytest.raises(AttributeError, match=f"^module '{package}' has no attribute 'no_such_name'$"):
        _ = importlib.import_module(package).no_such_name


def test_a_module_is_imported_when_a_name_of_it_is_used_and_not_before() -> None:
    code = (
        "import sys, raysample; before = 'raysample.core.config' in sys.modules; "
        "print(before, raysample.config.__name__, 'raysample.core.config' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "raysample.core.config", "True"]
