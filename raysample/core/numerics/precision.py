"""The arithmetic of forwards and backwards, and the autocast context for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# Hidden size below which casts cost more time than bf16 matrix units save.
WORTH_CASTING = 256


def resolve(
    precision: Literal["auto", "float32", "bfloat16", "float16"], model: nn.Module, device: str
) -> torch.dtype | None:
    """Return torch.bfloat16 or torch.float16 for mixed precision, or None for plain float32.

    `auto` selects bfloat16 if the hardware multiplies it natively and the model is wide enough to gain from it.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float16":
        return torch.float16
    widest = max((max(p.shape) for p in model.parameters() if p.ndim == 2), default=0)
    hidden = getattr(getattr(getattr(model, "module", model), "config", None), "hidden_size", widest)
    return torch.bfloat16 if native_bfloat16(device) and hidden >= WORTH_CASTING else None


def device() -> str:
    """Return the device for this process: `cuda` if available, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def native_bfloat16(device: str) -> bool:
    """Return whether a device has bf16 matrix units (CUDA from Ampere on; CPUs with AMX or AVX512-BF16)."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@contextmanager
def autocast(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Run the block under autocast to a dtype; None runs it unchanged.

    On CPUs the fused attention has a slow backward in bfloat16 (ten times that of float32 in torch 2.13, half of a
    training step of MiniLM), so the plain attention is used there.
    """
    if dtype is None:
        yield
        return
    kind = device.partition(":")[0]
    with torch.autocast(kind, dtype=dtype), sdpa_kernel(SDPBackend.MATH) if kind == "cpu" else nullcontext():
        yield
