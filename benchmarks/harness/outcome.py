"""How a benchmark tells what it found: targets, the machine, and one JSON object as the last line."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

PACKAGES = ("raysample", "torch", "transformers", "numpy")


def target(value: float, sense: Literal["<=", ">=", "=="], limit: float) -> dict[str, Any]:
    """Return a value beside what it should be, and whether it is; what is not a number meets nothing."""
    met = {"<=": value <= limit, ">=": value >= limit, "==": value == limit}[sense]
    return {"value": value if math.isfinite(value) else None, "target": f"{sense} {limit:g}", "met": bool(met)}


def verdict(aim: Mapping[str, Any]) -> str:
    """Say in one line what a target was and whether it was met."""
    value = "none" if aim["value"] is None else f"{aim['value']:.4g}"
    return f"{value}, target {aim['target']}: {'met' if aim['met'] else 'MISSED'}"


def installed(*packages: str) -> bool:
    """Tell whether all of these modules can be imported."""
    return all(util.find_spec(package) is not None for package in packages)


def version(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine(*packages: str) -> dict[str, Any]:
    """Return when, on what and with which versions something was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found = {name: version(name) for name in (*PACKAGES, *packages)}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "versions": {"python": platform.python_version(), **{name: v for name, v in found.items() if v is not None}},
    }


def finish(result: Mapping[str, Any], path: Path | None) -> None:
    """Print the targets and, as the last line, the result as JSON, which is also written to `path` if that is given."""
    for name, aim in result["targets"].items():
        print(f"{name}: {verdict(aim)}")
    line = json.dumps(result, allow_nan=False)
    if path is not None:
        path.write_text(line + "\n")
    print(line)


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", caption: str = "", left: int = 1
) -> None:
    """Print a table; its first `left` columns are words, the others numbers."""
    made = Table(title=title or None, caption=caption or None, title_justify="left", caption_justify="left", box=SIMPLE)
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    Console(width=130, highlight=False).print(made)


def parser(about: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--quick", action="store_true", help="small sizes: under a minute, also on a busy machine")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write the last line of the output here")
    return made
