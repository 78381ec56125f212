"""What a peer is, and the truth that it is held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.peers.workload import Batch, Work

TOLERANCE = 1e-4
"""The largest relative error of numbers that count as right."""
Norms = Callable[[], Tensor]
Counts = Literal["all", "linear", "classifier weight"]


@dataclass(frozen=True)
class Peer:
    """One way to per-example gradient norms.

    Attributes:
        name: how tables call it.
        modules: what must be importable; none for what comes with torch.
        distribution: the package's name for its version.
        counts: which parameters its norm is taken over.
        build: makes the function that is timed.
    """

    name: str
    modules: tuple[str, ...]
    distribution: str
    counts: Counts
    build: Callable[[Work], Norms]


def linear_names(model: nn.Module) -> list[str]:
    """Return the names of the linear layers of a model."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def summed_loss(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Return the cross-entropy (nats), summed over the mini-batch."""
    return functional.cross_entropy(model(**inputs).logits, labels, reduction="sum")


def squares(model: nn.Module, singles: Sequence[Batch]) -> dict[str, NDArray[np.float64]]:
    """Return, parameter by parameter, the squared norm [rows] of each row's gradient, row after row, no padding."""
    named = dict(model.named_parameters())
    found = {name: np.empty(len(singles)) for name in named}
    for row, (inputs, label) in enumerate(singles):
        gradients = torch.autograd.grad(summed_loss(model, inputs, label), list(named.values()))
        for name, gradient in zip(named, gradients, strict=True):
            found[name][row] = float(gradient.double().square().sum())
    return found


def truth(found: dict[str, NDArray[np.float64]], model: nn.Module, counts: Counts) -> NDArray[np.float64]:
    """Return each row's gradient norm [rows] over the parameters that count, from what `squares` gave."""
    names = list(found)
    if counts == "linear":
        names = [f"{layer}.{kind}" for layer in linear_names(model) for kind in ("weight", "bias")]
    if counts == "classifier weight":
        names = [f"{linear_names(model)[-1]}.weight"]
    total: NDArray[np.float64] = np.sqrt(np.sum([found[name] for name in names], axis=0))
    return total


def relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Return max |found - expected| / |expected|; infinite where a value is not a number."""
    error = float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-12)))
    return error if np.isfinite(error) else np.inf


def try_peer(
    peer: Peer, work: Work, found: dict[str, NDArray[np.float64]]
) -> tuple[dict[str, Any], Callable[[], object] | None]:
    """Build and run a peer once; return what came of it, and how to run it again (None: do not).

    Args:
        peer, work: the peer, and the rows and the model that it gets.
        found: what `squares` gave for the work.
    """
    about: dict[str, Any] = {"name": peer.name, "counts": peer.counts}
    if any(util.find_spec(module) is None for module in peer.modules):
        return {**about, "state": "not installed"}, None
    try:
        run = peer.build(work)
        wall, cpu = time.perf_counter(), time.process_time()
        norms = run().detach().double().numpy()
        about["first_seconds"] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    except Exception as error:
        return {**about, "state": f"failed: {type(error).__name__}: {str(error)[:200]}"}, None
    about["relative_error"] = relative_error(norms, truth(found, work.model, peer.counts))
    if about["relative_error"] > TOLERANCE:
        return {**about, "state": "wrong numbers, not timed"}, None
    return {**about, "state": "same quantity" if peer.counts == "all" else "different quantity"}, run


class Tuples(nn.Module):
    """A classifier that takes the inputs of a mini-batch as positional tensors and returns the logits alone."""

    NAMES = ("input_ids", "attention_mask", "token_type_ids", "position_ids")

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *values: Tensor) -> Tensor:
        """Return the logits [B, C]."""
        logits: Tensor = self.model(**dict(zip(self.NAMES, values, strict=True))).logits
        return logits

    @classmethod
    def of(cls, batch: Batch) -> tuple[Tensor, ...]:
        """Return a mini-batch in the order of NAMES, the labels last."""
        inputs, labels = batch
        return (*(inputs[name] for name in cls.NAMES), labels)
