"""All that the next step of a run depends on, as tensors and plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from raysample.training.curve import TrainingCurve
from raysample.training.distributed import gather_full, shard_like

WEIGHTS, MOMENTS = "weights/", "optimiser/"


@dataclass(frozen=True)
class Snapshot:
    """The state of a run after `step` steps, whole and on the CPU, however many workers there were.

    Attributes:
        step: steps that were made.
        tensors: `weights/NAME`, and `optimiser/NAME/WHAT` of every parameter.
        scaler: state of the loss scale; empty unless float16.
        curve: the steps so far.
        history: the metric of early stopping after each epoch so far.
    """

    step: int
    tensors: dict[str, Tensor]
    scaler: dict[str, Any]
    curve: TrainingCurve
    history: list[float] = field(default_factory=list)


def tensors(core: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return weights and optimiser state by name; every worker must call it where the model is sharded."""
    found = {WEIGHTS + name: gather_full(value) for name, value in core.state_dict().items()}
    for name, parameter in core.named_parameters():
        for what, value in optimiser.state.get(parameter, {}).items():
            found[f"{MOMENTS}{name}/{what}"] = gather_full(value)
    return found


def restore(core: nn.Module, optimiser: torch.optim.Optimizer, found: dict[str, Tensor]) -> None:
    """Put what `tensors` returned back, also into shards of another number of workers.

    `like` cuts a tensor into shards by a collective call, so that all workers must come to the tensors in one order.
    The order of `found` differs: a reader of safetensors returns the keys in an order of its own in each process.
    """
    with torch.no_grad():
        for name, value in core.state_dict().items():
            value.copy_(shard_like(found[WEIGHTS + name], value))
    for name, parameter in core.named_parameters():
        start = f"{MOMENTS}{name}/"
        held = {key.removeprefix(start): found[key] for key in sorted(found) if key.startswith(start)}
        if held:
            # The count of steps is one number; the moments have the shape, and the shards, of their parameter.
            optimiser.state[parameter] = {
                what: shard_like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
                for what, value in held.items()
            }
