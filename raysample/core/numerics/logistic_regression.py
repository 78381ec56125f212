"""Multinomial logistic regression for many problems on the same rows at once: one matrix product serves all of them.

Problem p minimises over weights W [D, C] and a bias b [C]

    F_p(W, b) = Σ_i a_pi · CE(x_i W + b, y_i) / Σ_i a_pi + λ_p/2 · ‖W‖²

with row weights a_pi ≥ 0 (0: the row is not part of problem p). The bias is not penalised. scikit-learn's
LogisticRegression with inverse strength C on n rows of weight 1 is λ = 1 / (C·n).

Method: L-BFGS (`lbfgs.minimise_stack`), all problems in step. The first Hessian of a problem is diagonal,
π_c (1 − π_c) · mean_i x_id² + λ with the class shares π: on features whose columns are centred and uncorrelated
(`principal_axes`) this is the Hessian at W = 0 up to its terms between classes, so few iterations suffice. A problem is
finished once no entry of its gradient exceeds the tolerance.

Rows are read in blocks, so that no array of rows x problems x classes is larger than `cells` numbers. The same inputs
on the same device with the same number of threads give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from raysample.core.numerics.lbfgs import minimise_stack

CELLS = 1 << 20
"""Number of logits in memory at a time: 4 MB in float32, which stay in a CPU's cache."""
_LEAST_CURVATURE = 1e-12
_NARROW = 32
"""A product of c columns takes about the time of c + 32 columns in a wide one (measured, AVX2 and 384 features)."""
_CALL = 1e8
"""Operations that a processor does while an evaluation is set up (measured: 1.5 ms)."""
_NUMBERS = 1 << 22
"""Coefficients fitted together; L-BFGS keeps about 25 arrays of their size: 400 MB."""


@dataclass(frozen=True)
class LogisticFit:
    """Fitted problems.

    Attributes:
        coefficients: [P, D + 1, C], the last row is the bias.
        loss: F at the coefficients, [P] float64.
        slope: largest entry of the gradient, [P].
        evaluations: evaluations of loss and gradient of all unfinished problems.
        tolerance: the slope below which a problem is finished.
    """

    coefficients: Tensor
    loss: Tensor
    slope: Tensor
    evaluations: int
    tolerance: float

    @property
    def converged(self) -> Tensor:
        """Whether each problem reached the tolerance, [P] bool."""
        return self.slope <= self.tolerance

    def logits(self, features: Tensor, cells: int = CELLS) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, logits [B, P, C]) of features [N, D], block by block."""
        problems, _, classes = self.coefficients.shape
        for rows in row_blocks(len(features), problems * classes, cells):
            yield rows, _logits(features[rows].to(self.coefficients.dtype), self.coefficients)

    def judge(self, features: Tensor, labels: Tensor, cells: int = CELLS) -> tuple[Tensor, Tensor]:
        """Return the log-loss −ln p_y in nats and the predicted class of every row, [P, N] float32 and [P, N] int64."""
        problems = len(self.coefficients)
        loss = torch.empty(problems, len(labels), device=labels.device)
        predicted = torch.empty(problems, len(labels), dtype=torch.int64, device=labels.device)
        for rows, logits in self.logits(features, cells):
            gold = logits.gather(2, labels[rows, None, None].expand(-1, problems, 1)).squeeze(2)
            loss[:, rows] = (logits.logsumexp(2) - gold).T.float()
            predicted[:, rows] = logits.argmax(2).T
        return loss, predicted


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    row_weights: Tensor,
    penalties: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    most: int = 200,
    cells: int = CELLS,
    dtype: torch.dtype = torch.float32,
) -> LogisticFit:
    """Fit P problems on the same N rows.

    Args:
        features: [N, D], any floating type; a block at a time is converted to `dtype`.
        labels: [N] int64, below `classes`.
        classes: C, at least 2.
        row_weights: [P, N], not negative, with a positive sum for each problem.
        penalties: λ, [P], positive, or 0 if the classes are not separable.
        start: coefficients to start from, [P, D + 1, C]; zeros by default.
        tolerance: largest entry of the gradient of a finished problem.
        most: evaluations at most; `converged` tells which problems were finished by then.
        cells: number of logits in memory at a time.
        dtype: of coefficients and products, float32 or float64; float32 reaches tolerances down to about 1e-5.

    Raises:
        ValueError: shapes that do not match, labels out of range, or a problem without rows.

    >>> X = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
    >>> fit = fit_logistic(X, torch.tensor([0, 1, 1, 0]), 2, torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.tensor([0.1]))
    >>> fit.judge(X, torch.tensor([0, 1, 1, 0]))[1].tolist()  # the problem has only the first two rows
    [[0, 1, 0, 1]]
    """
    _check(features, labels, classes, row_weights, penalties)
    data = _Rows(features, labels, classes, cells, dtype)
    weights = row_weights.to(dtype)
    weights = weights / weights.sum(1, keepdim=True)
    shape = (len(weights), features.shape[1] + 1, classes)
    theta = torch.zeros(shape, dtype=dtype, device=features.device) if start is None else start.to(dtype).clone()
    penalties, scale = penalties.to(dtype), data.scale(weights, penalties.to(dtype))

    def evaluate(points: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and flat gradients of some problems."""
        loss, gradient = data.evaluate(points.view(-1, *shape[1:]), weights[number], penalties[number])
        return loss, gradient.flatten(1)

    found = minimise_stack(evaluate, theta.flatten(1), scale.flatten(1), tolerance, most)
    return LogisticFit(found.points.view(shape), found.loss, found.slope, found.evaluations, tolerance)


