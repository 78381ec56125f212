"""Copies of mini-batches to a device."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def moved(tensors: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    """Return tensors on a device; copies to a GPU start from pinned memory and overlap with its work.

    torch's caching allocator frees the pinned memory after the copies.
    """
    if device.startswith("cuda"):
        return {name: value.pin_memory().to(device, non_blocking=True) for name, value in tensors.items()}
    return {name: value.to(device) for name, value in tensors.items()}
