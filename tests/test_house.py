"""The house: twelve packages over core, one home for each name, and an example for each public name."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

import raysample
from tests.helpers.code_map import PACKAGE, homes, several, trees
from tests.helpers.first_visit import frames_to_the_first_visit

ROOMS = {
    *("api", "cli", "workflow", "execution", "tracking", "report", "evaluation", "selection", "influence", "training"),
    *("models", "data"),
}
BESIDE = {"core", "testing", "errors", "version", "__init__", "__main__"}
"""Under the twelve packages, and beside them."""

FORMER = {
    *("verbs", "commands", "pipeline", "engine", "spreading", "on_ray", "experiment", "keep_curve", "policies"),
    *("artifacts", "sweep", "scores", "references", "landmarks", "capture", "scoring", "verification", "fine_tuning"),
    *("adoption", "model", "corpus", "contents", "table", "checkpoints", "config", "storage", "statistics", "numerics"),
    *("locking", "manifests", "redaction", "interruption", "progress"),
}
"""Top-level modules and packages of the former map."""

JARGON = {
    *("telling", "given", "apart", "looking", "tested", "labelling", "outcomes", "words", "taps", "recording"),
    *("spreading", "attempts", "bisection", "advance", "sieve", "nouns", "verbs", "asked", "told", "shelf"),
}
"""Words of the former glossary that named modules."""


def test_the_package_consists_of_twelve_packages_over_core() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - BESIDE == ROOMS


def test_no_module_of_the_former_map_is_left() -> None:
    left = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.iterdir() if path.stem in FORMER}
    assert left == set()
    assert {module for module in trees() if Path(module).stem in JARGON} == set()


def test_class_names_are_unique() -> None:
    classes = Counter(node.name for tree in trees().values() for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in classes.items() if count > 1] == []


def test_public_function_names_are_unique() -> None:
    assert several(homes(trees())["functions"]) == {}


@pytest.mark.slow
def test_scoring_reaches_its_first_visit_in_ten_frames() -> None:
    stack = frames_to_the_first_visit()
    assert stack[0] == ("cli/main.py", "main")
    assert stack[-1][0].startswith("influence/visits/")
    assert not any(name.startswith("<") for _, name in stack)
    assert len(stack) <= 10


def test_files_and_functions_are_short() -> None:
    long = {path.name for path in PACKAGE.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) >= 300}
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                long |= {f"{module}: {node.name}, {lines} lines"} if lines > 60 else set()
    assert long == set()


def test_every_function_has_a_docstring() -> None:
    bare = {
        f"{module}: {node.name}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__")
        if ast.get_docstring(node) is None
    }
    assert bare == set()


def test_public_constants_have_one_home_and_no_class_or_function_has_their_name() -> None:
    found = homes(trees())
    assert several(found["constants"]) == {}
    assert found["constants"].keys() & {*found["classes"], *found["functions"]} == set()


@pytest.mark.parametrize("name", sorted(set(raysample.__all__) - {"__version__"}))
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    text = getattr(raysample, name).__doc__ or ""
    assert len(text.strip().splitlines()[0]) > 10
    assert ">>> " in text, f"raysample.{name} has no example"


def test_star_and_tab_completion_know_the_public_names() -> None:
    assert set(raysample.__all__) <= set(dir(raysample))
