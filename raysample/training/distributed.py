"""Several workers on one model: replicas that add up their gradients, or shards of it (FSDP2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from raysample.training.schedule import DistributedContext

LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.\d+$")


def wrap_model(core: nn.Module, place: DistributedContext, sharded: bool) -> nn.Module:
    """Return the module that is trained: the plain one for one worker, else replicas, or shards of every layer."""
    if sharded and is_distributed(place):
        return _sharded(core, place)
    core.to(place.device)
    if not is_distributed(place):
        return core
    devices = [torch.device(place.device)] if place.device.startswith("cuda") else None
    # Buffers are the same everywhere (positions), or it is rank 0's that are saved: to send them before every forward
    # would let workers wait once more. Gradients that lie in the buckets they are sent in are not copied.
    return DistributedDataParallel(core, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def _sharded(core: nn.Module, place: DistributedContext) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    mesh = distributed.device_mesh.init_device_mesh(place.device.partition(":")[0], (place.world,))
    for name, module in core.named_modules():
        if LAYER.search(name):  # gathered, used and dropped again as a whole
            fully_shard(module, mesh=mesh)
    fully_shard(core, mesh=mesh)
    return core


def is_distributed(place: DistributedContext) -> bool:
    """Tell whether there are other workers to agree with."""
    return place.world > 1 and distributed.is_initialized()


def synchronise(model: nn.Module, wanted: bool) -> None:
    """Say whether the next backward exchanges gradients: only the last one of a step has to."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = wanted
    elif hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(wanted)  # type: ignore[operator]  # FSDP2's


def summing(values: Tensor, place: DistributedContext) -> Callable[[], Tensor]:
    """Begin to add up some values over all workers; returns what waits for their sums and returns them.

    Right after a backward, which ends with all workers at one point, the sums are there before a step of the optimiser
    is over: nobody waits for anybody a second time.
    """
    if not is_distributed(place):
        return lambda: values
    work = distributed.all_reduce(values, async_op=True)

    def sums() -> Tensor:
        work.wait()
        return values

    return sums


def broadcast(value: Any, place: DistributedContext) -> Any:
    """Return what rank 0 has, on every worker."""
    if not is_distributed(place):
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather_full(value: Tensor) -> Tensor:
    """Return a copy of a tensor on the CPU, gathered from all workers where it is sharded (then all must call it)."""
    gather = getattr(value, "full_tensor", None)  # of a DTensor, whose module is not loaded for nothing
    found: Tensor = value.detach() if gather is None else gather().detach()
    return found.to("cpu", copy=True)


def shard_like(value: Tensor, pattern: Tensor) -> Tensor:
    """Return a whole tensor on the device, and in the shards, of another one."""
    value = value.to(pattern.device)
    if not hasattr(pattern, "placements"):
        return value
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = pattern
    return distribute_tensor(value, sharded.device_mesh, sharded.placements)
