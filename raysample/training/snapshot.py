"""The state of a training run after a step: everything the next step depends on, as tensors and plain data."""

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
    """The state of a run after `step` steps, complete and on the CPU, independent of the number of workers.

    Attributes:
        step: number of steps made.
        tensors: `weights/NAME` for every weight, `optimiser/NAME/WHAT` for the optimiser state of every parameter, and
            with InfoBatch `rows/WHAT` for the losses of the rows.
        scaler: state of the loss scaler; empty unless training runs in float16.
        curve: the steps so far.
        history: the metric of early stopping after each epoch so far.
    """

    step: int
    tensors: dict[str, Tensor]
    scaler: dict[str, Any]
    curve: TrainingCurve
    history: list[float] = field(default_factory=list)


def tensors(core: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return weights and optimiser state by name, unsharded; a collective call if the model is sharded."""
    found = {WEIGHTS + name: gather_full(value) for name, value in core.state_dict().items()}
    for name, parameter in core.named_parameters():
        for what, value in optimiser.state.get(parameter, {}).items():
            found[f"{MOMENTS}{name}/{what}"] = gather_full(value)
    return found


def restore(core: nn.Module, optimiser: torch.optim.Optimizer, found: dict[str, Tensor]) -> None:
    """Load the result of `tensors` back, also into shards of another number of workers.

    `shard_like` is a collective call for a sharded tensor, so all workers must process the tensors in the same order.
    The order of `found` is not that order: a safetensors reader returns keys in an arbitrary order per process.
    """
    # In the order of the model, which is the same on all workers.
    with torch.no_grad():
        for name, value in core.state_dict().items():
            value.copy_(shard_like(found[WEIGHTS + name], value))
    for name, parameter in core.named_parameters():
        start = f"{MOMENTS}{name}/"
        held = {key.removeprefix(start): found[key] for key in sorted(found) if key.startswith(start)}
        if held:
            # The step count is a scalar; the moments have the shape, and so the shards, of their parameter.
            optimiser.state[parameter] = {
                what: shard_like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
                for what, value in held.items()
            }
