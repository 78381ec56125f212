"""The mean of a statistic over all windows of J consecutive values, in one pass with at most J values in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Statistic = Callable[[Tensor], Tensor]
"""Values of one window [J, B], oldest first -> [B]."""


@dataclass(frozen=True)
class SlidingMean:
    """Mean of a statistic over the K − J + 1 windows of J = `size` consecutive values among K.

    Attributes:
        size: J.
        recent: the last values, [B] each, oldest first, at most J.
        total, windows: sum of the statistic over all complete windows, and their number.
    """

    size: int
    recent: tuple[Tensor, ...] = ()
    total: Tensor = torch.zeros(())  # noqa: RUF009 - never written to
    windows: int = 0

    def add(self, value: Tensor, statistic: Statistic) -> SlidingMean:
        """Return the state after one more value, [B]."""
        recent = (*self.recent, value)[-self.size :]
        if len(recent) < self.size:
            return SlidingMean(self.size, recent, self.total, self.windows)
        return SlidingMean(self.size, recent, self.total + statistic(torch.stack(recent)), self.windows + 1)

    def mean(self, statistic: Statistic) -> Tensor:
        """Return the mean, [B]; with fewer than J values, the statistic of the one window of all values."""
        return self.total / self.windows if self.windows else statistic(torch.stack(self.recent))
