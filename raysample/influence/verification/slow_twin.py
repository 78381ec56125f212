"""The slow twin of a visit: one example, one forward, and plain `torch.autograd.grad` for every need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from raysample.core.errors import ScoreError, UnsupportedModelError
from raysample.core.numerics.forward_hooks import check_padded_inside, classifier, embedding_module, require_grad
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.influence.visits.model_errors import explained
from raysample.influence.visits.per_sample_gradients import Directions


def collect_slowly(
    model: nn.Module,
    inputs: dict[str, Tensor],
    labels: Tensor,
    needs: Need,
    objectives: frozenset[str] = frozenset(),
    *,
    directions: Directions | None = None,
) -> Artifacts:
    """Return the artifacts of one example, in the precision of the model.

    Args:
        model: a classifier in eval mode; gradients are over its parameters with `requires_grad`.
        inputs: one row without padding: `input_ids` [1, T] and the other inputs of the model.
        labels, needs: label of the row [1]; what to compute.
        objectives: for EMBEDDING_GRADS: `logit`, `probability`, `loss`.
        directions: for GRAD_DOTS, reference -> parameter name -> [M, *shape of the parameter].

    Raises:
        ScoreError: more than one row was given.
        UnsupportedModelError: a need requires an embedding output or classifier that the model does not have.
    """
    if len(labels) != 1:
        raise ScoreError(f"the slow twin looks at one row at a time, not at {len(labels)}", "call it once per row")
    passed: dict[str, Tensor] = {}
    with ExitStack() as stack, torch.enable_grad():
        for handle in _watch(model, inputs["input_ids"], needs, passed):
            stack.callback(handle.remove)
        with explained(model):
            output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    norm, dots = _parameter_gradients(model, logits, labels, needs, directions or {})
    return Artifacts(
        labels=labels,
        mask=torch.ones_like(inputs["input_ids"], dtype=torch.bool),
        logits=logits.detach(),
        features=_features(passed, logits) if Need.FEATURES in needs else None,
        grad_norms=norm,
        embedding_grads={
            name: found[:, : inputs["input_ids"].shape[1]]
            for name, found in _embedding_gradients(passed, logits, labels, objectives, needs).items()
        },
        grad_dots=dots,
    )


def objective_value(objective: str, logits: Tensor, label: Tensor) -> Tensor:
    """Return z_y, p_y or -ln p_y of one row's logits [C]."""
    if objective == "logit":
        return logits[label]
    return logits.softmax(0)[label] if objective == "probability" else -logits.log_softmax(0)[label]


def _watch(model: nn.Module, ids: Tensor, needs: Need, passed: dict[str, Tensor]) -> Iterator[RemovableHandle]:
    """Register hooks that store embedding output, classifier input and classifier output in `passed`."""

    def at_embedding(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        """Store the embedding output, [1, T, D], and make it require a gradient."""
        check_padded_inside(module, ids, (*args, *kwargs.values()), output)
        passed["embedding"], given = require_grad(output)
        return given

    def at_classifier(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        """Store input [1, H] and output [1, C] of the last linear layer."""
        passed["features"], passed["made"] = args[0].detach(), output.detach()

    if Need.EMBEDDING_GRADS in needs:
        yield embedding_module(model).register_forward_hook(at_embedding, with_kwargs=True)
    if Need.FEATURES in needs:
        yield classifier(model).register_forward_hook(at_classifier)


def _parameter_gradients(
    model: nn.Module, logits: Tensor, labels: Tensor, needs: Need, directions: Directions
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return the norm [1] of the loss's gradient, and its dot products [1, M] with the directions of each reference."""
    if not needs & (Need.GRAD_NORMS | Need.GRAD_DOTS):
        return None, {}
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    loss = objective_value("loss", logits[0], labels[0])
    found = torch.autograd.grad(loss, list(weights.values()), retain_graph=True, allow_unused=True)
    gradients = {name: g.flatten() for name, g in zip(weights, found, strict=True) if g is not None}
    norm = torch.cat(list(gradients.values())).norm()[None]
    dots = {
        key: torch.stack([given[name].to(g).flatten(1) @ g for name, g in gradients.items() if name in given]).sum(0)
        for key, given in directions.items()
    }
    return norm if Need.GRAD_NORMS in needs else None, {key: value[None] for key, value in dots.items()}


def _embedding_gradients(
    passed: dict[str, Tensor], logits: Tensor, labels: Tensor, objectives: frozenset[str], needs: Need
) -> dict[str, Tensor]:
    """Return objective -> gradient [1, T, D] of the objective at the embedding output."""
    if Need.EMBEDDING_GRADS not in needs:
        return {}
    return {
        objective: torch.autograd.grad(
            objective_value(objective, logits[0], labels[0]), passed["embedding"], retain_graph=True
        )[0]
        for objective in objectives
    }


def _features(passed: dict[str, Tensor], logits: Tensor) -> Tensor:
    """Return the input [1, H] of the last linear layer at the position whose logits the model returns.

    A decoder classifies every token and returns the logits of one; if several are equal, the last of them is taken.
    """
    given, made = passed["features"], passed["made"]
    width = given.shape[-1]
    same = (made.reshape(-1, logits.shape[1]) == logits.detach()).all(1).nonzero()
    if not len(same):
        raise UnsupportedModelError(
            "the logits are not the output of the model's last linear layer", "leave out the scores that need features"
        )
    return given.reshape(-1, width)[same[-1]]
