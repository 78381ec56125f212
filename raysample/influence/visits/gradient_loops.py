"""Per-example gradients by a plain loop: one forward and one backward per example. Slow, and exact for any model.

The fallback for models with modules that have no gradient rule. Each row is visited alone and without its padding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raysample.core.numerics import precision
from raysample.core.numerics.predictions import cross_entropies, widened
from raysample.influence.visits.per_sample_gradients import Directions, unsupported


def loop_gradients(
    model: nn.Module,
    inputs: dict[str, Tensor],
    labels: Tensor,
    *,
    directions: Directions,
    autocast: torch.dtype | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the norm [B] of each example's gradient of its cross-entropy (nats), and dot products {reference: [B, M]}.

    Counts the parameters with `requires_grad`. The model runs in its current mode (train or eval).

    Raises:
        UnsupportedModelError: nothing is trainable.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not weights:
        raise unsupported("", "has no trainable parameter, so there is no gradient to measure")
    norms: list[Tensor] = []
    products: dict[str, list[Tensor]] = {reference: [] for reference in directions}
    for row in range(len(labels)):
        gradients = _gradients(model, alone(inputs, row), labels[row : row + 1], weights, autocast)
        norms.append(torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt())
        for reference, given in directions.items():
            parts = [given[name].to(g).flatten(1) @ g.flatten() for name, g in gradients.items()]
            products[reference].append(torch.stack(parts).sum(0))
    return torch.stack(norms), {key: torch.stack(found) for key, found in products.items()}


def alone(inputs: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """Return one example of a mini-batch as [1, T'], without the padding outside its attention mask."""
    single = {name: value[row : row + 1] for name, value in inputs.items()}
    mask = single.get("attention_mask")
    if mask is None or mask.dim() != 2 or not bool(mask.any()):
        return single
    places = mask[0].nonzero().flatten()
    real = slice(int(places[0]), int(places[-1]) + 1)
    # Padding between real tokens stays: the position ids of the model may depend on it.
    if not bool(mask[0, real].all()):
        return single
    return {name: value[:, real] if value.shape == mask.shape else value for name, value in single.items()}


def _gradients(
    model: nn.Module,
    inputs: dict[str, Tensor],
    label: Tensor,
    weights: Mapping[str, Tensor],
    autocast: torch.dtype | None,
) -> dict[str, Tensor]:
    """Return the gradient of one example's cross-entropy, parameter by parameter, in float32 at least."""
    with torch.enable_grad(), precision.autocast(label.device.type, autocast):
        output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    with torch.enable_grad():
        loss = cross_entropies(logits, label).sum()
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
    return {name: widened(gradient) for name, gradient in zip(weights, found, strict=True)}
