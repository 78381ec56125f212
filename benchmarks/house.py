"""How easy is the package to find one's way in? Rooms, layers, frames, names, docstrings, start-up, in figures.

Rooms are the top-level packages over `core`, layers the levels of the first import contract. A name is public when it
has no leading underscore and its definition (function, class or constant) stands at module level; its homes are the
modules that define it. Frames are counted on the stack of a real `raysample score` of a tiny corpus in this process,
from the command's `main` to the first visit in `score_block` of a mini-batch at a checkpoint: to what calls `collect`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from harness.outcome import Figures, Options, finish, print_table, target

from tests.helpers.code_map import PACKAGE, homes, private_functions, several, trees
from tests.helpers.first_visit import frames_to_the_first_visit

FOLDER = Path(__file__).parent
LATER = {"auto.py"}
"""Scripts of features that came after the limit of lines."""
NOT_ROOMS = {"core", "testing"}
"""Under the rooms, and beside them."""


def help_seconds(repetitions: int) -> list[float]:
    """Return the CPU seconds of `raysample --help`, start of Python included, after a first run."""
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


def measured(repetitions: int) -> Figures:
    """Measure everything."""
    modules = trees()
    names, private = homes(modules), private_functions(modules)
    more = {kind: several(found) for kind, found in names.items()}
    rooms = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name not in NOT_ROOMS)
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]
    return {
        "modules": len(modules),
        "rooms": rooms,
        "layers": len(settings["importlinter"]["contracts"][0]["layers"]),
        "public names": {kind: len(found) for kind, found in names.items()},
        "names with more homes": more,
        "share of names with more homes": sum(map(len, more.values())) / sum(map(len, names.values())),
        "private functions": len(private),
        "share of private functions documented": sum(private.values()) / len(private),
        "stack": frames_to_the_first_visit(),
        "help": help_seconds(repetitions),
        "lines of benchmarks": sum(
            len(path.read_text().splitlines()) for path in FOLDER.rglob("*.py") if path.name not in LATER
        ),
    }


def targets(found: Figures) -> Figures:
    """Hold the figures against what they should be."""
    return {
        "rooms over core": target(len(found["rooms"]), "<=", 12),
        "layers": target(found["layers"], "<=", 13),
        "frames to the first visit of score": target(len(found["stack"]), "<=", 10),
        "share of public names with more than one home": target(found["share of names with more homes"], "<=", 0.02),
        "share of private functions documented": target(found["share of private functions documented"], ">=", 0.7),
        "CPU seconds of raysample --help": target(median(found["help"]), "<=", 0.6),
        "lines of benchmarks": target(found["lines of benchmarks"], "<=", 3_000),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the house and print it."""
    options = Options("How easy the package is to find one's way in.").read(argv)
    torch.set_num_threads(1)
    found = measured(3 if options.quick else 9)
    claims = targets(found)
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
    finish("house", claims, found, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
