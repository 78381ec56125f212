"""How easy is the package to find one's way in? Rooms, layers, frames, names, docstrings, start-up, in figures.

Rooms are the top-level packages over `core`, layers the levels of the first import contract. A name is public when it
has no leading underscore and its definition (function, class or constant) stands at module level; its homes are the
modules that define it. Frames are counted on the stack of a real `raysample score` of a tiny corpus in this process,
from the command's `main` to the first visit in `score_block` of a mini-batch at a checkpoint: to what calls `collect`.

Prints a table and, as the last line, JSON. What misses its target is listed with `--verbose`.
"""

from __future__ import annotations

import argparse
import ast
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from harness.outcome import finish, machine, parser, print_table, target

import raysample
from raysample.cli.main import main as command_line
from raysample.influence.visits.sweep import score_block
from raysample.influence.visits.visit import collect

PACKAGE = Path(raysample.__file__).parent
PROJECT = PACKAGE.parent
NOT_ROOMS = {"core", "testing"}
"""Under the rooms, and beside them."""
SEEN_ALONE = {"TypeVar", "ParamSpec", "getLogger"}
"""What makes helpers of one module, which have the same name in all by custom."""
CONFIG = """
name: house
output: {output}
engine: {{kind: local}}
corpus: {{simulated: {{rows: 500, test_rows: 200}}}}
model: {{path: tiny, hidden_size: 16, layers: 1, vocabulary_size: 300, max_length: 16}}
fine_tune: {{epochs: 1, batch_size: 32}}
score: {{scores: [el2n]}}
tracking: {{enabled: false}}
"""
Trees = dict[str, ast.Module]
Frame = tuple[str, str]


def trees() -> Trees:
    """Return every module of the package by its dotted name, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts)] = ast.parse(path.read_text())
    return found


def rooms() -> list[str]:
    """Return the top-level packages over `core`."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name not in NOT_ROOMS)


def layers() -> int:
    """Return the number of levels of the first import contract."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return len(contracts[0]["layers"])


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


def homes(modules: Trees) -> tuple[dict[str, int], dict[str, dict[str, list[str]]]]:
    """Return the number of public names of each kind, and of each kind the names with more than one home."""
    found: dict[str, dict[str, list[str]]] = {kind: defaultdict(list) for kind in ("functions", "classes", "constants")}
    for name, module in modules.items():
        for public, kind in set(public_names(module)):
            found[kind][public].append(name)
    several = {
        kind: {name: where for name, where in sorted(names.items()) if len(where) > 1} for kind, names in found.items()
    }
    return {kind: len(names) for kind, names in found.items()}, several


def private_functions(modules: Trees) -> tuple[int, list[str]]:
    """Return the number of private functions and methods, and those without a docstring."""
    count, bare = 0, []
    for name, module in modules.items():
        for scope in (module, *(node for node in ast.walk(module) if isinstance(node, ast.ClassDef))):
            for node in scope.body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__"):
                    count += 1
                    if ast.get_docstring(node) is None:
                        bare.append(f"{name}.{node.name}")
    return count, bare


def to_the_first_visit() -> list[Frame]:
    """Run `raysample score` on a tiny corpus; return (file, function) from its `main` to the first visit."""
    stacks: list[list[Frame]] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        # The proof of a model's batches comes before, and collects without `score_block`.
        if event == "call" and frame.f_code is collect.__code__ and score_block.__name__ in _names(frame):
            sys.setprofile(None)
            stacks.append(package_frames(frame.f_back))

    with tempfile.TemporaryDirectory(prefix="raysample-house-") as folder:
        config = Path(folder) / "house.yaml"
        config.write_text(CONFIG.format(output=folder))
        said = StringIO()
        for verb in ("fine-tune", "score"):
            sys.setprofile(profile if verb == "score" else None)
            try:
                with redirect_stdout(said), redirect_stderr(said):
                    code = command_line([verb, str(config)])
            finally:
                sys.setprofile(None)
            if code != 0:
                raise RuntimeError(f"raysample {verb} failed: {said.getvalue()}")
    if not stacks:
        raise RuntimeError("raysample score visited no checkpoint in this thread")
    return stacks[0]


def _names(frame: FrameType | None) -> set[str]:
    return {name for _, name in package_frames(frame)}


def package_frames(frame: FrameType | None) -> list[Frame]:
    """Return the frames of the package's own functions, outermost first; comprehensions and lambdas do not count."""
    stack: list[Frame] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents and not frame.f_code.co_name.startswith("<"):
            stack.append((str(path.relative_to(PACKAGE)), frame.f_code.co_name))
        frame = frame.f_back
    return stack[::-1]


