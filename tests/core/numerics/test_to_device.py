"""Mini-batches go to a GPU from pinned memory and without waiting; elsewhere they stay what they are."""

from __future__ import annotations

from typing import Any

import torch

from raysample.core.numerics.to_device import moved


class Recorded:
    """Stands for a tensor: keeps how it was moved, as no GPU is here to move one to."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def pin_memory(self) -> Recorded:
        self.calls.append("pinned")
        return self

    def to(self, device: str, non_blocking: bool = False) -> Recorded:
        self.calls.append((device, non_blocking))
        return self


def test_a_gpu_gets_pinned_tensors_without_waiting() -> None:
    tensor = Recorded()
    assert moved({"input_ids": tensor}, "cuda:1") == {"input_ids": tensor}  # type: ignore[dict-item]
    assert tensor.calls == ["pinned", ("cuda:1", True)]


def test_a_cpu_gets_them_as_they_are() -> None:
    tensors = {"input_ids": torch.arange(6).reshape(2, 3), "attention_mask": torch.ones(2, 3)}
    found = moved(tensors, "cpu")
    assert list(found) == list(tensors)
    assert all(found[name] is tensors[name] for name in tensors)
