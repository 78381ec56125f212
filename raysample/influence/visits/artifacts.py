"""What a score may need from a visit of a mini-batch at a checkpoint, and what the visit returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto

import torch
from torch import Tensor

from raysample.core.numerics.predictions import cross_entropies, gold_logits, gold_probabilities


class Need(Flag):
    """What a score needs from a visit, cheapest first; the union over the scores decides the work.

    LOGITS: one forward. FEATURES: the classifier's input, free with the forward. GRAD_NORMS: one backward of the summed
    loss. GRAD_DOTS: dot products of each example's gradient with given directions, from the same backward.
    EMBEDDING_GRADS: one backward per objective down to the embedding output (the objective `loss` shares the backward
    of GRAD_NORMS).
    """

    LOGITS = auto()
    FEATURES = auto()
    GRAD_NORMS = auto()
    GRAD_DOTS = auto()
    EMBEDDING_GRADS = auto()


GRADIENT_OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": gold_logits,
    "probability": gold_probabilities,
    "loss": cross_entropies,
}
"""Differentiable objectives: functions of logits [B, C] and labels [B] that return one value per example, [B]."""


@dataclass(frozen=True)
class Artifacts:
    """The results of a visit; tensors are detached, floating ones in float32 at least.

    Attributes:
        labels: [B] gold labels.
        mask: [B, T] True at real tokens, False at padding.
        logits: [B, C] pre-softmax outputs.
        features: [B, H] inputs of the last linear layer, which computes the logits; for a decoder the inputs at the
            token whose logits it returns.
        grad_norms: [B] Euclidean norm of the gradient of each example's loss (nats) over all trainable parameters.
        embedding_grads: objective -> [B, T, D] gradient with respect to the output of the embedding layer.
        grad_dots: reference key -> [B, M] dot products of the gradient of each example's loss (nats), over all
            trainable parameters, with the M directions of that reference.
        reference: reference key -> its tensors at this checkpoint, by name.
        keys: [B] int64 hashes of the row ids, or None if the caller gave none.
    """

    labels: Tensor
    mask: Tensor
    logits: Tensor
    features: Tensor | None = None
    grad_norms: Tensor | None = None
    embedding_grads: dict[str, Tensor] = field(default_factory=dict)
    grad_dots: dict[str, Tensor] = field(default_factory=dict)
    reference: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    keys: Tensor | None = None


def join_artifacts(parts: Sequence[Artifacts]) -> Artifacts:
    """Concatenate the artifacts of consecutive parts of one mini-batch; all parts must hold the same fields."""

    def joined(pick: Callable[[Artifacts], Tensor | None]) -> Tensor | None:
        """Concatenate one optional field along the examples, or return None if the parts lack it."""
        found = [value for part in parts if (value := pick(part)) is not None]
        return torch.cat(found) if found else None

    first = parts[0]
    if len(parts) == 1:
        return first
    return Artifacts(
        labels=torch.cat([part.labels for part in parts]),
        mask=torch.cat([part.mask for part in parts]),
        logits=torch.cat([part.logits for part in parts]),
        features=joined(lambda part: part.features),
        grad_norms=joined(lambda part: part.grad_norms),
        embedding_grads={
            name: torch.cat([part.embedding_grads[name] for part in parts]) for name in first.embedding_grads
        },
        grad_dots={key: torch.cat([part.grad_dots[key] for part in parts]) for key in first.grad_dots},
        reference=first.reference,
        keys=joined(lambda part: part.keys),
    )
