"""The house: twelve packages over core, one home for each name, and an example for each public name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import raysample

PACKAGE = Path(raysample.__file__).parent

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


def sources() -> dict[str, ast.Module]:
    """Return the syntax tree of every module by its path below the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def definitions(kind: type[ast.stmt] | tuple[type[ast.stmt], ...]) -> Iterator[tuple[str, str]]:
    """Yield the name and the module of every module-level definition of a kind."""
    for module, tree in sources().items():
        for node in tree.body:
            if isinstance(node, kind):
                yield node.name, module  # type: ignore[attr-defined]


def with_several_homes(kind: type[ast.stmt] | tuple[type[ast.stmt], ...]) -> dict[str, list[str]]:
    """Return the names of a kind that more than one module defines, with these modules."""
    homes = defaultdict[str, list[str]](list)
    for name, module in definitions(kind):
        homes[name].append(module)
    return {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_the_package_consists_of_twelve_packages_over_core() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - BESIDE == ROOMS


def test_no_module_of_the_former_map_is_left() -> None:
    left = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.iterdir() if path.stem in FORMER}
    assert left == set()
    assert {module for module in sources() if Path(module).stem in JARGON} == set()


def test_class_names_are_unique() -> None:
    assert with_several_homes(ast.ClassDef) == {}


def test_public_function_names_are_unique() -> None:
    several = with_several_homes((ast.FunctionDef, ast.AsyncFunctionDef))
    assert {name: modules for name, modules in several.items() if not name.startswith("_")} == {}


def test_files_and_functions_are_short() -> None:
    long = {path.name for path in PACKAGE.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) >= 300}
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                long |= {f"{module}: {node.name}, {lines} lines"} if lines > 60 else set()
    assert long == set()


def test_every_function_has_a_docstring() -> None:
    bare = {
        f"{module}: {node.name}"
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__")
        if ast.get_docstring(node) is None
    }
    assert bare == set()


def constants(tree: ast.Module) -> set[str]:
    """Return the public constants and type aliases that a module defines, without type variables and loggers."""
    found = set()
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if getattr(called, "attr", getattr(called, "id", None)) in {"TypeVar", "ParamSpec", "getLogger"}:
            continue
        for goal in node.targets if isinstance(node, ast.Assign) else [node.target]:
            found |= {name.id for name in ast.walk(goal) if isinstance(name, ast.Name) and name.id[0] != "_"}
    return found - {"__all__"}


def test_public_constants_have_one_home_and_no_class_has_their_name() -> None:
    homes = defaultdict[str, list[str]](list)
    for module, tree in sources().items():
        for name in constants(tree):
            homes[name].append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}
    assert homes.keys() & {name for name, _ in definitions((ast.ClassDef, ast.FunctionDef))} == set()


@pytest.mark.parametrize("name", sorted(set(raysample.__all__) - {"__version__"}))
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    text = getattr(raysample, name).__doc__ or ""
    assert len(text.strip().splitlines()[0]) > 10
    assert ">>> " in text, f"raysample.{name} has no example"


def test_star_and_tab_completion_know_the_public_names() -> None:
    assert set(raysample.__all__) <= set(dir(raysample))
