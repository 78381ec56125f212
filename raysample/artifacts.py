"""One visit of one mini-batch to one model: one forward, the backwards that the scores need, and no weight gradient.

The parameters are frozen for the visit and the graph starts at the first layer whose output gradient is asked for, so
autograd never goes further down, and never sideways into a weight. Losses are summed, never averaged: an example's
gradient does not depend on the rest of its mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from raysample.errors import ScoreError, UnsupportedModelError
from raysample.numerics import precision
from raysample.numerics.predictions import cross_entropies, gold_logits, gold_probabilities, widened
from raysample.numerics.recording import Recording, trainable_layers


class Need(Flag):
    """What a score needs from a visit, cheapest first; the union over the scores decides the work.

    LOGITS: one forward. FEATURES: the classifier's input, free with the forward. GRAD_NORMS: one backward of the summed
    loss. EMBEDDING_GRADS: one backward per objective, down to the embedding output (`loss` shares that of GRAD_NORMS).
    """

    LOGITS = auto()
    FEATURES = auto()
    GRAD_NORMS = auto()
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
        features: [B, H] inputs of the last linear layer.
        grad_norms: [B] Euclidean norm of the gradient of each example's loss (nats) over all trainable parameters.
        embedding_grads: objective -> [B, T, D] gradient with respect to the output of the embedding layer.
    """

    labels: Tensor
    mask: Tensor
    logits: Tensor
    features: Tensor | None = None
    grad_norms: Tensor | None = None
    embedding_grads: dict[str, Tensor] = field(default_factory=dict)


def collect(
    model: nn.Module,
    inputs: dict[str, Tensor],
    labels: Tensor,
    needs: Need,
    objectives: frozenset[str] = frozenset(),
    *,
    autocast: torch.dtype | None = None,
) -> Artifacts:
    """Visit a model with one mini-batch: one forward, and one backward per distinct objective.

    (For gradient norms of a mini-batch with as many examples as tokens these are two visits, of its first example and
    of the others: no layer can then take the axis of the tokens for that of the examples unnoticed.)

    The model runs in eval mode with frozen parameters and is given back as it came. The parameters that count for
    GRAD_NORMS are those with `requires_grad` on entry, so layers that the user froze are left out.

    Args:
        model: returns the logits [B, C], or an object with them as `.logits`; lies where the inputs lie.
        inputs: keyword arguments of the model: `input_ids` [B, T], `attention_mask` [B, T], ...
        labels: [B] int64.
        needs: what to compute.
        objectives: for EMBEDDING_GRADS, names out of OBJECTIVES.
        autocast: lower precision of the forward and the backward; norms are summed in float32 at least all the same.

    Raises:
        UnsupportedModelError: the model has no exact gradient rule for what is asked; the message names the module.
        ScoreError: a label is not among the model's classes.
    """
    if Need.GRAD_NORMS in needs and len(labels) == _mask(inputs).shape[1] > 1:
        # As many examples as tokens: a tensor [T, T] of some layer could pass for one of B rows. Not in two pieces.
        cuts = (slice(None, 1), slice(1, None))
        pieces = [({name: value[cut] for name, value in inputs.items()}, labels[cut]) for cut in cuts]
        return join([collect(model, *piece, needs, objectives, autocast=autocast) for piece in pieces])
    norms = Recording(trainable_layers(model) if Need.GRAD_NORMS in needs else (), len(labels))
    taps = _Taps(len(labels))
    wanted = objectives if Need.EMBEDDING_GRADS in needs else frozenset()
    with ExitStack() as stack:
        stack.enter_context(_frozen(model))
        stack.enter_context(torch.set_grad_enabled(bool(norms.layers or wanted)))
        for handle in (*norms.attach(), *taps.attach(model, needs)):
            stack.callback(handle.remove)
        with precision.autocast(labels.device.type, autocast), norms.watch(model):
            output = model(**inputs)
        logits = output if isinstance(output, Tensor) else output.logits
        _check_labels(labels, logits)
        layers, embedding = _backwards(logits, labels, norms, taps, wanted)
    with torch.no_grad():
        return Artifacts(
            labels=labels,
            mask=_mask(inputs),
            logits=widened(logits.detach()),
            features=taps.features,
            grad_norms=norms.norms(layers) if norms.layers else None,
            embedding_grads=embedding,
        )


def join(parts: Sequence[Artifacts]) -> Artifacts:
    """Return the artifacts of consecutive pieces of one mini-batch, which must hold the same things, as one."""

    def joined(pick: Callable[[Artifacts], Tensor | None]) -> Tensor | None:
        found = [value for part in parts if (value := pick(part)) is not None]
        return torch.cat(found) if found else None

    return Artifacts(
        labels=torch.cat([part.labels for part in parts]),
        mask=torch.cat([part.mask for part in parts]),
        logits=torch.cat([part.logits for part in parts]),
        features=joined(lambda part: part.features),
        grad_norms=joined(lambda part: part.grad_norms),
        embedding_grads={
            name: torch.cat([part.embedding_grads[name] for part in parts]) for name in parts[0].embedding_grads
        },
    )


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


def embedding_module(model: nn.Module) -> nn.Module:
    """Return the embeddings module of a transformers encoder: its tables, their sum, and the LayerNorm over it.

    For ELECTRA this is the output before `embeddings_project`. Raises UnsupportedModelError where there is none.
    """
    found = getattr(getattr(model, "base_model", None), "embeddings", None)
    if not isinstance(found, nn.Module):
        raise _no_site(f"{type(model).__name__} has no module `base_model.embeddings`")
    return found


def classifier(model: nn.Module) -> nn.Linear:
    """Return the last linear layer, which makes the logits; raises UnsupportedModelError where there is none."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no linear layer that could be its classifier",
            "leave out the scores that need the classifier's input",
        )
    return linear[-1]


class _Taps:
    """What passes the embedding output and the classifier's input in one forward of `examples` examples."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.embedding: Tensor | None = None
        self.features: Tensor | None = None

    def attach(self, model: nn.Module, needs: Need) -> Iterator[RemovableHandle]:
        if Need.EMBEDDING_GRADS in needs:
            yield embedding_module(model).register_forward_hook(self._at_embedding)
        if Need.FEATURES in needs:
            yield classifier(model).register_forward_pre_hook(self._at_classifier)

    def _at_embedding(self, module: nn.Module, _args: Any, output: Any) -> Tensor:
        fits = isinstance(output, Tensor) and output.dim() == 3 and len(output) == self.examples
        if self.embedding is not None or not fits:
            raise _no_site(f"{type(module).__name__} does not give one tensor [batch, tokens, dims], once")
        self.embedding = output if output.requires_grad else output.detach().requires_grad_(True)
        return self.embedding

    def _at_classifier(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        self.features = widened(args[0].detach())


def _no_site(problem: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"embedding gradients: {problem}",
        "use a BERT, RoBERTa, DistilBERT or ELECTRA encoder, or leave out the scores that need them (such as `vog`)",
    )


def _backwards(
    logits: Tensor, labels: Tensor, norms: Recording, taps: _Taps, objectives: frozenset[str]
) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
    """Return the gradients of the summed loss at the layers, and of each summed objective at the embeddings."""
    outputs = norms.outputs()
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
