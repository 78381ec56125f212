"""One visit of one mini-batch to one model: one forward, the backwards that the scores need, and no weight gradient.

The parameters are frozen for the visit and the graph starts at the first layer whose output gradient is asked for, so
autograd never goes further down, and never sideways into a weight. Losses are summed, never averaged: an example's
gradient does not depend on the rest of its mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from raysample.core.errors import ScoreError
from raysample.core.numerics import precision
from raysample.core.numerics.forward_hooks import ForwardHooks, classifier, embedding_module
from raysample.core.numerics.predictions import cross_entropies, gold_logits, gold_probabilities, widened
from raysample.influence.visits.gradient_dots import check_directions
from raysample.influence.visits.gradient_loops import loop_gradients
from raysample.influence.visits.model_errors import explained
from raysample.influence.visits.per_example_positions import per_example_positions, spreads
from raysample.influence.visits.per_sample_gradients import (
    Directions,
    ParameterUseGuard,
    Recording,
    TrainableLayer,
    trainable_layers,
    unsupported,
)

__all__ = ["OBJECTIVES", "Artifacts", "Need", "classifier", "collect", "embedding_module", "join_artifacts"]

NO_DIRECTIONS: Directions = MappingProxyType({})


class Need(Flag):
    """What a score needs from a visit, cheapest first; the union over the scores decides the work.

    LOGITS: one forward. FEATURES: the classifier's input, free with the forward. GRAD_NORMS: one backward of the summed
    loss. GRAD_DOTS: dot products of each example's gradient with given directions, from the same backward.
    EMBEDDING_GRADS: one backward per objective, down to the embedding output (`loss` shares that of GRAD_NORMS).
    """

    LOGITS = auto()
    FEATURES = auto()
    GRAD_NORMS = auto()
    GRAD_DOTS = auto()
    EMBEDDING_GRADS = auto()


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": gold_logits,
    "probability": gold_probabilities,
    "loss": cross_entropies,
}
"""What may be differentiated: functions of logits [B, C] and labels [B] that give one value per example."""


@dataclass(frozen=True)
class Artifacts:
    """What a visit saw; tensors are detached, floating ones in float32 at least.

    Attributes:
        labels: [B] gold labels.
        mask: [B, T] True at real tokens.
        logits: [B, C] pre-softmax outputs.
        features: [B, H] inputs of the last linear layer, from which the logits are made; of a decoder those at the last
            token, where it takes its logits.
        grad_norms: [B] Euclidean norm of the gradient of each example's loss (nats) over all trainable parameters.
        embedding_grads: objective -> [B, T, D] gradient with respect to the output of the embedding layer.
        grad_dots: key of a reference -> [B, M] dot products of each example's gradient of the loss (nats), over all
            trainable parameters, with the M directions of that reference.
        reference: key of a reference -> what it holds for this checkpoint, by name.
        keys: [B] int64 hashes of the row ids, where the caller gave them.
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


def collect(
    model: nn.Module,
    inputs: dict[str, Tensor],
    labels: Tensor,
    needs: Need,
    objectives: frozenset[str] = frozenset(),
    *,
    directions: Directions = NO_DIRECTIONS,
    autocast: torch.dtype | None = None,
    by: Literal["rules", "loop"] = "rules",
) -> Artifacts:
    """Visit a model with one mini-batch: one forward, and one backward per distinct objective.

    The model runs in eval mode with frozen parameters and is given back as it came. The parameters that count for
    GRAD_NORMS and GRAD_DOTS are those with `requires_grad` on entry, so layers that the user froze are left out.

    Args:
        model: returns the logits [B, C], or an object with them as `.logits`; lies where the inputs lie.
        inputs: keyword arguments of the model: `input_ids` [B, T], `attention_mask` [B, T], ...
        labels: [B] int64.
        needs: what to compute.
        objectives: for EMBEDDING_GRADS, names out of OBJECTIVES.
        directions: for GRAD_DOTS, {reference: {parameter as in `named_parameters()`: [M, *its shape]}}.
        autocast: lower precision of the forward and the backward; norms and dot products are summed in float32 at
            least all the same.
        by: how GRAD_NORMS and GRAD_DOTS come about. `rules`: all from one backward, for modules with an exact rule.
            `loop`: for any model, by another forward and backward over all parameters for each example, unpadded.

    Raises:
        UnsupportedModelError: the model has no exact gradient rule for what is asked; the message names the module.
            Or (ForwardError) it raised something of its own.
        ScoreError: a label is not among the model's classes, or a direction does not fit the parameters.
    """
    directions = directions if Need.GRAD_DOTS in needs else NO_DIRECTIONS
    check_directions(directions, dict(model.named_parameters()) if directions else {})
    if by == "loop" and needs & _GRADIENTS:
        seen = collect(model, inputs, labels, needs & ~_GRADIENTS | Need.LOGITS, objectives, autocast=autocast)
        return _looped(model, inputs, seen, needs, directions, autocast)
    layers = trainable_layers(model) if directions or Need.GRAD_NORMS in needs else []
    wanted = objectives if Need.EMBEDDING_GRADS in needs else frozenset()
    recording, taps = Recording(layers, len(labels)), ForwardHooks(len(labels), inputs.get("input_ids"))
    with ExitStack() as stack:
        stack.enter_context(_still(model))
        if layers:
            _prove(model, layers, inputs)
        stack.enter_context(torch.set_grad_enabled(bool(layers or wanted)))
        for handle in (*recording.attach(), *taps.attach(model, bool(wanted), Need.FEATURES in needs)):
            stack.callback(handle.remove)
        shared = per_example_positions(model, len(labels) if layers else None)
        with precision.autocast(labels.device.type, autocast), shared, explained(model):
            logits = _logits(model(**inputs))
        _check_labels(labels, logits)
        with explained(model):
            gradients, embedding = _backwards(logits, labels, recording, taps, wanted)
    with torch.no_grad():
        norms, dots = recording.measure(gradients, Need.GRAD_NORMS in needs, directions)
        return Artifacts(
            labels=labels,
            mask=_mask(inputs),
            logits=widened(logits.detach()),
            features=taps.features(model, inputs, logits) if Need.FEATURES in needs else None,
            grad_norms=norms,
            embedding_grads={name: taps.real(found) for name, found in embedding.items()},
            grad_dots=dots,
        )


