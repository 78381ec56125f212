"""Findings of a comparison as sentences, the same on the terminal and in the report.

"As good as all data" and "better than random" are two findings: an arm may be either without the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from raysample.evaluation.arms import BASELINES, FULL, RANDOM, STRATIFIED
from raysample.evaluation.objectives import NAMES, OBJECTIVES
from raysample.evaluation.verdicts import Verdict

NO_PREDICTIONS = "no predictions stored: means without verdict"
NO_ARM = "There is no arm to compare with random sampling at the same fraction: no verdict."
ONE_SEED = "one seed: no verdict"
BASELINE_TITLES = {RANDOM: "random", STRATIFIED: "stratified random", FULL: "all data"}
_AGAINST = {
    "better": "better than {}",
    "worse": "worse than {}",
    "equivalent": "equivalent to {}",
    "undecided": "undecided against {}",
}


def verdict(verdicts: Sequence[Verdict]) -> str:
    """Return the verdict of one objective on one arm against its baselines, as a few words."""
    if not verdicts:
        return NO_PREDICTIONS
    if all(one.kind == "none" for one in verdicts):
        return ONE_SEED
    kinds: dict[str, list[str]] = {}
    for one in verdicts:
        small = " by less than the tolerance" if one.small else ""
        kinds.setdefault(_AGAINST[one.kind].format("{}") + small, []).append(BASELINE_TITLES[one.baseline])
    said = "; ".join(words.format(" and ".join(names)) for words, names in kinds.items())
    return f"weak evidence: {said}" if any(one.weak for one in verdicts) and _decided(verdicts) else said


def _decided(verdicts: Iterable[Verdict]) -> bool:
    """Return whether any verdict is not "undecided"."""
    return any(one.kind != "undecided" for one in verdicts)


def sentences(verdicts: Sequence[Verdict], objective: str, tolerance: float, confidence: float) -> list[str]:
    """Return the findings as sentences: the objective first, then the others, then the detectable difference."""
    texts, main = main_sentences(verdicts, objective, tolerance, confidence), _of_objective(verdicts, objective)
    if all(one.kind == "none" for one in main):
        return texts
    texts += [_beside(verdicts, other) for other in OBJECTIVES if other != objective]
    return [sentence for sentence in [*texts, _power(main), _few_seeds(main)] if sentence]


def main_sentences(verdicts: Sequence[Verdict], objective: str, tolerance: float, confidence: float) -> list[str]:
    """Return the findings on the objective: better than random, and as good as all data; or why there are none."""
    if not verdicts:
        return [f"{NO_PREDICTIONS.capitalize()}."]
    main = _of_objective(verdicts, objective)
    if all(one.kind == "none" for one in main):
        return [_one_seed(main)]
    return [text for text in (_better(main, confidence), _as_good(main, tolerance, confidence)) if text]


def _of_objective(verdicts: Iterable[Verdict], objective: str) -> list[Verdict]:
    """Return the verdicts of one objective."""
    return [one for one in verdicts if one.objective == objective]


def arm_title(one: Verdict) -> str:
    """Return an arm's name with the share of the data that it keeps."""
    return f"{one.arm} at {100 * one.fraction:.3g} % of the data"


def points(one: Verdict, confidence: float) -> str:
    """Return a difference in points with its interval, seeds and test rows, as text."""
    interval = f"{100 * confidence:.3g} % interval {_signed(one.low)} to {_signed(one.high)}"
    return (
        f"{_signed(one.mean)} points of {NAMES[one.objective]}, {interval}, {one.pairs} seeds, {one.rows:,} test rows"
    )


def better_than_random(verdicts: Iterable[Verdict], objective: str) -> list[Verdict]:
    """Return the verdicts against random of arms that are better than random and stratified random."""
    by_arm: dict[tuple[str, float], list[Verdict]] = {}
    for one in verdicts:
        if one.objective == objective and one.baseline in BASELINES:
            by_arm.setdefault((one.arm, one.fraction), []).append(one)
    won = [each for each in by_arm.values() if all(one.kind == "better" for one in each)]
    return [max(each, key=lambda one: one.baseline == RANDOM) for each in won]


def as_good_as_all(verdicts: Iterable[Verdict], objective: str) -> list[Verdict]:
    """Return the verdicts against all data of the arms that are as good, within the tolerance."""
    return [one for one in verdicts if one.objective == objective and one.baseline == FULL and one.as_good]


