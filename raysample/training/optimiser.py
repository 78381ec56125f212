"""The optimiser, and the learning rate of every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from raysample.config import FineTuneConfig


def learning_rate(step: int, total: int, config: FineTuneConfig) -> float:
    """Return the encoder's learning rate for 0-based `step`: linear warm-up, then linear decay to 0 or constant."""
    warm = round(config.warmup * total)
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (total - step) / max(1, total - warm)


def adamw(model: nn.Module, config: FineTuneConfig) -> torch.optim.Optimizer:
    """Return AdamW over the parameters that are trained: the head apart, no decay of vectors."""
    core: Any = getattr(model, "module", model)
    prefix = f"{core.base_model_prefix}."
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in core.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith(prefix), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "head": not encoder, "weight_decay": config.weight_decay if matrix else 0.0}
            for (encoder, matrix), members in groups.items()
        ],
        lr=config.learning_rate,
        # One pass over memory instead of several: five times as fast on a CPU for a 22 M encoder.
        fused=True,
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float, config: FineTuneConfig) -> None:
    """Set the encoder's rate, and the head's in proportion."""
    head = (config.head_learning_rate or config.learning_rate) / config.learning_rate
    for group in optimiser.param_groups:
        group["lr"] = rate * head if group["head"] else rate
