"""Numbers and verdicts in words: what a reader of the page sees first."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from raysample.experiment import ArmSummary, Comparison, Gap

NOTHING = "–"


def clean(text: str, limit: int | None = None) -> str:
    """Return untrusted text fit for a page: one line, control signs and lone surrogates replaced, cut at `limit`."""
    shown = " ".join(text.split())
    shown = "".join("\ufffd" if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in shown)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def share(fraction: float) -> str:
    """Write a fraction as a short percentage: 0.5 -> `50 %`."""
    return f"{100 * fraction:.3g} %"


def percent(value: float, digits: int = 2) -> str:
    """Write a value in [0, 1] in per cent without the sign; NaN as a dash."""
    return NOTHING if math.isnan(value) else f"{100 * value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Write a difference of values in [0, 1] as signed percentage points; NaN as a dash."""
    return NOTHING if math.isnan(value) else f"{100 * value:+.{digits}f}".replace("-", "−")


def spread(values: tuple[float, float]) -> str:
    """Write mean ± sample standard deviation in per cent; the mean alone for one seed."""
    mean, deviation = values
    return percent(mean) if math.isnan(deviation) else f"{percent(mean)} ± {percent(deviation)}"


def bounds(gap: Gap) -> str:
    """Write the interval of a gap, or say that one seed gives none."""
    return "one seed: no interval" if math.isnan(gap.low) else f"{signed(gap.low)} to {signed(gap.high)}"


def duration(seconds: float) -> str:
    """Write seconds as a reader says them: `0.42 s`, `12.3 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def headline(comparison: Comparison) -> list[str]:
    """Say what the comparison found: the best arm against random and against all data, and how sure that is.

    The first sentence is the verdict. "Better" and "worse" are said only where the interval of the paired gap leaves
    zero out; the last sentence recalls that many looks find something by chance.
    """
    candidates = [s for s in comparison.summaries if s.gap_to_random is not None]
    if not candidates:
        return ["There is no arm to compare with random sampling at the same fraction: no verdict."]
    judged = [s for s in candidates if not math.isnan(_gap(s).low)]
    better = [s for s in judged if _gap(s).low > 0]
    best = max(better or judged or candidates, key=lambda s: _gap(s).mean)
    said = [_against_random(best, judged, bool(better), comparison.confidence)]
    said += _against_full(best)
    said += _tail(best)
    return said + _caution(judged, bool(better), comparison.confidence)


def _gap(summary: ArmSummary) -> Gap:
    assert summary.gap_to_random is not None
    return summary.gap_to_random


def _against_random(best: ArmSummary, judged: Sequence[ArmSummary], won: bool, confidence: float) -> str:
    gap, name = _gap(best), f"{clean(best.arm)} at {share(best.fraction)} of the data"
    if not judged:
        seen = f"The largest gap to random sampling is that of {name}: {signed(gap.mean)} points of accuracy"
        return f"One seed per arm: no verdict. {seen}."
    numbers = f"{signed(gap.mean)} points of accuracy, {share(confidence)} interval {bounds(gap)}, {gap.pairs} seeds"
    if won:
        return f"{name} is better than random sampling ({numbers})."
    worse = sum(_gap(s).high < 0 for s in judged)
    if worse == len(judged):
        return f"Every arm is worse than random sampling; the least bad is {name} ({numbers})."
    rest = f": {worse} of {len(judged)} are worse, the others not distinguishable" if worse else ""
    start = (
        f"No arm is better than random sampling{rest}" if worse else "No arm is distinguishable from random sampling"
    )
    return f"{start}; the largest gap is that of {name} ({numbers})."


def _against_full(best: ArmSummary) -> list[str]:
    gap = best.gap_to_full
    if gap is None:
        return []
    if math.isnan(gap.low):
        return [f"Against training on all data its accuracy differs by {signed(gap.mean)} points."]
    numbers = f"{signed(gap.mean)} points, interval {bounds(gap)}"
    if gap.low > 0:
        return [f"It is also better than training on all data ({numbers})."]
    if gap.high < 0:
        return [f"Training on all data is still better ({numbers})."]
    return [f"It is not distinguishable from training on all data ({numbers})."]


def _tail(best: ArmSummary) -> list[str]:
    gap = best.macro_f1_gap_to_random
    if gap is None or math.isnan(gap.low) or gap.high >= 0:
        return []
    return [
        f"But its macro-F1 is below random's ({signed(gap.mean)} points, interval {bounds(gap)}): rare classes pay."
    ]


def _caution(judged: Sequence[ArmSummary], won: bool, confidence: float) -> list[str]:
    if not won or len(judged) < 2:
        return []
    better, worse = sum(_gap(s).low > 0 for s in judged), sum(_gap(s).high < 0 for s in judged)
    counts = f"{better} better, {worse} worse, {len(judged) - better - worse} not distinguishable"
    chance = f"about {len(judged) * (1 - confidence) / 2:.2g} would look better by chance alone"
    return [f"All {len(judged)} comparisons with random: {counts}; {chance}."]