def help_seconds(repetitions: int) -> list[float]:
    """Return the CPU seconds that `raysample --help` takes, start of Python included, once it has been run before."""
    script = Path(sys.executable).with_name("raysample")
    found = []
    for _ in range(repetitions + 1):
        process = subprocess.Popen([sys.executable, str(script), "--help"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"raysample --help: exit code {process.returncode}")
        found.append(used.ru_utime + used.ru_stime)
    return found[1:]


def lines_of_benchmarks() -> int:
    """Return the lines of Python below this folder."""
    return sum(len(path.read_text().splitlines()) for path in Path(__file__).parent.rglob("*.py"))


def measured(repetitions: int) -> dict[str, Any]:
    """Measure everything."""
    modules = trees()
    counts, several = homes(modules)
    private, bare = private_functions(modules)
    return {
        "modules": len(modules),
        "rooms": rooms(),
        "layers": layers(),
        "public names": counts,
        "names with more homes": several,
        "share of names with more homes": sum(map(len, several.values())) / sum(counts.values()),
        "private functions": private,
        "private functions without docstring": bare,
        "share of private functions documented": 1 - len(bare) / private,
        "stack": to_the_first_visit(),
        "help": help_seconds(repetitions),
        "lines of benchmarks": lines_of_benchmarks(),
    }


def targets(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Hold the figures against what they should be."""
    return {
        "rooms over core": target(len(found["rooms"]), "<=", 12),
        "layers": target(found["layers"], "<=", 13),
        "frames to the first visit of score": target(len(found["stack"]), "<=", 10),
        "share of public names with more than one home": target(found["share of names with more homes"], "<=", 0.02),
        "share of private functions documented": target(found["share of private functions documented"], ">=", 0.7),
        "CPU seconds of raysample --help": target(statistics.median(found["help"]), "<=", 0.6),
        "lines of benchmarks": target(found["lines of benchmarks"], "<=", 3_000),
    }


def show(found: dict[str, Any], claims: dict[str, dict[str, Any]], verbose: bool) -> None:
    """Print the figures as a table, then where they come from."""
    lines = [
        [name, f"{aim['value']:.4g}", aim["target"], "met" if aim["met"] else "missed"] for name, aim in claims.items()
    ]
    for kind, names in found["names with more homes"].items():
        lines.append([f"  {kind} with more than one home", f"{len(names)} of {found['public names'][kind]}", "", ""])
    print_table(("figure", "value", "target", ""), lines, "the house")
    files = len({file for file, _ in found["stack"]})
    print(f"from the command to the first visit: {len(found['stack'])} frames in {files} files")
    for file, name in found["stack"]:
        print(f"  {file}: {name}")
    if verbose:
        for names in found["names with more homes"].values():
            for name, where in names.items():
                print(f"{name}: {', '.join(where)}")
        for name in found["private functions without docstring"]:
            print(f"no docstring: {name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the house and print it."""
    given = arguments(argv)
    torch.set_num_threads(1)
    found = measured(3 if given.quick else 9)
    claims = targets(found)
    show(found, claims, given.verbose)
    lists = {"names with more homes", "private functions without docstring"}
    told = {name: value for name, value in found.items() if name not in lists}
    finish({"benchmark": "house", "targets": claims, **told, **machine()}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    options = parser((__doc__ or "").partition("\n")[0])
    options.add_argument("--verbose", action="store_true", help="list the names and functions that miss their targets")
    return options.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
