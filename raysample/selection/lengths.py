"""Detect scores that mostly measure text length: such a score selects by length, not by difficulty."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from raysample.core.statistics import TOKENS
from raysample.data.score_table import ScoreTable

MOSTLY = 0.5
"""Absolute rank correlation with the number of tokens from which on a score counts as mostly length."""
SAMPLED_ROWS = 100_000
SAMPLED_PARTS = 16


def length_correlations(table: ScoreTable, columns: Iterable[str]) -> dict[str, float]:
    """Return Spearman's ρ of score columns with the number of tokens, in [-1, 1]; NaN if either is constant."""
    from scipy import stats  # slow to import

    wanted = tuple(dict.fromkeys(columns))
    if not wanted or not table.parts:
        return {}
    parts = [table.parts[i] for i in np.unique(np.linspace(0, len(table.parts) - 1, SAMPLED_PARTS).astype(int))]
    step = max(1, table.counts["scored"] * len(parts) // len(table.parts) // SAMPLED_ROWS)
    found = [part.take(np.arange(0, part.num_rows, step)) for part in table.read(wanted, (TOKENS,), parts)]
    values = {name: np.concatenate([part[name].to_numpy() for part in found]) for name in (TOKENS, *wanted)}
    lengths = stats.rankdata(values[TOKENS])
    return {name: _correlation(stats.rankdata(values[name]), lengths) for name in wanted}


def _correlation(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> float:
    """Return the correlation of two rank vectors, NaN if either is constant."""
    if len(ours) < 2 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return float("nan")
    return float(np.corrcoef(ours, theirs)[0, 1])


def length_warnings(table: ScoreTable, columns: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for every score column that mostly measures text length."""
    return tuple(
        f"{name} is mostly the length of the text (rank correlation with the number of tokens {rho:+.2f}): what goes "
        "by it selects by length"
        for name, rho in length_correlations(table, columns).items()
        if abs(rho) >= MOSTLY
    )
