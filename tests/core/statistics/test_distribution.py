"""One distribution: quantiles right within a bin, exact for counts, and histograms at edges of one's own."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.statistics import RELATIVE_WIDTH, Distribution, count_part


def distribution(values: list[float]) -> Distribution:
    rows = len(values)
    columns = {"label": np.zeros(rows, np.int32), "tokens": np.ones(rows, np.int32)}
    return count_part(pa.table({**columns, "x": np.array(values, np.float32)}), ("x",)).overall("x")


ordinary = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


@settings(deadline=None)
@given(st.lists(ordinary, min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_within_a_bin_of_the_value_at_its_place(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert distribution(values).quantile(share) == pytest.approx(exact, rel=RELATIVE_WIDTH)


@settings(deadline=None)
@given(st.lists(st.integers(-255, 255), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_of_small_whole_numbers_are_exact(values: list[int], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert distribution([float(value) for value in values]).quantile(share) == exact


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=60))
def test_rows_between_edges_add_up_and_lie_where_they_are(values: list[float]) -> None:
    found, edges = distribution(values), np.linspace(-2, 3, 9)
    rows = found.between(edges)
    assert rows.sum() == pytest.approx(len(values))
    assert rows.min() >= 0
    upto = np.cumsum(rows)[:-1]
    for edge, below in zip(edges[1:-1], upto, strict=True):  # at most a bin's rows lie on the other side
        slack = abs(edge) * RELATIVE_WIDTH
        least, most = (sum(value <= edge + shift for value in values) for shift in (-slack, slack))
        assert least - 1e-6 <= below <= most + 1e-6


def test_counts_fall_into_bins_of_their_own() -> None:
    found = distribution([0, 1, 1, 3, 200])
    assert found.between(np.arange(5) - 0.5).tolist() == [1, 2, 0, 2]  # 200 counts in the last


def test_a_constant_has_no_correlation_and_no_spread() -> None:
    found = distribution([0.25] * 4)
    assert (found.mean, found.deviation, found.low, found.high) == (0.25, 0.0, 0.25, 0.25)
    assert found.quantiles([0, 0.5, 1]) == [0.25] * 3
    assert math.isnan(found.length_correlation(found))
    assert found.between(np.linspace(0.25, 1.25, 5)).tolist() == [4, 0, 0, 0]
