"""Several workers on one model: replicas that sum their gradients (DDP), or shards of the model (FSDP2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from raysample.training.schedule import DistributedContext

LAYER_MODULE = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.\d+$")


def wrap_model(core: nn.Module, context: DistributedContext, sharded: bool) -> nn.Module:
    """Return the module to train: the plain model for one worker, else a DDP replica or a sharded model.

    Moves the model to the device of `context`.
    """
    if sharded and is_distributed(context):
        return _sharded(core, context)
    core.to(context.device)
    if not is_distributed(context):
        return core
    devices = [torch.device(context.device)] if context.device.startswith("cuda") else None
    # Buffers are equal on all workers (positions), or only those of rank 0 are saved: broadcasting them before every
    # forward would make workers wait once more. Bucket views save one copy of the gradients.
    return DistributedDataParallel(core, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def _sharded(core: nn.Module, context: DistributedContext) -> nn.Module:
    """Shard every layer of the model, and the rest, over all workers."""
    from torch.distributed.fsdp import fully_shard

    mesh = distributed.device_mesh.init_device_mesh(context.device.partition(":")[0], (context.world,))
    for name, module in core.named_modules():
        if LAYER_MODULE.search(name):  # one unit: gathered, used and released together
            fully_shard(module, mesh=mesh)
    fully_shard(core, mesh=mesh)
    return core


def is_distributed(context: DistributedContext) -> bool:
    """Return whether there are other workers to communicate with."""
    return context.world > 1 and distributed.is_initialized()


def synchronise(model: nn.Module, wanted: bool) -> None:
    """Set whether the next backward exchanges gradients: only the last backward of a step has to."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = wanted
    elif hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(wanted)  # type: ignore[operator]  # FSDP2's


def summing(values: Tensor, context: DistributedContext) -> Callable[[], Tensor]:
    """Start to sum a tensor over all workers; return a function that waits for the sums and returns them.

    Started right after a backward, where all workers meet anyway, the sums arrive during the optimiser step: workers
    wait for each other once per step.
    """
    if not is_distributed(context):
        return lambda: values
    work = distributed.all_reduce(values, async_op=True)

    def sums() -> Tensor:
        """Wait for the all-reduce and return the sums."""
        work.wait()
        return values

    return sums


def broadcast(value: Any, context: DistributedContext) -> Any:
    """Return rank 0's value on every worker; a collective call."""
    if not is_distributed(context):
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather_full(value: Tensor) -> Tensor:
    """Return a copy of a tensor on the CPU, unsharded; a collective call if the tensor is sharded."""
    gather = getattr(value, "full_tensor", None)  # a DTensor; its module is not imported without need
    found: Tensor = value.detach() if gather is None else gather().detach()
    return found.to("cpu", copy=True)


def shard_like(value: Tensor, pattern: Tensor) -> Tensor:
    """Return a full tensor on the device and in the shards of `pattern`; a collective call if that is sharded."""
    value = value.to(pattern.device)
    if not hasattr(pattern, "placements"):
        return value
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = pattern
    return distribute_tensor(value, sharded.device_mesh, sharded.placements)
