"""One visit of one mini-batch at one model: one forward, the backwards that the scores need, and no weight gradient.

All parameters are frozen during the visit and the graph starts at the first layer whose output gradient is required:
autograd goes no further down than that layer and computes no weight gradient. Losses are summed, never averaged, so an
example's gradient does not depend on the other examples of its mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from raysample.core.errors import ScoreError
from raysample.core.numerics import precision
from raysample.core.numerics.forward_hooks import ForwardHooks
from raysample.core.numerics.predictions import widened
from raysample.influence.visits.artifacts import GRADIENT_OBJECTIVES, Artifacts, Need
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

NO_DIRECTIONS: Directions = MappingProxyType({})
_GRADIENTS = Need.GRAD_NORMS | Need.GRAD_DOTS


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
        artifacts = collect(model, inputs, labels, needs & ~_GRADIENTS | Need.LOGITS, objectives, autocast=autocast)
        return _looped(model, inputs, artifacts, needs, directions, autocast)
    # Before `_still`: which parameters count is decided by `requires_grad` on entry.
    layers = trainable_layers(model) if directions or Need.GRAD_NORMS in needs else []
    wanted = objectives if Need.EMBEDDING_GRADS in needs else frozenset()
    visit = _Visit(model, inputs, labels, layers, wanted, Need.FEATURES in needs)
    logits, gradients, embedding = visit.run(autocast)
    with torch.no_grad():
        norms, dots = visit.recording.measure(gradients, Need.GRAD_NORMS in needs, directions)
        return Artifacts(
            labels=labels,
            mask=_mask(inputs),
            logits=widened(logits.detach()),
            features=visit.hooks.features(model, inputs, logits) if Need.FEATURES in needs else None,
            grad_norms=norms,
            embedding_grads={name: visit.hooks.real(gradient) for name, gradient in embedding.items()},
            grad_dots=dots,
        )


@dataclass
class _Visit:
    """The forward and the backwards of one mini-batch.

    Attributes:
        layers: the layers whose inputs and output gradients are recorded; none without gradients over parameters.
        objectives: the objectives whose gradients at the embedding output are wanted.
        features: whether the inputs of the last linear layer are wanted.
        recording, hooks: what the layers and the embedding saw.
    """

    model: nn.Module
    inputs: dict[str, Tensor]
    labels: Tensor
    layers: Sequence[TrainableLayer]
    objectives: frozenset[str]
    features: bool

    def __post_init__(self) -> None:
        self.recording = Recording(self.layers, len(self.labels))
        self.hooks = ForwardHooks(len(self.labels), self.inputs.get("input_ids"))

    def run(self, autocast: torch.dtype | None) -> tuple[Tensor, Sequence[Tensor], dict[str, Tensor]]:
        """Return the logits [B, C], and the gradients as `_backwards` returns them."""
        with ExitStack() as stack:
            stack.enter_context(_still(self.model))
            if self.layers:
                _prove(self.model, self.layers, self.inputs)
            stack.enter_context(torch.set_grad_enabled(bool(self.layers or self.objectives)))
            for handle in (
                *self.recording.attach(),
                *self.hooks.attach(self.model, bool(self.objectives), self.features),
            ):
                stack.callback(handle.remove)
            positions = per_example_positions(self.model, len(self.labels) if self.layers else None)
            with precision.autocast(self.labels.device.type, autocast), positions, explained(self.model):
                logits = _logits(self.model(**self.inputs))
            _check_labels(self.labels, logits)
            with explained(self.model):
                gradients, embedding = _backwards(logits, self.labels, self.recording, self.hooks, self.objectives)
        return logits, gradients, embedding


def _looped(
    model: nn.Module,
    inputs: dict[str, Tensor],
    artifacts: Artifacts,
    needs: Need,
    directions: Directions,
    autocast: torch.dtype | None,
) -> Artifacts:
    """Return artifacts with the gradient norms and dot products of the loop, as far as they are needed."""
    with _still(model, freeze=False), explained(model):
        norms, dots = loop_gradients(model, inputs, artifacts.labels, directions=directions, autocast=autocast)
    return replace(artifacts, grad_norms=norms if Need.GRAD_NORMS in needs else None, grad_dots=dots)


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
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


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
        gradients = torch.autograd.grad(total, targets, retain_graph=more, allow_unused=True, materialize_grads=True)
        if objective in objectives:
            embedding[objective] = widened(gradients[-1])
        if objective == "loss":
            layers = gradients[: len(outputs)]
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
