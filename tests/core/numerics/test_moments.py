"""Running moments against numpy's two-pass ones."""

from __future__ import annotations

import math

import numpy as np
import torch

from raysample.core.numerics.moments import RunningMoments


def folded(values: torch.Tensor) -> RunningMoments:
    moments = RunningMoments()
    for value in values:
        moments = moments.add(value)
    return moments


def test_mean_and_population_variance_match_numpy() -> None:
    values = torch.randn(7, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = folded(values)
    np.testing.assert_allclose(moments.mean, values.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance(), values.numpy().var(0), rtol=1e-12)
    np.testing.assert_allclose(moments.deviation(), values.numpy().std(0), rtol=1e-12)
    assert moments.mean.dtype == torch.float64


def test_equal_values_have_exactly_no_variance() -> None:
    assert torch.equal(folded(torch.full((5, 3), 0.1)).variance(), torch.zeros(3))


def test_large_offsets_do_not_cancel() -> None:
    # A sum of squares would lose all digits in float32: (1e4)² has a spacing of 8.
    values = torch.tensor([[1e4], [1e4 + 1], [1e4 + 2]])
    assert math.isclose(float(folded(values).variance()), 2 / 3, rel_tol=1e-4)


def test_no_value_has_no_variance() -> None:
    assert math.isnan(float(RunningMoments().variance()))
