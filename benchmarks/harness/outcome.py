"""What every benchmark reads and prints: options, tables, targets, and one JSON object as the last line."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import resource
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

PACKAGES = ("raysample", "torch", "transformers", "numpy")
Figures = dict[str, Any]


class Options(argparse.ArgumentParser):
    """A parser with the options of every benchmark; `size` adds options whose default depends on `--quick`."""

    def __init__(self, about: str) -> None:
        super().__init__(description=about)
        self.sizes = dict[str, tuple[Any, Any]]()
        self.add_argument("--quick", action="store_true", help="small sizes: under a minute, also on a busy machine")
        self.add_argument("--json", type=Path, metavar="PATH", help="also write the last line of the output here")

    def size(self, flag: str, full: Any, quick: Any, about: str = "", **more: Any) -> None:
        """Add an option with its default and its default with `--quick`."""
        shown = [" ".join(map(str, value)) if isinstance(value, list | tuple) else value for value in (full, quick)]
        text = f"{about} (default {shown[0]}, with --quick {shown[1]})".strip()
        action = self.add_argument(flag, help=text, **{"type": int, "metavar": "N", **more})
        self.sizes[action.dest] = (full, quick)

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Read the command line."""
        options = self.parse_args(argv)
        for name, (full, quick) in self.sizes.items():
            if getattr(options, name) is None:
                setattr(options, name, quick if options.quick else full)
        return options


def target(value: float, sense: Literal["<=", ">=", "=="], limit: float) -> Figures:
    """Return a value beside its target, and whether it is met; a value that is not a number meets nothing."""
    met = {"<=": value <= limit, ">=": value >= limit, "==": value == limit}[sense]
    return {"value": value if math.isfinite(value) else None, "target": f"{sense} {limit:g}", "met": bool(met)}


def finish(
    benchmark: str, targets: Mapping[str, Any], figures: Figures, options: argparse.Namespace, *packages: str
) -> None:
    """Print the targets and, as the last line, options and figures as JSON, which `--json` also writes to a file."""
    for name, aim in targets.items():
        value = "none" if aim["value"] is None else f"{aim['value']:.4g}"
        print(f"{name}: {value}, target {aim['target']}: {'met' if aim['met'] else 'MISSED'}")
    chosen = {name: value for name, value in vars(options).items() if name != "json"}
    about = {"benchmark": benchmark, "targets": targets, "options": chosen}
    line = json.dumps({**about, **figures, **machine(*packages)}, allow_nan=False, default=str)
    if options.json is not None:
        options.json.write_text(line + "\n")
    print(line)


def machine(*packages: str) -> Figures:
    """Return when, on what and with which versions something was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    unit = 2**20 if sys.platform == "darwin" else 2**10
    versions = {name: version(name) for name in (*PACKAGES, *packages)}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "versions": {"python": platform.python_version(), **{k: v for k, v in versions.items() if v is not None}},
    }


def version(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", caption: str = "", left: int = 1
) -> None:
    """Print a table; its first `left` columns are words, the others numbers."""
    made = Table(title=title or None, caption=caption or None, title_justify="left", caption_justify="left", box=SIMPLE)
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*map(str, row))
    Console(width=130, highlight=False).print(made)


@contextmanager
def quiet() -> Iterator[None]:
    """Swallow the warnings, the logs and the standard error of other packages."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
