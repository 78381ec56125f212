"""The sieve never hides a group that is too large; the best rows of groups are those of one sort, however parts lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysample.core.numerics import count_sketch, top_k
from raysample.data.identity import NO_GROUP, group_codes

codes = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 5), max_size=60)


@given(codes, st.integers(0, 60), st.integers(1, 4))
def test_groups_of_more_than_k_rows_pass_the_sieve(code: list[int], at: int, most: int) -> None:
    whole = np.array(code, np.int64)
    parts = [count_sketch.count_codes(part, 16) for part in (whole[:at], whole[at:])]
    passed = count_sketch.build_sketch(parts, 16, most)(whole)
    for name, count in zip(*np.unique(whole, return_counts=True), strict=True):
        assert passed[whole == name].all() or count <= most
    buckets = np.bincount(whole & 15, minlength=16)
    assert np.array_equal(passed, buckets[whole & 15] > most)


def test_counts_stop_before_they_run_over() -> None:
    part = count_sketch.count_codes(np.zeros(1000, np.int64), 16)
    assert count_sketch.build_sketch([part] * 3, 16, 200)(np.zeros(1, np.int64)).all()
    assert not count_sketch.build_sketch([part], 16, 200)(np.ones(1, np.int64)).any()


@pytest.mark.parametrize(("rows", "size"), [(0, 1 << 10), (1, 1 << 10), (1 << 20, 1 << 21), (10**9, 1 << 27)])
def test_buckets_grow_with_the_rows_up_to_a_bound(rows: int, size: int) -> None:
    assert count_sketch.buckets(rows) == size


rows = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3), st.integers(0, 2**64 - 1)), max_size=40)


@given(rows, st.integers(0, 40), st.integers(1, 4))
def test_best_rows_are_those_of_one_sort(lines: list[tuple[int, int, int]], at: int, most: int) -> None:
    parts = []
    for part in (lines[:at], lines[at:]):
        kinds = (np.int64, np.uint32, np.uint64)
        parts.append(top_k.tops(*(np.array([line[i] for line in part], kind) for i, kind in enumerate(kinds)), most))
    found = top_k.merge_top_k(parts, most, limit=1000)
    expected = []
    for name in sorted({line[0] for line in lines}):
        expected += sorted((line for line in lines if line[0] == name), key=lambda line: (-line[1], -line[2]))[:most]
    assert list(zip(found.group.tolist(), found.key.tolist(), found.tie.tolist(), strict=True)) == expected
    cut = top_k.cut(found, most, NO_GROUP)
    for name, total, quota, key, tie in zip(cut.groups, cut.rows, cut.quota, cut.key, cut.tie, strict=True):
        mine = [line for line in lines if line[0] == name]
        assert total == len(mine)
        assert quota == (len(mine) if name == NO_GROUP else min(len(mine), most))
        taken = [line for line in mine if (line[1], line[2]) >= (int(key), int(tie))]
        assert len(taken) == quota or len(set(mine)) < len(mine)  # equal words cannot be told apart


def test_too_many_held_rows_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_k, "PENDING_ROWS", 10)
    group = np.arange(30, dtype=np.int64)
    part = top_k.tops(group, group.astype(np.uint32), group.astype(np.uint64), 2)
    with pytest.raises(ValueError, match="30 rows of 30 groups"):
        top_k.merge_top_k([part], 2, limit=20)


def test_codes_of_groups_are_the_same_in_every_part() -> None:
    import pyarrow as pa

    whole = group_codes(pa.chunked_array([["a", None, "ü"], ["a"]], pa.string()))
    assert whole[0] == whole[3] >= 0
    assert whole[1] == NO_GROUP
    assert whole[2] == group_codes(pa.array(["ü"]))[0]
    assert len(group_codes(pa.array([], pa.string()))) == 0
