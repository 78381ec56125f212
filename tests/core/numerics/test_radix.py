"""The order-preserving map, the tie words, histograms and cuts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysample.core.numerics import radix

INF = np.float32(np.inf)
floats = st.floats(width=32, allow_nan=False)


@given(st.lists(floats, min_size=2, max_size=50))
def test_ordered_keeps_the_order_of_floats(values: list[float]) -> None:
    key = np.array(values, np.float32)
    word = radix.ordered(key)
    assert np.array_equal(key[:, None] < key[None, :], word[:, None] < word[None, :])
    assert np.array_equal(radix.restored(word), key)


def test_edges_of_the_float_line() -> None:
    line = np.array([-INF, -3.4e38, -1, -1e-45, -0.0, 0.0, 1e-45, 1, 3.4e38, INF], np.float32)
    word = radix.ordered(line).astype(np.int64)
    assert word[4] == word[5]
    assert (np.diff(np.delete(word, 4)) > 0).all()
    assert word.max() < int(radix.ABOVE_EVERY_KEY)


def test_splitmix64_golden_values() -> None:
    # The first outputs of SplitMix64 from state 0 and, one step on, from state 0x9E3779B97F4A7C15.
    found = radix.splitmix64(np.array([0, 0x9E3779B97F4A7C15], np.uint64))
    assert [hex(int(x)) for x in found] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


def test_seeded_words_never_collide_and_depend_on_the_seed() -> None:
    identity = np.arange(100_000, dtype=np.uint64)
    one, two = radix.seeded(identity, 1), radix.seeded(identity, -2)
    assert len(np.unique(one)) == len(identity)
    assert not (one == two).any()


def counted(group: list[int], digit: list[int]) -> list[tuple[int, int, int]]:
    cells: dict[tuple[int, int], int] = {}
    for cell in zip(group, digit, strict=True):
        cells[cell] = cells.get(cell, 0) + 1
    return sorted((*cell, n) for cell, n in cells.items())


def listed(histogram: radix.Histogram) -> list[tuple[int, int, int]]:
    return list(zip(histogram.group.tolist(), histogram.digit.tolist(), histogram.count.tolist(), strict=True))


cells = st.lists(st.tuples(st.sampled_from([-5, 0, 3, 10**12]), st.integers(0, radix.HISTOGRAM_BINS - 1)), max_size=40)


@given(cells, st.integers(0, 40))
def test_tally_and_merge_count_like_a_dictionary(pairs: list[Any], at: int) -> None:
    def tally(some: list[Any]) -> radix.Histogram:
        return radix.count_digits(np.array([g for g, _ in some], np.int64), np.array([d for _, d in some], np.int64))

    expected = counted([g for g, _ in pairs], [d for _, d in pairs])
    assert listed(tally(pairs)) == expected
    assert listed(radix.merge_histograms([tally(pairs[:at]), tally(pairs[at:]), tally([])])) == expected


def test_many_groups_are_tallied_sparsely_and_merged_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    group, digit = rng.integers(0, 500, 5_000), rng.integers(0, radix.HISTOGRAM_BINS, 5_000)
    monkeypatch.setattr(radix, "PENDING_CELLS", 100)
    merged = radix.merge_histograms(radix.count_digits(group[i::7], digit[i::7]) for i in range(7))
    assert listed(merged) == counted(group.tolist(), digit.tolist())


def test_advance_refuses_counts_of_other_rows() -> None:
    cut = radix.initial_cut(np.array([0]), np.array([3]), np.array([1]))
    with pytest.raises(ValueError, match="two rounds differ"):
        radix.advance(cut, radix.count_digits(np.zeros(2, np.int64), np.array([1, 2])))


def test_the_kth_key_equals_partition_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    key = rng.normal(size=10_000).astype(np.float32)
    word, group, tie = radix.ordered(key), np.zeros(10_000, np.int64), np.arange(10_000, dtype=np.uint64)
    for k in (1, 17, 5_000, 9_999):
        cut = radix.initial_cut(np.array([0]), np.array([10_000]), np.array([k]))
        while not cut.settled:
            cut = radix.advance(cut, radix.count_digits(*radix.next_round_digits(cut, group, word, tie)))
        assert cut.rounds == 2
        assert radix.restored(cut.key)[0] == np.partition(key, 10_000 - k)[10_000 - k]
        assert radix.kept(cut, np.searchsorted(cut.groups, group), word, lambda at: tie[at]).sum() == k
