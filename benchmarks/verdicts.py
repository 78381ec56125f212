"""How often a comparison is wrong: the coverage of its intervals, and how often it calls one of equal arms better.

Comparisons are simulated: every test row has a difficulty, every arm so many trainings with a skill that differs from
seed to seed, and a row is predicted right where skill and chance exceed its difficulty. Of four arms that are equal two
are the baselines, random and stratified random, and two are judged against both, corrected by Holm. A comparison counts
as false when one or more is called better, by accuracy, or by macro-F1 in a part of the comparisons. Intervals count
as missed where they leave out 0, the true difference.

Beside it the power: how often an arm that is two points better is found better than random, alone.

Prints a table and, as the last line, JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from harness.outcome import finish, machine, parser, print_table, target

from raysample.evaluation import ArmCell, Estimates, Predictions, difference, holm, judge_arms

Floats = npt.NDArray[np.float32]

SEEDS, ROWS, SPREADS = (2, 3, 5), (200, 2_000), (0.02, 0.1, 0.3)
LEVEL, SCREEN, CLASSES = 0.05, 25, 6
MARGIN = 0.17  # of skill: some two points of accuracy


@dataclass
class Counted:
    """What was counted of one setting: comparisons, false ones, missed intervals, differences seen."""

    comparisons: int = 0
    false: int = 0
    missed: int = 0
    seen: int = 0
    zero: int = 0
    width: float = 0.0
    judged: int = 0
    judged_false: int = 0

    def rate(self, name: str) -> float:
        """Return a count as a share of the comparisons."""
        return float(getattr(self, name)) / self.comparisons


def hits(
    draw: np.random.Generator, ease: Floats, seeds: int, spread: float, margin: float = 0.0
) -> npt.NDArray[np.bool_]:
    """Return which rows an arm's trainings are right on, [comparisons, seeds, rows]."""
    skill = draw.normal(margin, spread, (len(ease), seeds, 1)).astype(np.float32)
    chance = draw.standard_normal((len(ease), seeds, ease.shape[-1]), dtype=np.float32)
    return np.asarray(ease + skill + chance > 0)


def estimated(right: npt.NDArray[np.bool_]) -> Estimates:
    """Return the accuracies of many comparisons at once; `estimates` does it for one."""
    values = right.mean(axis=-1)
    return Estimates(values, right - values[..., None], 1 / (right.shape[-1] + 2) ** 2)


def block(draw: np.random.Generator, size: int, seeds: int, rows: int, spread: float, into: Counted) -> None:
    """Simulate some comparisons and count."""
    ease = draw.normal(1.6, 1.2, (size, 1, rows)).astype(np.float32)
    random, stratified, *ours = (estimated(hits(draw, ease, seeds, spread)) for _ in range(4))
    pairs = [(one, baseline) for one in ours for baseline in (random, stratified)]
    found = [difference(*pair) for pair in pairs]
    above = np.stack([each.mean > 0 for each in found], axis=-1)
    p = holm(np.stack([each.two_sided() for each in found], axis=-1))
    low, high = found[0].bounds(1 - LEVEL)
    better = difference(estimated(hits(draw, ease, seeds, spread, MARGIN)), random)
    into.comparisons += size
    into.false += int(((p < LEVEL) & above).any(axis=-1).sum())
    into.missed += int(((low > 0) | (high < 0)).sum())
    into.zero += int((high <= low).sum())
    into.width += float((high - low).sum())
    into.seen += int(((better.two_sided() < LEVEL) & (better.mean > 0)).sum())


def whole(draw: np.random.Generator, seeds: int, rows: int, spread: float) -> bool:
    """Tell whether a comparison of equal arms, judged as raysample does, has a false "better" by macro-F1."""
    gold = draw.choice(CLASSES, rows, p=1 / np.arange(1, CLASSES + 1) / (1 / np.arange(1, CLASSES + 1)).sum())
    ease = draw.normal(1.6, 1.2, (1, 1, rows)).astype(np.float32)
    cells: dict[ArmCell, Predictions] = {}
    for arm in ("random", "stratified_random", "one", "other"):
        for seed, right in enumerate(hits(draw, ease, seeds, spread)[0]):
            wrong = (gold + draw.integers(1, CLASSES, rows)) % CLASSES
            cells[arm, 0.5, seed] = Predictions(gold, np.where(right, gold, wrong))
    return any(one.kind == "better" for one in judge_arms(cells) if one.objective == "macro_f1")


def settings() -> Iterator[tuple[int, int, float]]:
    """Yield seeds, test rows and how much the skill differs from seed to seed."""
    for seeds in SEEDS:
        for rows in ROWS:
            for spread in SPREADS:
                yield seeds, rows, spread


def measured(comparisons: int, setting: tuple[int, int, float]) -> Counted:
    """Count in as many simulated comparisons; the same for the same setting."""
    seeds, rows, spread = setting
    draw, found = np.random.default_rng([seeds, rows, round(1_000 * spread)]), Counted()
    size = max(1, min(comparisons, 100_000 // (seeds * rows)))
    for start in range(0, comparisons, size):
        block(draw, min(size, comparisons - start), seeds, rows, spread, found)
    found.judged = max(1, comparisons // SCREEN)
    found.judged_false = sum(whole(draw, seeds, rows, spread) for _ in range(found.judged))
    return found


def show(found: dict[tuple[int, int, float], Counted]) -> None:
    """Print the rates as a table."""
    names, lines = ("false", "missed", "width", "seen"), []
    for (seeds, rows, spread), each in found.items():
        rates = (f"{100 * each.rate(name):.1f}" for name in names)
        lines.append([str(seeds), f"{rows:,}", f"{spread:g}", *rates])
    headings = ("seeds", "rows", "spread", "false better", "missed", "width", "2 points seen")
    caption = "spread: sd of the skill between seeds; width: of the 95 % interval, points"
    title = "equal arms: how often a comparison is wrong, %"
    print_table(headings, lines, title, caption, left=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    arguments = parser(__doc__.partition("\n")[0])
    arguments.add_argument("--comparisons", type=int, help="simulated per setting; 300 with --quick, else 4,000")
    given = arguments.parse_args(argv)
    count = given.comparisons or (300 if given.quick else 4_000)
    found = {setting: measured(count, setting) for setting in settings()}
    show(found)
    every = list(found.values())
    macro = sum(each.judged_false for each in every) / sum(each.judged for each in every)
    # What a rate of exactly 5 % exceeds by chance in one of a thousand settings.
    limit = round(LEVEL + 3.1 * float(np.sqrt(LEVEL * (1 - LEVEL) / count)), 4)
    claims = {
        "family_wise_false_better": target(max(each.rate("false") for each in every), "<=", LEVEL),
        "false_better_by_macro_f1": target(macro, "<=", LEVEL),
        "missed_intervals": target(max(each.rate("missed") for each in every), "<=", limit),
        "intervals_of_width_0": target(sum(each.zero for each in every), "==", 0),
    }
    figures = [
        {"seeds": seeds, "rows": rows, "spread": spread, **vars(each)} for (seeds, rows, spread), each in found.items()
    ]
    finish(
        {"benchmark": "verdicts", "targets": claims, "comparisons": count, "found": figures, **machine("scipy")},
        given.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
