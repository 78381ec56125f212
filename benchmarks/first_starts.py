"""Does anything that happens to the first runs of a new output stop the next one? Sweeps, and starts that are ended.

Three runs of different names are started at once on one output that does not exist yet; then two of the same name. Then
first starts are ended by SIGINT and by SIGKILL at moments spread over the whole start, each in a new output and each
followed by the same command, undisturbed. That one must end well, with the weights of an undisturbed run, and leave no
run in MLflow that is taken for running. Exit code 1 means other weights.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from harness.outcome import Options, finish, print_table, target

from tests.helpers.chaos.start_drivers import at_once, corpus, interrupted, preload, undisturbed

SIGNALS = (signal.SIGINT, signal.SIGKILL)
MOMENTS, QUICK_MOMENTS = 12, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Start, interrupt, start again, print."""
    options = Options("Does anything that happens to the first runs of a new output stop the next one?").read(argv)
    moments = QUICK_MOMENTS if options.quick else MOMENTS
    torch.set_num_threads(1)
    preload()
    with tempfile.TemporaryDirectory(prefix="raysample-starts-") as place:
        folder = Path(place)
        corpus(folder)
        took, weights = undisturbed(folder)
        print(f"undisturbed: {took:.1f} s", flush=True)
        sweep = at_once(folder, folder / "sweep", ("a", "b", "c"), weights)
        same = at_once(folder, folder / "same", ("a", "a"), weights)
        found, again = [sweep, same], []
        for which, number in product(range(moments), SIGNALS):
            again.append(interrupted(folder, number, took * (which + 0.5) / moments, which, weights))
            print(f"{again[-1]['what']}: {again[-1]['codes']}", flush=True)
    found += again
    print_table(
        ("what", "exit codes", "other weights", "taken for running", "left over"),
        [[one["what"], one["codes"], one["differing"], one["running"], one["left over"] or "nothing"] for one in found],
        "first runs of a new output",
        left=5,
    )
    for one in found:
        for text in one["said"]:
            print(f"{one['what']}: {text}", file=sys.stderr)
    good = sum(one["finished"] for one in again)
    claims = {
        "runs of a sweep of 3 that finish": target(sweep["finished"], "==", 3),
        "interrupted first starts without a good run after them": target(len(again) - good, "==", 0),
        "drivers of one folder that did its work": target(same["trained"], "==", 1),
        "good runs with other weights": target(sum(one["differing"] for one in found), "==", 0),
        "runs left as running": target(sum(one["running"] for one in found), "==", 0),
        "drafts, half-made databases and locks left": target(sum(len(one["left over"]) for one in found), "==", 0),
    }
    starts = [{name: one[name] for name in ("what", "codes")} for one in found]
    figures = {"interrupted": len(again), "followed by a good run": good, "starts": starts}
    finish("first_starts", claims, figures, options, "mlflow")
    return int(any(one["differing"] for one in found if one["finished"]))


if __name__ == "__main__":
    sys.exit(main())
