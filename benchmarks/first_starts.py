"""Does anything that happens to the first runs of a new output stop the next one? Sweeps, and starts that are ended.

Three runs of different names are started at once on one output that does not exist yet; then two of the same name. Then
first starts are ended by SIGINT and by SIGKILL at moments spread over the whole start, each in a new output and each
followed by the same command, undisturbed. That one must end well, with the weights of a run that nobody disturbed, and
leave no run in MLflow that is taken for running.

Exit code 1 means other weights.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from harness.outcome import finish, machine, parser, print_table, target

from tests.helpers.chaos.start_drivers import Driver, corpus, left_over, preload, runs

SIGNALS = (signal.SIGINT, signal.SIGKILL)
MOMENTS, QUICK_MOMENTS = 12, 2
TRIES = 6
Figures = dict[str, Any]


def undisturbed(folder: Path) -> tuple[float, Sequence[str]]:
    """Run once; return the seconds that it took, and its weights."""
    began = time.perf_counter()
    driver = Driver(folder, folder / "undisturbed", "run").start()
    if driver.wait() != 0:
        raise RuntimeError(f"an undisturbed run failed: {driver.said()}")
    return time.perf_counter() - began, driver.weights()


def at_once(folder: Path, output: Path, names: Sequence[str], weights: Sequence[str]) -> Figures:
    """Start drivers at once on a new output."""
    drivers = [Driver(folder, output, name).start() for name in names]
    codes = [driver.wait() for driver in drivers]
    return {
        "what": f"{len(names)} at once, {len(set(names))} names",
        "codes": codes,
        "finished": sum(code == 0 for code in codes),
        "trained": sum("finished before" not in driver.said() for driver in drivers if driver.said()),
        "differing": sum(driver.weights() != weights for driver in drivers),
        "running": sum(status == "RUNNING" for _, status in runs(output)),
        "left over": left_over(output),
        "said": [] if not any(codes) else [driver.said()[-500:] for driver in drivers],
    }


def interrupted(folder: Path, number: signal.Signals, after: float, which: int, weights: Sequence[str]) -> Figures:
    """End a first start, then run undisturbed. One that was through before its signal came is ended earlier, anew."""
    for attempt in range(TRIES):
        output = folder / f"{number.name}-{which}-{attempt}"
        ended = Driver(folder, output, "run").start().interrupt(number, after)
        if ended != 0:
            break
        after *= 0.7
    again = Driver(folder, output, "run").start()
    code = again.wait()
    return {
        "what": f"{number.name} after {after:.2f} s",
        "codes": [ended, code],
        "finished": int(code == 0),
        "differing": int(again.weights() != weights),
        "running": sum(status == "RUNNING" for _, status in runs(output)) if code == 0 else 0,
        "left over": left_over(output),
        "said": [] if code == 0 else [again.said()[-500:]],
    }


def show(found: Sequence[Figures]) -> None:
    """Print a line per start."""
    lines = []
    for one in found:
        codes, left = ", ".join(str(code) for code in one["codes"]), ", ".join(one["left over"]) or "nothing"
        lines.append([one["what"], codes, str(one["differing"]), str(one["running"]), left])
    headings = ("what", "exit codes", "other weights", "taken for running", "left over")
    print_table(headings, lines, "first runs of a new output", left=5)


def measured(given: argparse.Namespace, folder: Path) -> tuple[list[Figures], list[Figures], Figures]:
    """Run everything; return the sweep, the interrupted starts, and two drivers of one folder."""
    corpus(folder)
    took, weights = undisturbed(folder)
    print(f"undisturbed: {took:.1f} s", flush=True)
    sweep = at_once(folder, folder / "sweep", ("a", "b", "c"), weights)
    same = at_once(folder, folder / "same", ("a", "a"), weights)
    moments = given.moments or (QUICK_MOMENTS if given.quick else MOMENTS)
    ended = list[Figures]()
    for which in range(moments):
        for number in SIGNALS:
            ended.append(interrupted(folder, number, took * (which + 0.5) / moments, which, weights))
            print(f"{ended[-1]['what']}: {ended[-1]['codes']}", flush=True)
    return [sweep], ended, same


def main(argv: Sequence[str] | None = None) -> int:
    """Start, interrupt, start again, print."""
    given = arguments(argv)
    torch.set_num_threads(1)
    preload()
    with tempfile.TemporaryDirectory(prefix="raysample-starts-") as folder:
        sweep, ended, same = measured(given, Path(folder))
    found = [*sweep, same, *ended]
    show(found)
    for one in found:
        for text in one["said"]:
            print(f"{one['what']}: {text}", file=sys.stderr)
    targets = {
        "runs of a sweep of 3 that finish": target(sweep[0]["finished"], "==", 3),
        "interrupted first starts without a good run after them": target(
            sum(not one["finished"] for one in ended), "==", 0
        ),
        "drivers of one folder that did its work": target(same["trained"], "==", 1),
        "good runs with other weights": target(sum(one["differing"] for one in found), "==", 0),
        "runs left as running": target(sum(one["running"] for one in found), "==", 0),
        "drafts, half-made databases and locks left": target(sum(len(one["left over"]) for one in found), "==", 0),
    }
    result = {
        "benchmark": "first_starts",
        "targets": targets,
        "interrupted": len(ended),
        "followed by a good run": sum(one["finished"] for one in ended),
        "starts": [{name: one[name] for name in ("what", "codes")} for one in found],
        **machine("mlflow"),
    }
    finish(result, given.json)
    return int(any(one["differing"] for one in found if one["finished"]))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    options = parser((__doc__ or "").partition("\n")[0])
    options.add_argument("--moments", type=int, metavar="N", help=f"of each signal (default {MOMENTS})")
    return options.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
