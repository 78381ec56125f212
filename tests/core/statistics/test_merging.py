"""Statistics of scores: against pandas on the whole table, and the same for every order and cut of its rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.statistics import MAX_GROUPS, RELATIVE_WIDTH, Statistics, count_part, merge_statistics, nothing
from tests.helpers.scored_rows import SCORES, plain, scored_rows

ROWS = scored_rows(3_000)
QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}


def of_parts(parts: list[pa.Table], grouped: bool = True) -> Statistics:
    return merge_statistics((count_part(part, SCORES) for part in parts), nothing(SCORES, grouped))


@pytest.mark.parametrize("by", ["class", "group"])
def test_statistics_are_those_of_pandas(by: str) -> None:
    found = of_parts([ROWS.slice(at, 100) for at in range(0, 3_000, 100)])
    frame = ROWS.to_pandas().rename(columns={"label": "class"}).dropna(subset=[by])
    mine = found.to_pandas(by).set_index([by, "column"])
    assert len(mine) == 4 * frame[by].nunique()
    for (key, name), line in mine.iterrows():
        rows = frame[frame[by] == key]
        values = rows[name].astype(np.float64)
        assert (line["rows"], line["low"], line["high"]) == (len(values), values.min(), values.max())
        np.testing.assert_allclose([line["mean"], line["deviation"]], [values.mean(), values.std(ddof=0)], rtol=1e-9)
        np.testing.assert_allclose(line["length_correlation"], values.corr(rows["tokens"]), rtol=1e-9)
        exact = [np.quantile(values, share, method="inverted_cdf") for share in QUANTILES.values()]
        whole = name in ("tokens", "forgetting")
        np.testing.assert_allclose(line[list(QUANTILES)].to_numpy(float), exact, rtol=0 if whole else RELATIVE_WIDTH)


def test_correlations_between_all_columns_are_those_of_pandas() -> None:
    frame, found = ROWS.to_pandas().astype(dict.fromkeys(SCORES, np.float64)), of_parts([ROWS])
    expected = frame[["tokens", *SCORES]].corr()
    for a, b in itertools.product(("tokens", *SCORES), repeat=2):
        assert found.correlation(a, b) == pytest.approx(expected.loc[a, b], abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), max_size=6))
def test_no_cut_and_no_order_changes_anything(seed: int, cuts: list[int]) -> None:
    rows = ROWS.slice(0, 300)
    rng = np.random.default_rng(seed)
    shuffled = rows.take(pa.array(rng.permutation(300)))
    edges = [0, *sorted(cuts), 300]
    parts = [shuffled.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    found = of_parts([parts[i] for i in rng.permutation(len(parts))])
    assert plain(found) == {**plain(count_part(rows, SCORES)), "shards": len(parts)}


def test_merging_some_first_changes_nothing() -> None:
    parts = [
        count_part(ROWS.slice(at, 50), SCORES, seconds=0.1, reasons={f"kind {at % 3}": 1}) for at in range(0, 3_000, 50)
    ]
    pairs = [merge_statistics(parts[i : i + 2], nothing(SCORES, True)) for i in range(0, len(parts), 2)]
    whole = merge_statistics(parts, nothing(SCORES, True))
    assert plain(merge_statistics(reversed(pairs), nothing(SCORES, True))) == plain(whole)
    assert (whole.shards, whole.quarantined, whole.seconds) == (60, 60, 6.0)
    assert whole.rows_per_second == 3_060 / 6
    assert whole.reasons == {"kind 0": 20, "kind 1": 20, "kind 2": 20}


def test_groups_are_left_out_where_there_are_too_many_in_one_part_or_together() -> None:
    names = [f"g{i}" for i in range(MAX_GROUPS + 1)]
    rows = scored_rows(len(names), groups=None).append_column("group", pa.array(names))
    assert count_part(rows, SCORES).groups is None
    halves = [rows.slice(0, 500), rows.slice(500)]
    assert all(count_part(half, SCORES).groups is not None for half in halves)
    found = of_parts(halves)
    assert found.groups is None
    assert found.grouped
    assert found.to_pandas("group").empty
    assert found.rows == len(names)
    with pytest.raises(KeyError):
        found.of_group("g0", "vog")
    most = of_parts([rows.slice(0, 500), rows.slice(500, 500)])
    assert most.groups is not None
    assert len(most.groups.keys) == MAX_GROUPS


def test_rows_without_a_group_are_in_none() -> None:
    found = count_part(ROWS, SCORES)
    assert found.groups is not None
    assert found.groups.rows.sum() == ROWS.num_rows - ROWS["group"].null_count
    assert found.of_group("skill 3", "vog").rows == pd.Series(ROWS["group"]).eq("skill 3").sum()


def test_a_part_without_rows_adds_nothing() -> None:
    empty = count_part(ROWS.slice(0, 0), SCORES, reasons={"its shard crashed 3 workers": 9})
    assert (empty.rows, empty.quarantined) == (0, 9)
    together = merge_statistics([empty, count_part(ROWS, SCORES)], nothing(SCORES, True))
    assert together.overall("vog").rows == ROWS.num_rows
    with pytest.raises(KeyError):
        empty.overall("vog")
