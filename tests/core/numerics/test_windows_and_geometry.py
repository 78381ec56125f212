"""Means over sliding windows and neighbours by cosine, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysample.core.numerics.geometry import nearest, unit
from raysample.core.numerics.windows import SlidingMean


@pytest.mark.parametrize(("size", "count"), [(3, 8), (3, 3), (5, 4), (1, 6)])
def test_a_sliding_mean_keeps_no_more_than_a_window(size: int, count: int) -> None:
    values = torch.randn(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = SlidingMean(size)
    for value in values:
        state = state.add(value, lambda window: window.amax(0))
        assert len(state.recent) <= size
    width = min(size, count)
    expected = np.mean([values[w : w + width].numpy().max(0) for w in range(count - width + 1)], axis=0)
    np.testing.assert_allclose(state.mean(lambda window: window.amax(0)).numpy(), expected, rtol=1e-12)


def test_unit_vectors_and_the_vector_of_zeros() -> None:
    assert unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_nearest_by_cosine_equals_a_sort_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(6, 5)), rng.normal(size=(30, 5))
    keys = np.arange(6)
    other_keys = rng.permutation(30)
    found = nearest(*(torch.from_numpy(a) for a in (rows, keys, others, other_keys)), 4)
    for row in range(6):
        cosines = others @ rows[row] / np.linalg.norm(others, axis=1)
        order = [i for i in np.argsort(-cosines) if other_keys[i] != keys[row]]
        assert found[row].tolist() == order[:4]


def test_a_vector_that_is_not_finite_is_nobodys_neighbour() -> None:
    others = torch.tensor([[torch.nan, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    found = nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([9]), others, torch.tensor([0, 1, 2]), 2)
    assert found.tolist() == [[1, 2]]