def _looped(
    model: nn.Module,
    inputs: dict[str, Tensor],
    seen: Artifacts,
    needs: Need,
    directions: Directions,
    autocast: torch.dtype | None,
) -> Artifacts:
    """Return what was seen with the gradient norms and dot products, as far as needed, from the loop."""
    with _still(model, freeze=False), explained(model):
        norms, dots = loop_gradients(model, inputs, seen.labels, directions=directions, autocast=autocast)
    return replace(seen, grad_norms=norms if Need.GRAD_NORMS in needs else None, grad_dots=dots)


def join_artifacts(parts: Sequence[Artifacts]) -> Artifacts:
    """Return the artifacts of consecutive pieces of one mini-batch, which must hold the same things, as one."""

    def joined(pick: Callable[[Artifacts], Tensor | None]) -> Tensor | None:
        found = [value for part in parts if (value := pick(part)) is not None]
        return torch.cat(found) if found else None

    first = parts[0]
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


_GRADIENTS = Need.GRAD_NORMS | Need.GRAD_DOTS


@contextmanager
def _still(model: nn.Module, freeze: bool = True) -> Iterator[None]:
    """Hold a model in eval mode, and its parameters frozen if wanted; give it back as it came."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    model.eval()
    if freeze:
        model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


def _logits(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output.logits
    return found


# Models that were seen to give each layer the examples as first axis and to use its parameters nowhere else.
_PROVEN: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


def _prove(model: nn.Module, layers: Sequence[TrainableLayer], inputs: dict[str, Tensor]) -> None:
    """Refuse a model whose layers do not work on one example at a time, by a forward of one example; once a model.

    With one example of two tokens or more, a first axis that is not the examples (tokens, entries of a table) is not 1
    and is refused; in a larger mini-batch it could happen to be as long as that.
    """
    names = frozenset(layer.name for layer in layers)
    if names <= _PROVEN.get(model, frozenset()):
        return
    tokens = inputs["input_ids"].shape
    single = {
        name: value[:1].repeat(1, 2) if value.shape == tokens and tokens[1] == 1 else value[:1]
        for name, value in inputs.items()
    }
    recording, place = Recording(layers, 1), spreads(model)
    with ExitStack() as stack, torch.no_grad(), explained(model):
        # The forward itself, past the hooks on the model: this is no visit.
        plain = _logits(model.forward(**single)) if place else None
        for handle in recording.attach():
            stack.callback(handle.remove)
        with per_example_positions(model, 1), ParameterUseGuard(recording):
            logits = _logits(model.forward(**single))
    recording.outputs()
    if plain is not None and not torch.allclose(plain, logits, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise unsupported(str(place), "computes its positions in another way than the one that is known to be exact")
    _PROVEN[model] = names


def _backwards(
    logits: Tensor, labels: Tensor, recording: Recording, taps: ForwardHooks, objectives: frozenset[str]
) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
    """Return the gradients of the summed loss at the layers, and of each summed objective at the embeddings."""
    outputs = recording.outputs()
    layers: Sequence[Tensor] = ()
    embedding: dict[str, Tensor] = {}
    runs = sorted(objectives | {"loss"} if outputs else objectives)
    for objective in runs:
        targets = list(outputs) if objective == "loss" else []
        if objective in objectives and taps.embedding is not None:
            targets.append(taps.embedding)
        total = OBJECTIVES[objective](logits, labels).sum()
        more = objective != runs[-1]
        found = torch.autograd.grad(total, targets, retain_graph=more, allow_unused=True, materialize_grads=True)
        if objective in objectives:
            embedding[objective] = widened(found[-1])
        if objective == "loss":
            layers = found[: len(outputs)]
    return layers, embedding


def _check_labels(labels: Tensor, logits: Tensor) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise ScoreError(
            f"the labels lie between {low} and {high}, but the model has the classes 0 to {logits.shape[1] - 1}",
            "score a corpus with the labels that the model was fine-tuned on",
        )


def _mask(inputs: dict[str, Tensor]) -> Tensor:
    mask = inputs.get("attention_mask")
    return torch.ones_like(inputs["input_ids"], dtype=torch.bool) if mask is None else mask.bool()
