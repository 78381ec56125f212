"""Numbers as text, and untrusted text made safe for a page."""

from __future__ import annotations

import math
import unicodedata

from raysample.evaluation.arm_summary import Gap

DASH = "–"


def clean(text: str, limit: int | None = None) -> str:
    """Return untrusted text for a page: one line, control characters and lone surrogates replaced, cut at `limit`."""
    shown = " ".join(text.split())
    shown = "".join("\ufffd" if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in shown)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def share(fraction: float) -> str:
    """Return a fraction as a short percentage: 0.5 -> `50 %`."""
    return f"{100 * fraction:.3g} %"


def percent(value: float, digits: int = 2) -> str:
    """Return a value in [0, 1] in per cent without the sign; NaN as a dash."""
    return DASH if math.isnan(value) else f"{100 * value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Return a difference of values in [0, 1] as signed percentage points; NaN as a dash."""
    return DASH if math.isnan(value) else f"{100 * value:+.{digits}f}".replace("-", "−")


def format_mean_std(values: tuple[float, float]) -> str:
    """Return mean ± sample standard deviation in per cent; the mean alone for one seed."""
    mean, deviation = values
    return percent(mean) if math.isnan(deviation) else f"{percent(mean)} ± {percent(deviation)}"


def format_interval(gap: Gap) -> str:
    """Return the interval of a gap, or why there is none: one seed, or no predictions."""
    if math.isnan(gap.low):
        return "one seed: no interval" if gap.pairs < 2 else "no predictions: no interval"
    return f"{signed(gap.low)} to {signed(gap.high)}"


def duration(seconds: float) -> str:
    """Return seconds in readable units: `0.42 s`, `12.3 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