def fit_selections(
    features: Tensor,
    labels: Tensor,
    classes: int,
    row_weights: Tensor,
    penalties: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-4,
    most: int = 200,
    cells: int = CELLS,
) -> LogisticFit:
    """Fit P selections of the same rows, each with L penalties: P · L problems, selection by selection.

    A product of few columns uses a fraction of a processor's speed, and a product over all rows computes with rows
    that a selection does not have. So selections share one product if they are large or the classes few, and are fitted
    one after the other, each on a copy of its own rows, if that is less work.

    Args:
        features, labels, classes, tolerance, most, cells: as in `fit_logistic`.
        row_weights: [P, N], 0 for rows that a selection does not have.
        penalties: [P, L].
        start: [P · L, D + 1, C].

    >>> X, y = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]]), torch.tensor([0, 1, 1, 0])
    >>> kept = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> fit_selections(X, y, 2, kept, torch.tensor([[0.1], [0.1]])).judge(X, y)[1].tolist()
    [[0, 1, 0, 1], [1, 0, 1, 0]]
    """
    problems, strengths = penalties.shape
    width, columns = features.shape[1] + 1, classes * strengths
    kept = float((row_weights > 0).sum()) / problems
    alone = 4 * kept * width * (columns + _NARROW) + _CALL
    together = 4 * len(labels) * width * columns + _CALL / problems
    size = max(1, _NUMBERS // (width * columns)) if together <= alone else 1
    fits = []
    for first in range(0, problems, size):
        part = row_weights[first : first + size]
        used = (part > 0).any(0).nonzero().squeeze(1)
        X, y = (features, labels) if len(used) == len(labels) else (features[used], labels[used])
        weights = part[:, used].repeat_interleave(strengths, 0)
        from_here = None if start is None else start[first * strengths : (first + size) * strengths]
        own = penalties[first : first + size].flatten()
        fits.append(
            fit_logistic(X, y, classes, weights, own, start=from_here, tolerance=tolerance, most=most, cells=cells)
        )
    coefficients, loss, slope = (
        torch.cat([getattr(f, name) for f in fits]) for name in ("coefficients", "loss", "slope")
    )
    return LogisticFit(coefficients, loss, slope, sum(fit.evaluations for fit in fits), tolerance)


def principal_axes(features: Tensor, cells: int = CELLS) -> tuple[Tensor, Tensor]:
    """Return the mean [D] and the orthogonal matrix [D, D] that rotates centred rows to uncorrelated columns.

    A rotation and a shift change neither the minimum nor the predictions of a regression with a free bias and the
    penalty ‖W‖²; they only make it converge sooner. Computed in float64, block by block; each axis points to where its
    largest entry is positive.

    >>> mean, axes = principal_axes(torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
    >>> mean.tolist(), axes[:, -1].abs().tolist()
    ([1.0, 1.0], [0.70..., 0.70...])
    """
    width = features.shape[1]
    total = torch.zeros(width, dtype=torch.float64, device=features.device)
    product = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for rows in row_blocks(len(features), width, cells):
        block = features[rows].double()
        total += block.sum(0)
        product += block.T @ block
    mean = total / len(features)
    _, axes = torch.linalg.eigh(product / len(features) - torch.outer(mean, mean))
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean.float(), (axes * torch.where(largest < 0, -1.0, 1.0)).float()


def row_blocks(rows: int, width: int, cells: int) -> Iterator[slice]:
    """Yield slices of rows with at most `cells` numbers of `width` per row, 64 rows at least."""
    size = max(64, cells // max(width, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _check(features: Tensor, labels: Tensor, classes: int, row_weights: Tensor, penalties: Tensor) -> None:
    """Raise ValueError for arguments that do not fit each other."""
    rows, problems = len(features), len(penalties)
    if labels.shape != (rows,) or row_weights.shape != (problems, rows):
        raise ValueError(
            f"expected labels [{rows}] and row weights [{problems}, {rows}], "
            f"got {list(labels.shape)} and {list(row_weights.shape)}"
        )
    if classes < 2 or (rows and not 0 <= int(labels.min()) <= int(labels.max()) < classes):
        raise ValueError(f"expected at least two classes and labels from 0 to {classes - 1}")
    if not bool((row_weights.sum(1) > 0).all()) or bool((row_weights < 0).any()) or bool((penalties < 0).any()):
        raise ValueError("row weights and penalties must not be negative, and every problem needs a row")


def _logits(block: Tensor, theta: Tensor) -> Tensor:
    """Return the logits [B, P, C] of a block of features [B, D], one product for all problems."""
    problems, _, classes = theta.shape
    weights = theta[:, :-1].permute(1, 0, 2).reshape(-1, problems * classes)
    return torch.addmm(theta[:, -1].reshape(1, -1), block, weights).view(len(block), problems, classes)


@dataclass(frozen=True)
class _Rows:
    """The rows that all problems share."""

    features: Tensor
    labels: Tensor
    classes: int
    cells: int
    dtype: torch.dtype

    def evaluate(self, theta: Tensor, weights: Tensor, penalties: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objectives [A] in float64 and their gradients [A, D + 1, C] for weights [A, N]."""
        problems, width, classes = theta.shape
        loss = torch.zeros(problems, dtype=torch.float64, device=theta.device)
        product = torch.zeros(width - 1, problems * classes, dtype=self.dtype, device=theta.device)
        gradient = torch.empty_like(theta)
        bias = torch.zeros(problems, classes, dtype=self.dtype, device=theta.device)
        for rows in row_blocks(len(self.labels), problems * classes, self.cells):
            block = self.features[rows].to(self.dtype)
            gold = self.labels[rows, None, None].expand(-1, problems, 1)
            share = weights[:, rows].T
            logits = _logits(block, theta)
            logits -= logits.amax(2, keepdim=True)
            at_gold = logits.gather(2, gold).squeeze(2)
            total = logits.exp_().sum(2)
            loss += (share * (total.log() - at_gold)).sum(0, dtype=torch.float64)
            # From here on the array holds a · (p − y), the gradient by the logits.
            logits *= (share / total)[:, :, None]
            logits.scatter_add_(2, gold, -share[:, :, None])
            product.addmm_(block.T, logits.view(len(block), -1))
            bias += logits.sum(0)
        gradient[:, :-1] = product.view(width - 1, problems, classes).permute(1, 0, 2)
        gradient[:, :-1] += penalties[:, None, None] * theta[:, :-1]
        gradient[:, -1] = bias
        return loss + penalties.double() / 2 * theta[:, :-1].double().square().sum((1, 2)), gradient

    def scale(self, weights: Tensor, penalties: Tensor) -> Tensor:
        """Return the inverse of the first diagonal Hessian, [P, D + 1, C]."""
        problems, width = len(weights), self.features.shape[1]
        moment = torch.zeros(problems, width, dtype=self.dtype, device=weights.device)
        shares = torch.zeros(problems, self.classes, dtype=self.dtype, device=weights.device)
        for rows in row_blocks(len(self.labels), width, self.cells):
            block = self.features[rows].to(self.dtype)
            moment += weights[:, rows] @ block.square()
            shares.index_add_(1, self.labels[rows], weights[:, rows])
        spread = (shares * (1 - shares)).clamp_min(1e-3 / self.classes)
        features = moment[:, :, None] * spread[:, None] + penalties[:, None, None]
        return 1 / torch.cat([features, spread[:, None]], 1).clamp_min(_LEAST_CURVATURE)
