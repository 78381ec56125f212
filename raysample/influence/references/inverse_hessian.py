"""`inverse_hessian`.

The target gradient multiplied by the inverse Hessian of the training loss, for influence functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from raysample.core.arrays import IntArray
from raysample.core.errors import ScoreError
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.halving import map_in_halves
from raysample.core.numerics.hessian import (
    Apply,
    Solution,
    conjugate_gradient,
    gauss_newton,
    hvp,
    lissa,
    relative_residual,
)
from raysample.data.row_sampling import generator, sample_corpus, sort_by_row_hash
from raysample.influence.references.build_context import BuildContext, Notes, among, reference_options
from raysample.influence.references.folder import Tensors
from raysample.influence.references.gradients import directions, logits_of, mean_gradient, total_loss, trainable
from raysample.influence.references.rows import tokenize_rows
from raysample.influence.scores.reference import Reference
from raysample.training import Examples

HESSIAN_DEFAULTS: dict[str, Any] = {
    "target": None,
    "curvature": "hessian",
    "solver": "cg",
    "damping": 0.01,
    "iterations": None,
    "tolerance": None,
    "scale": 25.0,
    "repeats": 1,
    "batch": 16,
    "rows": 1_000,
    "seed": 0,
}
ITERATIONS = {"cg": 50, "lissa": 1_000}
TOLERANCES = {"cg": 0.01, "lissa": 0.5}
"""Relative residuals that must be reached; LiSSA's mini-batches leave noise."""


def build_inverse_hessian(work: BuildContext, reference: Reference, notes: Notes) -> Iterator[tuple[int, Tensors]]:
    """Yield u = (H + λI)⁻¹ ḡ at the last checkpoint: {parameter: [1, *shape]} float32.

    ḡ is the target's mean gradient and H the Hessian of the mean loss (nats, eval mode) over a seeded sample of the
    scored corpus, both over the trainable parameters and in float32 whatever the precision of the scoring. The
    influence of an example on the target's loss is the dot product of its gradient with u. (Koh and Liang 2017, who
    also solve it once per target.)

    Options: `target`; `curvature`: `hessian`, or `gauss_newton`, its positive semi-definite part, which needs no
    damping against negative eigenvalues (see `numerics.hessian.gauss_newton`); `solver`: `cg` (`iterations` at most, by
    default 50) or `lissa` (`repeats` recursions of `iterations` steps, by default 1000, on `batch` rows each, and
    `scale`); `damping` λ; `rows` of the sample and its `seed`; `tolerance`, the relative residual ‖ḡ − (H + λI)u‖/‖ḡ‖
    that must be reached: by default 0.01 for `cg`, 0.5 for `lissa`. The manifest records the residual that was reached.
    A product with H costs about four gradients of the sample.

    Raises:
        ScoreError: H + λI is not positive definite, LiSSA diverges, or the residual stays above the tolerance.
    """
    given = solver_options(reference)
    tokenizer, spec = work.tokenizer(), work.request.model
    target = tokenize_rows(sort_by_row_hash(work.target(given["target"]).table()), tokenizer, spec)
    data = tokenize_rows(sample_corpus(work.corpus, given["rows"], given["seed"]), tokenizer, spec)
    last = work.run.checkpoints[-1]
    network = work.model(last)
    tokens = work.request.batch_tokens
    goal = mean_gradient(network, target, np.arange(len(target)), tokens)
    # The plain attention kernel: the fused kernels have no second derivative.
    with sdpa_kernel(SDPBackend.MATH):
        found = solve(network, data, goal, tokens, given)
    notes.update(
        residual=found.residual,
        products=found.iterations,
        target_rows=len(target),
        hessian_rows=len(data),
        of_training_corpus=work.run.corpus == work.corpus.fingerprint,
    )
    work.say(f"    {given['solver']}: relative residual {found.residual:.2g} after {found.iterations} products")
    _check_residual(found, given["tolerance"], given["solver"])
    yield last.step, directions(network, [found.x])


def solver_options(reference: Reference) -> dict[str, Any]:
    """Return the options with all defaults filled in; raises ScoreError for an unknown option or solver."""
    given = reference_options(reference, HESSIAN_DEFAULTS)
    among(reference, "solver", given["solver"], tuple(TOLERANCES))
    among(reference, "curvature", given["curvature"], ("hessian", "gauss_newton"))
    for name, values in (("iterations", ITERATIONS), ("tolerance", TOLERANCES)):
        if given[name] is None:
            given[name] = values[given["solver"]]
    return given


def solve(network: nn.Module, data: Examples, goal: Tensor, batch_tokens: int, given: dict[str, Any]) -> Solution:
    """Solve (H + λI) u = goal [P] by the resolved options; see `build_inverse_hessian`."""
    apply, damping = product_with(network, data, batch_tokens, given["curvature"]), given["damping"]
    if given["solver"] == "cg":
        return conjugate_gradient(apply, goal, damping, given["iterations"], given["tolerance"])
    drawn = _drawn(network, data, batch_tokens, given)
    x = lissa(drawn, goal, damping, given["scale"], given["iterations"], given["repeats"])
    return Solution(x, relative_residual(apply, x, goal, damping), given["iterations"] * given["repeats"])


def product_with(
    network: nn.Module, data: Examples, batch_tokens: int, curvature: str = "hessian", rows: IntArray | None = None
) -> Apply:
    """Return the function v [P] -> H v [P] for the mean loss over some rows (by default all of them)."""
    weights = list(trainable(network).values())
    chosen = np.arange(len(data)) if rows is None else rows
    batches = [chosen[batch] for batch in token_batches(data.encoded.lengths[chosen], batch_tokens)]

    def apply(vector: Tensor) -> Tensor:
        """Return H v for the mean loss over the chosen rows, [P]."""

        def product(some: IntArray) -> Tensor:
            """Return H v for the summed loss of the rows at some positions, [P]."""
            if curvature == "gauss_newton":
                return gauss_newton(lambda: logits_of(network, data, some), weights, vector)
            return hvp(lambda: total_loss(network, data, some), weights, vector)

        total = torch.zeros_like(vector)
        for batch in batches:
            for piece in map_in_halves(product, batch):
                total += piece
        return total / len(chosen)

    return apply


def _drawn(
    network: nn.Module, data: Examples, batch_tokens: int, given: dict[str, Any]
) -> Callable[[Tensor, int], Tensor]:
    """Return the function (v, draw) -> H v over a random mini-batch of rows, seeded by `draw`, for LiSSA."""

    def apply(vector: Tensor, draw: int) -> Tensor:
        """Return H v for the mean loss over the rows of one draw, [P]."""
        lots = generator(given["seed"], draw)
        rows = lots.choice(len(data), min(given["batch"], len(data)), replace=False)
        return product_with(network, data, batch_tokens, given["curvature"], rows)(vector)

    return apply


def _check_residual(found: Solution, tolerance: float, solver: str) -> None:
    """Raise ScoreError if the residual exceeds the tolerance: a wrong solution must not become a score."""
    if not found.residual <= tolerance:
        more = "iterations" if solver == "cg" else "iterations, repeats or batch"
        raise ScoreError(
            f"the inverse Hessian was not reached: {solver} leaves a relative residual of {found.residual:.3g} after "
            f"{found.iterations} products, {tolerance:g} was asked for",
            f"raise damping or {more}, or accept more with `tolerance`",
        )
