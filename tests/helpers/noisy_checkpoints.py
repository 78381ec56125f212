"""The checkpoints of a run that was none: a random model, and the same with more and more noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raysample import models
from raysample.core.config import ModelConfig
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus


def write_noisy_checkpoints(
    folder: Path,
    spec: ModelConfig,
    corpus: Corpus,
    count: int,
    seed: int = 0,
    change: Callable[[nn.Module, Any], None] | None = None,
) -> CheckpointSet:
    """Write `count` sealed checkpoints; each is the one before it with noise of a tenth of each weight's mean size.

    Args:
        folder: of the checkpoints and their manifest.
        spec, corpus: the model's sizes, and the texts and classes that its vocabulary and outputs are for.
        count: of the checkpoints.
        seed: of the weights and of the noise.
        change: changes the network before each saving; gets the tokenizer, too.
    """
    base = models.prepare_base(spec, corpus, str(folder / "base"))
    network, tokenizer = models.build_model(base, spec, corpus.labels, seed), models.tokenizer(base)
    draw, checkpoints = torch.Generator().manual_seed(seed), list[Checkpoint]()
    for step in range(1, count + 1):
        with torch.no_grad():
            for weight in network.parameters():
                size = weight[weight.isfinite()].abs().mean()  # `change` may have made weights infinite
                weight.add_(0.1 * size * torch.randn(weight.shape, generator=draw))
            if change is not None:
                change(network, tokenizer)
        place = folder / f"step-{step}"
        models.save_model(network, tokenizer, place)
        checkpoint_set.seal_checkpoint(place)
        checkpoints.append(Checkpoint(str(place), step=step, epoch=float(step), learning_rate=1e-3))
    config = {"model": spec.to_dict()}
    return CheckpointSet(tuple(checkpoints), corpus.labels, seed, config=config).save(str(folder))
