"""How often a comparison is wrong: the coverage of its intervals, and how often it calls one of equal arms better.

Of four equal arms (`tests/helpers/equal_arms.py` simulates them) two are the baselines, random and stratified random,
and two are judged against both, corrected by Holm. A comparison is false if one or more is called better, by accuracy,
or by macro-F1 in a part of the comparisons. An interval is missed if it leaves out 0, the true difference. Power: how
often an arm that is two points better is found better than random, alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product

import numpy as np
from harness.outcome import Figures, Options, finish, print_table, target

from raysample.evaluation import judge_arms
from tests.helpers.equal_arms import LEVEL, compare_equal_arms, predictions_of_equal_arms

SETTINGS = list(product((2, 3, 5), (200, 2_000), (0.02, 0.1, 0.3)))
"""Seeds, test rows, and the spread of the skill from seed to seed."""
SCREEN = 25
"""One of so many comparisons is judged by macro-F1 as well, through the whole of `judge_arms`."""


def measured(comparisons: int, seeds: int, rows: int, spread: float) -> Figures:
    """Return rates over as many simulated comparisons; the same for the same setting."""
    draw = np.random.default_rng([seeds, rows, round(1_000 * spread)])
    size = max(1, min(comparisons, 100_000 // (seeds * rows)))
    sizes = [min(size, comparisons - start) for start in range(0, comparisons, size)]
    found = [compare_equal_arms(draw, size, seeds, rows, spread) for size in sizes]
    width = np.concatenate([each.high - each.low for each in found])
    judged = [
        judge_arms(predictions_of_equal_arms(draw, seeds, rows, spread)) for _ in range(max(1, comparisons // SCREEN))
    ]
    false_macro = [any(one.kind == "better" and one.objective == "macro_f1" for one in arms) for arms in judged]
    return {
        "seeds": seeds,
        "rows": rows,
        "spread": spread,
        "false": float(np.concatenate([each.false for each in found]).mean()),
        "missed": float(np.concatenate([each.missed for each in found]).mean()),
        "width": float(width.mean()),
        "seen": float(np.concatenate([each.seen for each in found]).mean()),
        "width_0": int((width <= 0).sum()),
        "false_by_macro_f1": float(np.mean(false_macro)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, count, print."""
    parser = Options("How often a comparison is wrong.")
    parser.size("--comparisons", 4_000, 300, "simulated per setting")
    options = parser.read(argv)
    found = [measured(options.comparisons, *setting) for setting in SETTINGS]
    rates = ("false", "missed", "width", "seen")
    print_table(
        ("seeds", "rows", "spread", "false better", "missed", "width", "2 points seen"),
        [[one["seeds"], one["rows"], one["spread"], *(f"{100 * one[rate]:.1f}" for rate in rates)] for one in found],
        "equal arms: how often a comparison is wrong, %",
        "spread: sd of the skill between seeds; width: of the 95 % interval, points",
        left=0,
    )
    # A rate of exactly 5 % exceeds this by chance in one of a thousand settings.
    limit = round(LEVEL + 3.1 * float(np.sqrt(LEVEL * (1 - LEVEL) / options.comparisons)), 4)
    claims = {
        "family_wise_false_better": target(max(one["false"] for one in found), "<=", LEVEL),
        "false_better_by_macro_f1": target(float(np.mean([one["false_by_macro_f1"] for one in found])), "<=", LEVEL),
        "missed_intervals": target(max(one["missed"] for one in found), "<=", limit),
        "intervals_of_width_0": target(sum(one["width_0"] for one in found), "==", 0),
    }
    finish("verdicts", claims, {"found": found}, options, "scipy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
