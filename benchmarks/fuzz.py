"""Hostile inputs by the thousands: nothing may end in a traceback, hang, or lose rows without a word.

Configurations, sources of rows in all formats and compressions, manifests and other files of a run's folder, calls that
MLflow has not taken yet, checkpoints that others saved, and whole verbs are damaged: bytes, values, schemas, and the
files themselves (a folder or a pipe in their place). Each input is made from its kind and seed alone. It is *accepted*,
or *refused* by an error of raysample's; all else is a finding: a *traceback* (any other exception, or a death of the
process), a *hang* (longer than the limit), or a *silent loss* (rows read, set aside and left out are not the rows that
went in).

`--only KIND --seed N` makes one input again, keeps it, and shows what becomes of it. Prints a table and, as the last
line, JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from harness.outcome import finish, machine, parser, print_table, target

from tests.helpers.hostile import columnar, config, folders, rows, saved
from tests.helpers.hostile.kinds import Kind, Verdict
from tests.helpers.hostile.running import run, tried, warm_up

KINDS = {kind.name: kind for room in (config, rows, columnar, folders, saved) for kind in room.KINDS}
TEMPLATES = {"run": folders.prepare_run, "datasets": columnar.prepare_datasets, "saved": saved.prepare_saved}
WHOLE = sum(kind.share for kind in KINDS.values())
QUICK = {
    **{"config": 900, "jsonl": 200, "csv": 200, "tsv": 175, "parquet": 125, "pending": 125, "manifests": 200},
    **{"adopt": 50, "datasets": 20, "models": 3, "verbs": 2},
}
"""How many of each kind `--quick` tries: 2,000."""
FINDINGS = {"tracebacks": "traceback", "hangs": "hang", "silent_losses": "lost"}


def prepared(kinds: Sequence[Kind], folder: Path) -> Path:
    """Make the templates that these kinds need, once."""
    for name in sorted({name for kind in kinds for name in kind.needs}):
        (folder / name).mkdir()
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            TEMPLATES[name](folder / name)
    return folder


def again(kind: Kind, seed: int, limit: float) -> int:
    """Make one input again, keep it, and tell what becomes of it."""
    folder = Path(tempfile.mkdtemp(prefix=f"raysample-fuzz-{kind.name}-{seed}-"))
    with tempfile.TemporaryDirectory() as templates:
        verdict = tried(kind, seed, prepared([kind], Path(templates)), limit, folder)
    print(verdict.details)
    print(f"{kind.name} {seed}: {verdict.outcome} {verdict.where}\nthe input is in {folder}")
    return int(verdict.outcome not in ("accepted", "refused"))


def counted(kinds: Sequence[Kind], given: Namespace) -> dict[str, int]:
    """Return how many inputs of each kind are tried."""
    if given.quick and given.inputs is None:
        return {kind.name: QUICK[kind.name] for kind in kinds}
    shares = sum(kind.share for kind in kinds)
    total = given.inputs if given.inputs is not None else shares
    return {kind.name: max(1, round(total * kind.share / shares)) for kind in kinds}


def show(counts: dict[str, Counter[str]], seconds: dict[str, float]) -> None:
    """Print what became of the inputs, a line for each kind."""
    lines = []
    for kind, found in counts.items():
        told = [found[outcome] for outcome in ("refused", "accepted", "traceback", "hang", "lost")]
        lines.append([kind, f"{found.total():,}", *(f"{n:,}" for n in told), f"{seconds[kind]:,.0f}"])
    headings = ("kind", "tried", "refused", "accepted", "tracebacks", "hangs", "silent losses", "seconds")
    print_table(headings, lines)


def tell(findings: dict[tuple[str, str, str], list[tuple[int, Verdict]]], debug: bool) -> None:
    """Print every distinct finding with its first seeds."""
    for (kind, outcome, where), found in sorted(findings.items(), key=lambda one: -len(one[1])):
        seeds = ", ".join(str(seed) for seed, _ in found[:5])
        print(f"{kind}: {len(found):,} x {outcome}: {where}; seeds {seeds}")
        if debug:
            print(found[0][1].details[-1500:])


def main(argv: Sequence[str] | None = None) -> int:
    """Run it."""
    about = parser(__doc__.splitlines()[0] if __doc__ else "")
    about.add_argument("--only", action="append", choices=tuple(KINDS), metavar="KIND", help=", ".join(KINDS))
    about.add_argument("--seed", type=int, metavar="N", help="with one --only: make this input again, and show it")
    about.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (default 0)")
    about.add_argument("--inputs", type=int, metavar="N", help=f"how many (default {WHOLE:,} of all kinds)")
    about.add_argument("--limit", type=float, default=20.0, metavar="S", help="seconds for one input (default 20)")
    about.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    about.add_argument("--debug", action="store_true", help="show the traceback of every distinct finding")
    given = about.parse_args(argv)
    kinds = [KINDS[name] for name in given.only or KINDS]
    if given.seed is not None:
        return again(kinds[0], given.seed, given.limit)
    counts: dict[str, Counter[str]] = {kind.name: Counter() for kind in kinds}
    findings: dict[tuple[str, str, str], list[tuple[int, Verdict]]] = defaultdict(list)
    seconds, began = dict.fromkeys(counts, 0.0), time.perf_counter()
    wanted = counted(kinds, given)
    tasks = [(name, given.first, given.first + count) for name, count in wanted.items()]
    with tempfile.TemporaryDirectory(prefix="raysample-fuzz-templates-") as folder:
        warm_up()  # its imports take as long as the templates
        templates = prepared(kinds, Path(folder))
        last = time.perf_counter()
        for name, seed, verdict in run(kinds, tasks, templates, given.limit, given.workers):
            counts[name][verdict.outcome] += 1
            seconds[name] += time.perf_counter() - last
            last = time.perf_counter()
            if verdict.outcome not in ("accepted", "refused"):
                findings[name, verdict.outcome, verdict.where].append((seed, verdict))
    show(counts, seconds)
    tell(findings, given.debug)
    finish(_result(counts, findings, time.perf_counter() - began), given.json)
    return 0


def _result(
    counts: dict[str, Counter[str]], findings: dict[tuple[str, str, str], list[tuple[int, Verdict]]], seconds: float
) -> dict[str, Any]:
    total = sum(counts.values(), Counter[str]())
    return {
        "benchmark": "fuzz",
        "inputs": total.total(),
        "accepted": total["accepted"],
        "refused": total["refused"],
        "kinds": {kind: dict(found) for kind, found in counts.items()},
        "findings": [
            {"kind": kind, "outcome": outcome, "where": where, "count": len(found), "seeds": [s for s, _ in found[:5]]}
            for (kind, outcome, where), found in findings.items()
        ],
        "seconds": round(seconds, 1),
        "targets": {name: target(total[outcome], "==", 0) for name, outcome in FINDINGS.items()},
        **machine("pyarrow", "datasets"),
    }


if __name__ == "__main__":
    sys.exit(main())