def _signed(value: float) -> str:
    """Return a share in points with its sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def _one_seed(verdicts: Sequence[Verdict]) -> str:
    """Return the sentence for one seed per arm: the largest difference, without a verdict."""
    best = max((one for one in verdicts if one.baseline == RANDOM), key=lambda one: one.mean, default=None)
    if best is None:
        return "One seed per arm: no verdict."
    seen = f"the largest difference from random sampling is that of {arm_title(best)}: {_signed(best.mean)} points of"
    return f"One seed per arm: no verdict; {seen} {NAMES[best.objective]}."


def _better(verdicts: Sequence[Verdict], confidence: float) -> str:
    """Return the sentence on "better than random"."""
    against = [one for one in verdicts if one.baseline in BASELINES and one.kind != "none"]
    if not against:
        return NO_ARM
    won = better_than_random(against, against[0].objective)
    if won:
        best = max(won, key=lambda one: (not one.weak, one.mean))
        more = f"; so are {len(won) - 1} more" if len(won) > 1 else ""
        than = (
            "random and stratified random sampling"
            if _both(against, best)
            else f"{BASELINE_TITLES[best.baseline]} sampling"
        )
        return f"{_weak([best])}{arm_title(best)} is better than {than} ({points(best, confidence)}){more}."
    to_random = [one for one in against if one.baseline == RANDOM] or against
    best = max(to_random, key=lambda one: one.mean)
    numbers = f"{arm_title(best)} ({points(best, confidence)}; {verdict([one for one in against if _same(one, best)])})"
    if all(one.kind == "worse" for one in to_random):
        return f"{_weak(to_random)}Every arm is worse than random sampling; the least bad is {numbers}."
    worse, same = (sum(one.kind == kind for one in to_random) for kind in ("worse", "equivalent"))
    counted = f"{worse} worse than random, {same} equivalent, {len(to_random) - worse - same} otherwise"
    start = "No arm is better than both random and stratified random sampling"
    return f"{start} ({counted}); the largest difference is that of {numbers}."


def _weak(shown: Iterable[Verdict]) -> str:
    """Return a prefix if any verdict is weak evidence."""
    return "Weak evidence: " if any(one.weak for one in shown) else ""


def _same(one: Verdict, other: Verdict) -> bool:
    """Return whether two verdicts are on the same arm and fraction."""
    return (one.arm, one.fraction) == (other.arm, other.fraction)


def _both(against: Sequence[Verdict], best: Verdict) -> bool:
    """Return whether an arm was compared with both baselines."""
    return len({one.baseline for one in against if _same(one, best)}) > 1


def _as_good(verdicts: Sequence[Verdict], tolerance: float, confidence: float) -> str:
    """Return the sentence on "as good as all data"; empty without runs on all data."""
    against = [one for one in verdicts if one.baseline == FULL and one.kind != "none"]
    if not against:
        return ""
    limit = f"within {100 * tolerance:.3g} points"
    good = as_good_as_all(against, against[0].objective)
    if good:
        best = max(good, key=lambda one: (not one.weak, -one.fraction, one.mean))
        more = f"; so are {len(good) - 1} more" if len(good) > 1 else ""
        return f"{_weak([best])}{arm_title(best)} is as good as all data, {limit} ({points(best, confidence)}){more}."
    best = max(against, key=lambda one: one.mean)
    worse = sum(one.kind == "worse" for one in against)
    shown = f"{worse} of {len(against)} are worse" if worse else "none is shown to be worse either"
    nearest = f"the nearest is {arm_title(best)} ({points(best, confidence)})"
    return f"No arm is shown to be as good as all data, {limit}: {shown}; {nearest}."


def _beside(every: Sequence[Verdict], objective: str) -> str:
    """Return the sentence on another objective."""
    verdicts = [one for one in every if one.objective == objective and one.kind != "none"]
    against = [one for one in verdicts if one.baseline == RANDOM]
    if not against:
        return ""
    lists = {
        "better than random": better_than_random(verdicts, objective),
        "worse than random": [one for one in against if one.kind == "worse"],
        "as good as all data": as_good_as_all(verdicts, objective),
    }
    listed = [f"{words}: {list_arms(ones)}" for words, ones in lists.items() if ones]
    title = NAMES[objective][0].upper() + NAMES[objective][1:]
    title += " (weak evidence)" if listed and any(one.weak for one in verdicts) else ""
    return f"{title}, by the same rules: {'; '.join(listed) if listed else 'nothing is decided'}."


def list_arms(ones: Sequence[Verdict]) -> str:
    """Return the first three arms with their differences in points."""
    shown = [f"{one.arm} at {100 * one.fraction:.3g} % ({_signed(one.mean)})" for one in ones[:3]]
    return ", ".join(shown) + (f" and {len(ones) - 3} more" if len(ones) > 3 else "")


def _power(verdicts: Sequence[Verdict]) -> str:
    """Return the sentence on the smallest detectable difference."""
    against = [one for one in verdicts if one.baseline in BASELINES and not math.isnan(one.detectable)]
    if not against:
        return ""
    counts = sorted({one.pairs for one in against})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    least = 100 * median(one.detectable for one in against)
    shown = f"{least:.2g}" if least < 9.95 else f"{least:.0f}"
    what = f"differences below {shown} points of" if least < 100 else "no difference of"
    arms = len({(one.arm, one.fraction) for one in against})
    corrected = f"corrected by Holm for {against[0].tests} comparisons of {arms} arm{'' if arms == 1 else 's'}"
    return (
        f"With {seeds} seeds and {against[0].rows:,} test rows, {what} {NAMES[against[0].objective]} "
        f"can{'not' if least < 100 else ''} be seen; verdicts are {corrected}."
    )


def _few_seeds(verdicts: Sequence[Verdict]) -> str:
    """Return a warning if verdicts rest on two seeds."""
    if not any(one.weak and one.kind != "none" for one in verdicts):
        return ""
    return "Two seeds say little of how much trainings differ: take three or more for a verdict."
