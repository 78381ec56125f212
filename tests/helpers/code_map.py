"""The package's modules as syntax trees: which names are public, where each is at home, which functions say what."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import raysample

PACKAGE = Path(raysample.__file__).parent
KINDS = ("functions", "classes", "constants")
SEEN_ALONE = {"TypeVar", "ParamSpec", "getLogger"}
"""What makes helpers of one module, which have the same name in all by custom."""
Trees = dict[str, ast.Module]
Homes = dict[str, list[str]]


@cache
def trees() -> Trees:
    """Return the syntax tree of every module by its path below the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def public_names(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (name, kind) of the public definitions at module level."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = [(node.name, "classes" if isinstance(node, ast.ClassDef) else "functions")]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            called = node.value.func if isinstance(node.value, ast.Call) else None
            if getattr(called, "attr", getattr(called, "id", None)) in SEEN_ALONE:
                continue
            goals = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [(name.id, "constants") for goal in goals for name in ast.walk(goal) if isinstance(name, ast.Name)]
        else:
            continue
        yield from ((name, kind) for name, kind in found if not name.startswith("_"))


def homes(modules: Trees) -> dict[str, Homes]:
    """Return, for each kind, the modules that define each public name."""
    found: dict[str, Homes] = {kind: defaultdict(list) for kind in KINDS}
    for name, module in modules.items():
        for public, kind in sorted(set(public_names(module))):
            found[kind][public].append(name)
    return found


def several(names: Homes) -> Homes:
    """Return the names with more than one home."""
    return {name: where for name, where in sorted(names.items()) if len(where) > 1}


def private_functions(modules: Trees) -> dict[str, bool]:
    """Return, for every private function and method, whether it has a docstring."""
    found = {}
    for name, module in modules.items():
        for scope in (module, *(node for node in ast.walk(module) if isinstance(node, ast.ClassDef))):
            for node in scope.body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__"):
                    owner = f"{scope.name}." if isinstance(scope, ast.ClassDef) else ""
                    found[f"{name}: {owner}{node.name}"] = ast.get_docstring(node) is not None
    return found
