"""Ranks by group: those of a sort of each group, exact in crowded cells, whatever the cut of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from raysample.core.numerics import ranks


def ranked(values: Any, group: Any, cuts: tuple[int, ...] = ()) -> ranks.Ranks:
    parts = list(zip(np.split(values, cuts), np.split(group, cuts), strict=True))
    roughly = ranks.merge_ranks([ranks.coarse(*part) for part in parts])
    cells = ranks.crowded(roughly)
    return ranks.Ranks.from_counts(roughly, ranks.merge_ranks([ranks.fine(v, cells, g) for v, g in parts]))


def expected(values: Any, group: Any) -> Any:
    """Return (mid-rank - 1/2) / n within each group, from a sort."""
    found = np.zeros(len(values))
    for g in np.unique(group):
        found[group == g] = (rankdata(values[group == g]) - 0.5) / (group == g).sum()
    return found


@pytest.mark.parametrize("sizes", [(5, 1, 300), (20_000, 50, 4_000)])
def test_ranks_within_groups_are_those_of_a_sort(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat([0, 3, 7], sizes)).astype(np.int32)
    values = np.round(rng.normal(0, 10.0 ** group.clip(0, 3)), 2).astype(np.float32)
    found, exact = ranked(values, group)(values, group), expected(values, group)
    assert np.abs(found - exact).max() <= 1 / 8192
    few = group > 0  # in groups of fewer than 4,096 values every cell is counted by all bits
    assert found[few].tolist() == pytest.approx(exact[few].tolist(), abs=1e-12)


def test_the_cut_of_the_rows_changes_no_bit() -> None:
    rng = np.random.default_rng(1)
    values, group = rng.lognormal(0, 3, 5000).astype(np.float32), rng.integers(4, size=5000)
    whole, cut = ranked(values, group), ranked(values, group, (1, 1, 700, 4100))
    assert np.array_equal(whole.cells, cut.cells)
    assert np.array_equal(whole.rank, cut.rank)


def test_one_group_ranks_as_no_groups() -> None:
    values = np.random.default_rng(2).normal(size=900).astype(np.float32)
    roughly = ranks.coarse(values)
    alone = ranks.Ranks.from_counts(roughly, ranks.fine(values, ranks.crowded(roughly)))
    zero = np.zeros(900, np.int64)
    assert np.array_equal(alone(values), ranked(values, zero)(values, zero))
