"""Products with a Hessian and with its damped inverse, (H + λI)⁻¹ b, without ever forming H.

Vectors are flat: all parameters concatenated, [P]. Two solvers: conjugate gradients, with products of the full Hessian,
and LiSSA, with products of the Hessians of mini-batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raysample.core.errors import ScoreError

Apply = Callable[[Tensor], Tensor]
"""v [P] -> H v [P], the same H at every call."""

# Tolerated length of a LiSSA estimate, as a multiple of the bound for a contracting recursion.
SLACK = 10.0


@dataclass(frozen=True)
class Solution:
    """The result of a solver.

    Attributes:
        x: [P] the approximate solution of (H + λI) x = b.
        residual: ‖b − (H + λI) x‖ / ‖b‖, computed from x itself, not from the solver's recurrence, which drifts.
        iterations: products with H that it took.
    """

    x: Tensor
    residual: float
    iterations: int


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors into one vector [P]."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Invert `flatten`: split a vector [P] into the shapes of `like`."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, like, strict=True)]


def hvp(loss: Callable[[], Tensor], parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Return ∇(∇L · v), the product of a loss's Hessian with a vector, by two backwards (Pearlmutter 1994).

    Args:
        loss: computes the scalar L from the parameters; everything in it must be twice differentiable. Fused attention
            is not: run the call under `sdpa_kernel(SDPBackend.MATH)`.
        parameters: leaves with `requires_grad`; one that L does not use has zeros for its part.
        vector: [P].

    Returns:
        [P], in the dtype of the parameters.
    """
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True, materialize_grads=True)
    inner = torch.stack([(g * v).sum() for g, v in zip(gradients, unflatten(vector, parameters), strict=True)]).sum()
    if not inner.requires_grad:  # L is linear in the parameters
        return torch.zeros_like(vector)
    return flatten(torch.autograd.grad(inner, parameters, allow_unused=True, materialize_grads=True))


