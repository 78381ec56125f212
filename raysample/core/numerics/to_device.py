"""Mini-batches on their way to a device."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def moved(tensors: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    """Return tensors on a device: to a GPU from pinned memory, so that the copies run while it works on.

    The pinned memory is given back when the copies are done; torch's allocator sees to that.
    """
    if device.startswith("cuda"):
        return {name: value.pin_memory().to(device, non_blocking=True) for name, value in tensors.items()}
    return {name: value.to(device) for name, value in tensors.items()}
