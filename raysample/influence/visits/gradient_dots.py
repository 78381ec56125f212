"""Dot products of each example's parameter gradient with given directions, without any per-example gradient.

With A_b the inputs and G_b the output gradients of a layer, as in `gradient_norms`, the gradient of a weight is linear
in G_b: its dot product with a direction W is a sum over tokens. Each function returns [B, M] for M directions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from raysample.core.errors import ScoreError
from raysample.core.numerics.predictions import widened
from raysample.influence.visits.gradient_norms import total

# Elements of the per-example products that exist at a time (64 MiB in float32).
WORKSPACE = 1 << 24


def linear_dots(A: Tensor, G: Tensor, W: Tensor) -> Tensor:
    """Return Σ_t ⟨G_bt, W_m A_bt⟩ [B, M] for A [B, T, I], G [B, T, O] and directions W [M, O, I].

    Takes the cheaper of two exact ways: multiplying the tokens by every direction costs MTIO per example, forming AᵀG
    first costs (T + M)IO. The second way forms AᵀG for a few examples at a time, within WORKSPACE elements.
    """
    B, T, M = A.shape[0], A.shape[1], len(W)
    if M * T <= T + M:
        return torch.stack([(widened(A @ direction.mT) * G).sum((1, 2)) for direction in W], 1)
    flat = W.flatten(1).T
    step = max(1, WORKSPACE // flat.shape[0])
    slices = [slice(start, start + step) for start in range(0, B, step)]
    return torch.cat([widened((G[part].mT @ A[part]).flatten(1) @ flat) for part in slices])


def bias_dots(G: Tensor, W: Tensor) -> Tensor:
    """Return ⟨Σ_t G_bt, W_m⟩ [B, M] for G [B, T, O] and directions W [M, O]."""
    return total(G) @ widened(W).T


def embedding_dots(ids: Tensor, G: Tensor, W: Tensor) -> Tensor:
    """Return Σ_t ⟨G_bt, W_m[id_bt]⟩ [B, M] for ids [B, T], G [B, T, D] and directions W [M, V, D]."""
    return torch.stack([(direction[ids] * G).sum((1, 2)) for direction in W], 1)


def scale_dots(X: Tensor, G: Tensor, W: Tensor) -> Tensor:
    """Return ⟨Σ_t X_bt ∘ G_bt, W_m⟩ [B, M] for normalised inputs X [B, T, D], G [B, T, D], directions W [M, D]."""
    return (X * G).sum(1) @ W.T


def check_directions(directions: Mapping[str, Mapping[str, Tensor]], parameters: Mapping[str, Tensor]) -> None:
    """Check directions {reference: {parameter: [M, *shape]}} against a model's parameters, by name.

    Directions for frozen parameters are allowed and ignored.

    Raises:
        ScoreError: a reference lacks a trainable parameter, has an unknown parameter, or one of another shape; the
            message names it.
    """
    for reference, given in directions.items():
        strange = sorted(given.keys() - parameters.keys())
        lacking = [name for name, value in parameters.items() if value.requires_grad and name not in given]
        if strange or lacking:
            problem = f"has {strange[0]!r}, which the model has not" if strange else f"lacks {lacking[0]!r}"
            raise _misfit(reference, problem)
        _check_shapes(reference, given, parameters)


def _check_shapes(reference: str, given: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    """Raise ScoreError unless all directions of a reference have shape [M, *parameter shape] for one M."""
    count = next((len(value) for value in given.values() if value.dim()), 0)
    for name, value in given.items():
        wanted = (count, *parameters[name].shape)
        if value.shape != wanted:
            raise _misfit(reference, f"has {name!r} of shape {list(value.shape)}, not {list(wanted)}")


def _misfit(reference: str, problem: str) -> ScoreError:
    """Return the error for directions that do not fit the model."""
    return ScoreError(
        f"the directions of {reference!r} do not fit the model: that direction {problem}",
        "make the directions from the very checkpoint that is scored, over all of its trainable parameters",
    )
