"""Running mean and population variance of tensors of one shape (Welford 1962), in one pass and without cancellation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor


def _zero() -> Tensor:
    """Return a scalar zero; it takes shape, dtype and device of the first value added to it."""
    return torch.zeros(())


@dataclass(frozen=True)
class RunningMoments:
    """Mean and M2 = Σ (x − mean)² of the `count` values seen so far; every field has the shape of one value.

    >>> found = RunningMoments.from_values([torch.tensor(1.0), torch.tensor(3.0)])
    >>> found.mean.item(), found.variance().item()
    (2.0, 1.0)
    """

    count: int = 0
    mean: Tensor = field(default_factory=_zero)
    m2: Tensor = field(default_factory=_zero)

    @staticmethod
    def from_values(values: Iterable[Tensor]) -> RunningMoments:
        """Return the moments of several values of one shape, added in their order."""
        found = RunningMoments()
        for value in values:
            found = found.add(value)
        return found

    def add(self, value: Tensor) -> RunningMoments:
        """Return the moments with one more value; equal values keep M2 at exactly zero."""
        count = self.count + 1
        delta = value - self.mean
        mean = self.mean + delta / count
        return RunningMoments(count, mean, self.m2 + delta * (value - mean))

    def variance(self) -> Tensor:
        """Return the population variance M2 / count (ddof 0); not a number before the first value."""
        return self.m2 / self.count if self.count else self.m2 + torch.nan

    def deviation(self) -> Tensor:
        """Return the population standard deviation √(M2 / count)."""
        return self.variance().sqrt()
