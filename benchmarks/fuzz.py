"""Hostile inputs by the thousands: nothing may end in a traceback, hang, or lose rows without a word.

Configurations, sources of rows in all formats and compressions, manifests and other files of a run's folder, calls that
MLflow has not taken yet, checkpoints that others saved, and whole verbs are damaged: bytes, values, schemas, and the
files themselves (a folder or a pipe in their place). Each input is made from its kind and seed alone. It is *accepted*,
or *refused* by an error of raysample's; all else is a finding: a *traceback* (any other exception, or a death of the
process), a *hang* (longer than the limit), or a *silent loss* (rows read, set aside and left out are not the rows that
went in).

`--only KIND --seed N` makes one input again, keeps it, and shows what becomes of it.
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

from harness.outcome import Options, finish, print_table, target

from tests.helpers.hostile import columnar, config, folders, rows, saved
from tests.helpers.hostile.kinds import Kind
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
LIMIT = 20.0
"""Seconds for one input."""
WORKERS = 2


def prepared(kinds: Sequence[Kind], folder: Path) -> Path:
    """Make the templates that these kinds need, once."""
    for name in sorted({name for kind in kinds for name in kind.needs}):
        (folder / name).mkdir()
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            TEMPLATES[name](folder / name)
    return folder


def again(kind: Kind, seed: int) -> int:
    """Make one input again, keep it, and show what becomes of it."""
    folder = Path(tempfile.mkdtemp(prefix=f"raysample-fuzz-{kind.name}-{seed}-"))
    with tempfile.TemporaryDirectory() as templates:
        verdict = tried(kind, seed, prepared([kind], Path(templates)), LIMIT, folder)
    print(verdict.details)
    print(f"{kind.name} {seed}: {verdict.outcome} {verdict.where}\nthe input is in {folder}")
    return int(verdict.outcome not in ("accepted", "refused"))


def counted(kinds: Sequence[Kind], options: Namespace) -> dict[str, int]:
    """Return how many inputs of each kind are tried."""
    if options.quick and options.inputs is None:
        return {kind.name: QUICK[kind.name] for kind in kinds}
    shares = sum(kind.share for kind in kinds)
    total = shares if options.inputs is None else options.inputs
    return {kind.name: max(1, round(total * kind.share / shares)) for kind in kinds}


def main(argv: Sequence[str] | None = None) -> int:
    """Try the inputs; print what became of each kind, and every distinct finding with its first seeds."""
    parser = Options("Hostile inputs by the thousands: nothing may end in a traceback, hang, or lose rows in silence.")
    parser.add_argument("--only", action="append", choices=tuple(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seed", type=int, metavar="N", help="with one --only: make this input again, and show it")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (default 0)")
    parser.add_argument("--inputs", type=int, metavar="N", help=f"how many (default {WHOLE:,} of all kinds)")
    options = parser.read(argv)
    kinds = [KINDS[name] for name in options.only or KINDS]
    if options.seed is not None:
        return again(kinds[0], options.seed)
    counts: dict[str, Counter[str]] = {kind.name: Counter() for kind in kinds}
    findings, seconds = defaultdict[tuple[str, str, str], list[int]](list), dict.fromkeys(counts, 0.0)
    tasks = [(name, options.first, options.first + count) for name, count in counted(kinds, options).items()]
    with tempfile.TemporaryDirectory(prefix="raysample-fuzz-templates-") as folder:
        warm_up()  # its imports take as long as the templates
        templates = prepared(kinds, Path(folder))
        last = time.perf_counter()
        for name, seed, verdict in run(kinds, tasks, templates, LIMIT, WORKERS):
            counts[name][verdict.outcome] += 1
            now = time.perf_counter()
            seconds[name], last = seconds[name] + now - last, now
            if verdict.outcome not in ("accepted", "refused"):
                if not findings[name, verdict.outcome, verdict.where]:
                    print(verdict.details[-1500:], flush=True)
                findings[name, verdict.outcome, verdict.where].append(seed)
    outcomes = ("refused", "accepted", "traceback", "hang", "lost")
    print_table(
        ("kind", "tried", "refused", "accepted", "tracebacks", "hangs", "silent losses", "seconds"),
        [
            [kind, *(f"{n:,}" for n in (found.total(), *(found[one] for one in outcomes))), f"{seconds[kind]:,.0f}"]
            for kind, found in counts.items()
        ],
    )
    listed = [
        {"kind": kind, "outcome": outcome, "where": where, "count": len(seeds), "seeds": seeds[:5]}
        for (kind, outcome, where), seeds in sorted(findings.items(), key=lambda one: -len(one[1]))
    ]
    for one in listed:
        print("{kind}: {count:,} x {outcome}: {where}; seeds {seeds}".format(**one))
    total = sum(counts.values(), Counter[str]())
    figures = {
        "inputs": total.total(),
        **{outcome: total[outcome] for outcome in ("accepted", "refused")},
        "kinds": {kind: dict(found) for kind, found in counts.items()},
        "findings": listed,
        "seconds": round(sum(seconds.values()), 1),
    }
    claims = {name: target(total[outcome], "==", 0) for name, outcome in FINDINGS.items()}
    finish("fuzz", claims, figures, options, "pyarrow", "datasets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
