"""L-BFGS for a stack of problems in step: one evaluation serves all problems that are not finished.

Sources: Nocedal 1980, "Updating quasi-Newton matrices with limited storage"; Liu and Nocedal 1989, "On the limited
memory BFGS method for large scale optimization". Difference: every problem has a diagonal first Hessian of its own, and
a problem that backtracks waits one round while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps points [A, K] and the numbers [A] of their problems to losses [A] float64 and gradients [A, K]."""

PAIRS = 10
"""Number of steps from which the curvature is estimated."""
_ARMIJO, _BACKTRACKS = 1e-4, 20


@dataclass(frozen=True)
class StackMinimum:
    """Where the problems ended.

    Attributes:
        points: [P, K].
        loss: [P] float64.
        slope: largest entry of each gradient, [P].
        evaluations: number of calls of the function.
    """

    points: Tensor
    loss: Tensor
    slope: Tensor
    evaluations: int


@dataclass
class _Live:
    """The unfinished problems; the first axis of every tensor is the problem."""

    number: Tensor
    point: Tensor
    loss: Tensor
    gradient: Tensor
    scale: Tensor
    direction: Tensor
    length: Tensor
    backtracks: Tensor
    pairs: list[tuple[Tensor, Tensor, Tensor]]

    def keep(self, going: Tensor) -> None:
        """Leave out finished problems."""
        if bool(going.all()):
            return
        for name in ("number", "point", "loss", "gradient", "scale", "direction", "length", "backtracks"):
            setattr(self, name, getattr(self, name)[going])
        self.pairs = [(s[going], y[going], inverse[going]) for s, y, inverse in self.pairs]

    def accepts(self, loss: Tensor) -> Tensor:
        """Return whether each trial lowers the loss enough (Armijo), up to the rounding noise of the precision."""
        slope = _dot(self.gradient, self.direction).double()
        noise = 8 * torch.finfo(self.point.dtype).eps * self.loss.abs()
        return loss <= self.loss + _ARMIJO * self.length * slope + noise

    def advance(self, trial: Tensor, loss: Tensor, gradient: Tensor) -> None:
        """Move to accepted trials with a new direction; shorten the step of the others."""
        accepted = self.accepts(loss)
        self._remember(trial, gradient, accepted)
        # The minimum of the parabola through the two losses and the slope, within a tenth and a half of the step.
        slope = _dot(self.gradient, self.direction).double() * self.length
        factor = (-slope / (2 * (loss - self.loss - slope))).nan_to_num(0.1).clamp(0.1, 0.5)
        self.length = torch.where(accepted, 1.0, self.length * factor)
        self.backtracks = torch.where(accepted, 0, self.backtracks + 1)
        self.point = torch.where(accepted[:, None], trial, self.point)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.loss = torch.where(accepted, loss, self.loss)
        self.direction = torch.where(accepted[:, None], self._direction(), self.direction)

    def _remember(self, trial: Tensor, gradient: Tensor, accepted: Tensor) -> None:
        """Add a pair of step and change of the gradient; zeros where the curvature along the step is not positive."""
        step, change = trial - self.point, gradient - self.gradient
        curvature = _dot(step, change)
        good = accepted & (curvature > torch.finfo(step.dtype).eps * _dot(change, self.scale * change))
        inverse = torch.where(good, 1 / curvature, 0.0)
        self.pairs = [*self.pairs[-PAIRS + 1 :], (step, change, inverse)]

    def _direction(self) -> Tensor:
        """Return −H g by the two loops over the pairs; the plain scaled gradient where that does not descend."""
        towards, factors = self.gradient.clone(), []
        for step, change, inverse in reversed(self.pairs):
            factor = inverse * _dot(step, towards)
            towards -= factor[:, None] * change
            factors.append(factor)
        towards *= self.scale * self._size()[:, None]
        for (step, change, inverse), factor in zip(self.pairs, reversed(factors), strict=True):
            towards += (factor - inverse * _dot(change, towards))[:, None] * step
        descends = (_dot(towards, self.gradient) > 0)[:, None]
        return -torch.where(descends, towards, self.scale * self.gradient)

    def _size(self) -> Tensor:
        """Return the factor of the first Hessian's inverse that fits the newest pair, sᵀy / yᵀ(scale ∘ y)."""
        result = torch.ones_like(self.length, dtype=self.point.dtype)
        for _, change, inverse in self.pairs:
            fits = inverse > 0
            result = torch.where(fits, 1 / (inverse * _dot(change, self.scale * change)), result)
        return result


def minimise_stack(evaluate: Evaluate, start: Tensor, scale: Tensor, tolerance: float, most: int) -> StackMinimum:
    """Minimise P smooth convex functions of K numbers.

    Args:
        evaluate: the functions.
        start: points to start from, [P, K].
        scale: the diagonal of the inverse of a first Hessian, [P, K], positive.
        tolerance: largest entry of the gradient of a finished problem.
        most: evaluations at most.

    A problem is also left where no shorter step lowers its loss any more, as at the limits of the precision.

    >>> def squares(x, number):  # (x - 1)² and (x - 2)²
    ...     away = x - 1 - number[:, None]
    ...     return away.double().square().sum(1), 2 * away
    >>> minimise_stack(squares, torch.zeros(2, 1), torch.ones(2, 1), 1e-4, 50).points.round(decimals=3).tolist()
    [[1.0], [2.0]]
    """
    number = torch.arange(len(start), device=start.device)
    loss, gradient = evaluate(start, number)
    slope = gradient.abs().amax(1)
    points, losses, slopes, evaluations = start.clone(), loss.clone(), slope.clone(), 1
    ones, zeros = torch.ones_like(loss), torch.zeros_like(number)
    live = _Live(number, start.clone(), loss, gradient, scale, -scale * gradient, ones, zeros, [])
    while evaluations < most:
        live.keep((slope > tolerance) & (live.backtracks < _BACKTRACKS))
        if not len(live.number):
            break
        trial = (live.point + live.length[:, None] * live.direction).to(start.dtype)
        live.advance(trial, *evaluate(trial, live.number))
        evaluations += 1
        slope = live.gradient.abs().amax(1)
        points[live.number], losses[live.number], slopes[live.number] = live.point, live.loss, slope
    return StackMinimum(points, losses, slopes, evaluations)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner product of each problem, [A]."""
    product: Tensor = torch.linalg.vecdot(one, other)
    return product