def gauss_newton(logits: Callable[[], Tensor], parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Return Σ_b Jᵀ (diag(p) − p pᵀ) J v, the Gauss-Newton matrix of the summed cross-entropy times a vector.

    J is the Jacobian of an example's logits with respect to the parameters, p = softmax(z). It is the Hessian without
    the curvature of the network itself: positive semi-definite, and equal to the Hessian where the logits are linear in
    the parameters. J v comes from two backwards, since Jᵀu is linear in u (Schraudolph 2002; Martens 2010).

    Args:
        logits: computes [B, C] from the parameters, twice differentiable (see `hvp`).
        parameters: leaves with `requires_grad`.
        vector: [P].

    Returns:
        [P], in the dtype of the parameters.
    """
    # Jᵀu is linear in u, so its derivative by u, applied to v, is J v: two backwards replace a forward-mode derivative.
    # The value of u (here 0, `lever`) does not matter.
    z = logits()
    lever = torch.zeros_like(z, requires_grad=True)
    pulled = torch.autograd.grad(
        z, parameters, grad_outputs=lever, create_graph=True, allow_unused=True, materialize_grads=True
    )
    inner = torch.stack([(g * v).sum() for g, v in zip(pulled, unflatten(vector, parameters), strict=True)]).sum()
    (pushed,) = torch.autograd.grad(inner, [lever], retain_graph=True)
    p = z.detach().softmax(1)
    curved = p * pushed - p * (p * pushed).sum(1, keepdim=True)
    return flatten(torch.autograd.grad(z, parameters, grad_outputs=curved, allow_unused=True, materialize_grads=True))


def relative_residual(apply: Apply, x: Tensor, b: Tensor, damping: float) -> float:
    """Return ‖b − (H + λI) x‖ / ‖b‖; 0 if both are zero."""
    scale = math.sqrt(_dot(b, b))
    rest = b - apply(x) - damping * x
    return math.sqrt(_dot(rest, rest)) / scale if scale > 0 else 0.0


def conjugate_gradient(apply: Apply, b: Tensor, damping: float, iterations: int, tolerance: float = 1e-3) -> Solution:
    """Solve (H + λI) x = b by conjugate gradients (Hestenes and Stiefel 1952), from x = 0.

    Args:
        apply: product with H, which must be symmetric.
        b: [P].
        damping: λ, such that H + λI is positive definite.
        iterations: at most so many products; one more gives the residual.
        tolerance: stop where the relative residual is this small.

    Raises:
        ScoreError: a direction of curvature ≤ 0 was met (H + λI is not positive definite), or one that is not finite.
    """
    x, rest = torch.zeros_like(b), b.clone()
    direction, size = rest.clone(), _dot(rest, rest)
    goal, done = tolerance * math.sqrt(size), 0
    while done < iterations and math.sqrt(size) > goal:
        image = apply(direction) + damping * direction
        length, along = _dot(direction, direction), _dot(direction, image)
        # Checked before the division by `along`: a direction of negative curvature would turn the sign of the step.
        _check_curvature(along / length, damping)
        x += (size / along) * direction
        rest -= (size / along) * image
        last, size = size, _dot(rest, rest)
        direction = rest + (size / last) * direction
        done += 1
    return Solution(x, relative_residual(apply, x, b, damping), done)


def _check_curvature(curvature: float, damping: float) -> None:
    """Raise ScoreError unless the curvature along a direction is finite and positive."""
    if math.isfinite(curvature) and curvature > 0:
        return
    if not math.isfinite(curvature):
        raise ScoreError(
            f"conjugate gradients met a curvature of {curvature}: a gradient of the model is not finite",
            "check the checkpoint's loss on these rows",
        )
    raise ScoreError(
        f"the Hessian plus damping {damping:g} is not positive definite: along one direction it curves by "
        f"{curvature:.3g}, so its inverse would turn signs",
        f"raise damping above {damping - curvature:.3g}, at least twofold to be safe",
    )


def lissa(
    apply_sampled: Callable[[Tensor, int], Tensor],
    b: Tensor,
    damping: float,
    scale: float,
    depth: int,
    repeats: int = 1,
) -> Tensor:
    """Estimate (H + λI)⁻¹ b by LiSSA: x₀ = b, xⱼ₊₁ = b + xⱼ − (Hⱼ + λI) xⱼ / s, mean of x_depth / s over repeats.

    Hⱼ is the Hessian of the j-th mini-batch, whose expectation is H. The recursion contracts where the eigenvalues of
    (H + λI) / s lie in (0, 2); it takes some s/λ steps. (Agarwal, Bullins and Hazan 2017, as used by Koh and Liang
    2017; DEALRec's code leaves out the last division by s, which changes no ranking.)

    Args:
        apply_sampled: (v, draw) -> Hⱼ v; draws are numbered 0 .. depth · repeats − 1.
        b: [P].
        damping: λ.
        scale: s, about the largest eigenvalue of H + λI.
        depth: steps of one recursion.
        repeats: recursions that are averaged.

    Raises:
        ScoreError: the recursion diverges.
    """
    total = torch.zeros_like(b)
    for repeat in range(repeats):
        x, reach = b.clone(), 1.0
        for step in range(depth):
            x = b + (1 - damping / scale) * x - apply_sampled(x, repeat * depth + step) / scale
            # ‖xⱼ‖ ≤ ‖b‖ Σᵢ (1 − λ/s)ⁱ if all Hessians are positive semi-definite with eigenvalues below s.
            reach = 1 + abs(1 - damping / scale) * reach
            _check_reach(x, b, reach, step + 1, scale, damping)
        total += x / scale
    return total / repeats


def _check_reach(x: Tensor, b: Tensor, reach: float, step: int, scale: float, damping: float) -> None:
    """Raise ScoreError if an estimate of LiSSA is far longer than a contracting recursion allows.

    Catches divergence long before an overflow, with a message that names the scale.
    """
    size = math.sqrt(_dot(x, x))
    if not size <= SLACK * reach * math.sqrt(_dot(b, b)):
        raise ScoreError(
            f"LiSSA diverges: its estimate has the length {size:.3g} after {step} steps with scale {scale:g} and "
            f"damping {damping:g}",
            "raise scale (above half of the largest eigenvalue of the Hessian) or damping (above its most negative)",
        )


def _dot(a: Tensor, b: Tensor) -> float:
    """Return the dot product, summed in float64.

    A float32 sum over millions of parameters loses the digits that the orthogonality of conjugate gradients depends on.
    """
    return float((a * b).sum(dtype=torch.float64))
