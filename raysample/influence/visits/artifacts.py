"""One visit of one mini-batch at one model: one forward, the backwards that the scores need, and no weight gradient.

All parameters are frozen during the visit and the graph starts at the first layer whose output gradient is required:
autograd goes no further down than that layer and computes no weight gradient. Losses are summed, never averaged, so an
example's gradient does not depend on the other examples of its mini-batch.
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

__all__ = ["GRADIENT_OBJECTIVES", "Artifacts", "Need", "classifier", "collect", "embedding_module", "join_artifacts"]

NO_DIRECTIONS: Directions = MappingProxyType({})


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

    The model runs in eval mode with frozen parameters; afterwards its mode and its `requires_grad` flags are restored.
    GRAD_NORMS and GRAD_DOTS count the parameters with `requires_grad` on entry, so layers that the user froze are left
    out.

    Args:
        model: returns the logits [B, C], or an object with an attribute `logits`; on the same device as the inputs.
        inputs: keyword arguments of the model: `input_ids` [B, T], `attention_mask` [B, T], ...
        labels: [B] int64.
        needs: what to compute.
        objectives: for EMBEDDING_GRADS, names from GRADIENT_OBJECTIVES.
        directions: for GRAD_DOTS, {reference: {parameter as in `named_parameters()`: [M, *shape]}}.
        autocast: lower precision of the forward and the backward; norms and dot products are still summed in float32 at
            least.
        by: how GRAD_NORMS and GRAD_DOTS are computed. `rules`: from one backward for the whole mini-batch, for modules
            with an exact gradient rule. `loop`: for any model, by one more forward and backward per example, unpadded.

    Raises:
        UnsupportedModelError: the model has no exact gradient rule for a need; the message names the module. Its
            subclass ForwardError: the model's own code raised an error.
        ScoreError: a label is not among the model's classes, or a direction does not fit the parameters.
    """
    directions = directions if Need.GRAD_DOTS in needs else NO_DIRECTIONS
    check_directions(directions, dict(model.named_parameters()) if directions else {})
    # The loop replaces only the gradients over parameters; all other needs keep their batched visit.
    if by == "loop" and needs & _GRADIENTS:
        seen = collect(model, inputs, labels, needs & ~_GRADIENTS | Need.LOGITS, objectives, autocast=autocast)
        return _looped(model, inputs, seen, needs, directions, autocast)
    # Before `_still`: which parameters count is decided by `requires_grad` on entry.
    layers = trainable_layers(model) if directions or Need.GRAD_NORMS in needs else []
    wanted = objectives if Need.EMBEDDING_GRADS in needs else frozenset()
    recording, hooks = Recording(layers, len(labels)), ForwardHooks(len(labels), inputs.get("input_ids"))
    with ExitStack() as stack:
        stack.enter_context(_still(model))
        if layers:
            _prove(model, layers, inputs)
        stack.enter_context(torch.set_grad_enabled(bool(layers or wanted)))
        for handle in (*recording.attach(), *hooks.attach(model, bool(wanted), Need.FEATURES in needs)):
            stack.callback(handle.remove)
        shared = per_example_positions(model, len(labels) if layers else None)
        with precision.autocast(labels.device.type, autocast), shared, explained(model):
            logits = _logits(model(**inputs))
        _check_labels(labels, logits)
        with explained(model):
            gradients, embedding = _backwards(logits, labels, recording, hooks, wanted)
    with torch.no_grad():
        norms, dots = recording.measure(gradients, Need.GRAD_NORMS in needs, directions)
        return Artifacts(
            labels=labels,
            mask=_mask(inputs),
            logits=widened(logits.detach()),
            features=hooks.features(model, inputs, logits) if Need.FEATURES in needs else None,
            grad_norms=norms,
            embedding_grads={name: hooks.real(found) for name, found in embedding.items()},
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
    """Return the artifacts `seen` with gradient norms and dot products from the loop, as far as they are needed."""
    with _still(model, freeze=False), explained(model):
        norms, dots = loop_gradients(model, inputs, seen.labels, directions=directions, autocast=autocast)
    return replace(seen, grad_norms=norms if Need.GRAD_NORMS in needs else None, grad_dots=dots)


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


_GRADIENTS = Need.GRAD_NORMS | Need.GRAD_DOTS


@contextmanager
def _still(model: nn.Module, freeze: bool = True) -> Iterator[None]:
    """Hold a model in eval mode, by default with frozen parameters; restore modes and `requires_grad` flags at the end.

    Modes are restored module by module: some users keep parts of a model in eval mode while they train the rest.
    """
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
    """Return the logits [B, C] of a model's output, which is a tensor or an object with `logits`."""
    found: Tensor = output if isinstance(output, Tensor) else output.logits
    return found


# Models that passed `_prove`, with the names of the layers that were checked. Weak keys: a cache entry must not keep a
# model in memory.
_PROVEN: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


def _prove(model: nn.Module, layers: Sequence[TrainableLayer], inputs: dict[str, Tensor]) -> None:
    """Refuse a model whose layers mix examples or whose parameters are used outside their layer; once per model.

    Runs one forward of one example with two tokens or more. With one example, a first axis of another kind (tokens,
    entries of a table) has a length other than 1 and is refused; in a larger mini-batch that axis could happen to be as
    long as the mini-batch. The same forward compares logits with and without `per_example_positions`.
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
        # `model.forward` skips hooks that users registered on the model: this forward is a check, not a visit.
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
    logits: Tensor, labels: Tensor, recording: Recording, hooks: ForwardHooks, objectives: frozenset[str]
) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
    """Run one backward per objective.

    Returns:
        The gradients of the summed loss at the recorded layer outputs (in the order of `recording.outputs()`; empty
        without layers), and objective -> gradient [B, T, D] of the summed objective at the embedding output.
    """
    outputs = recording.outputs()
    layers: Sequence[Tensor] = ()
    embedding: dict[str, Tensor] = {}
    runs = sorted(objectives | {"loss"} if outputs else objectives)
    for objective in runs:
        targets = list(outputs) if objective == "loss" else []
        if objective in objectives and hooks.embedding is not None:
            targets.append(hooks.embedding)
        total = GRADIENT_OBJECTIVES[objective](logits, labels).sum()
        # All objectives share one forward, so the graph is kept until the last backward. The backward of `loss` serves
        # GRAD_NORMS, GRAD_DOTS and the embedding gradient of the loss together.
        more = objective != runs[-1]
        # An output that does not influence the objective has a gradient of zeros, not None.
        found = torch.autograd.grad(total, targets, retain_graph=more, allow_unused=True, materialize_grads=True)
        if objective in objectives:
            embedding[objective] = widened(found[-1])
        if objective == "loss":
            layers = found[: len(outputs)]
    return layers, embedding


def _check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise ScoreError unless every label is an index into the model's classes."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise ScoreError(
            f"the labels lie between {low} and {high}, but the model has the classes 0 to {logits.shape[1] - 1}",
            "score a corpus with the labels that the model was fine-tuned on",
        )


def _mask(inputs: dict[str, Tensor]) -> Tensor:
    """Return the mask [B, T], True at real tokens; a model without an attention mask sees only real tokens."""
    mask = inputs.get("attention_mask")
    return torch.ones_like(inputs["input_ids"], dtype=torch.bool) if mask is None else mask.bool()
