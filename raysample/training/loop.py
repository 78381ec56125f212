"""The step and the loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.config import FineTuneConfig
from raysample.errors import TrainingError
from raysample.numerics.precision import autocast, resolve
from raysample.training.examples import Examples, batch
from raysample.training.layout import Place, Plan
from raysample.training.levels import summed
from raysample.training.optimiser import adamw, learning_rate, set_rate
from raysample.training.order import batches

IntArray = NDArray[np.int64]


def train(
    model: nn.Module,
    data: Examples,
    config: FineTuneConfig,
    layout: Plan,
    place: Place = Place(),
    *,
    save: Callable[[int, float], None] | None = None,
    progress: Callable[[int, float], None] | None = None,
    capture: Callable[[IntArray, Tensor, int], None] | None = None,
) -> None:
    """Fine-tune `model` in place.

    Args:
        model: a sequence classifier, wrapped in DDP when `place.world` > 1.
        data: all training rows; each worker takes its share of every global batch.
        config: the recipe.
        layout: from `plan`.
        place: this worker.
        save: called as save(step, learning rate of that step) after the steps of `layout.save_at`.
        progress: called as progress(step, training loss of this worker's share) after every step.
        capture: called as capture(rows, logits, step) after every step: the positions of this worker's rows in its
            batch, possibly none, and the float32 logits [rows, C] of the forward that the step is made from.
    """
    optimiser = adamw(model, config)
    dtype = resolve(config.precision, model, place.device)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed * 1_000_003 + place.rank)
        lengths = data.encoded.lengths if config.group_by_length else None
        for step, rows in enumerate(batches(len(data), config.batch_size, config.seed, layout.steps, lengths)):
            rate = learning_rate(step, layout.steps, config)
            set_rate(optimiser, rate, config)
            loss, logits = _step(model, optimiser, data, rows, place, dtype, config.max_grad_norm)
            if capture is not None:
                capture(place.share(rows), logits, step + 1)
            if progress is not None:
                progress(step + 1, loss)
            if save is not None and step + 1 in layout.save_at:
                save(step + 1, rate)


def _step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Examples,
    rows: IntArray,
    place: Place,
    dtype: torch.dtype | None,
    max_norm: float,
) -> tuple[float, Tensor]:
    """Make one step; returns the worker's mean loss, and its rows' logits [rows, C] from before the step, float32."""
    mine = place.share(rows)
    # A worker without a row in a short last batch still takes part in the all-reduce, with a loss of weight zero.
    weight = float(len(mine) > 0)
    mine = mine if weight else rows[:1]
    inputs, labels = batch(data, mine, place.device)
    with autocast(place.device, dtype):
        logits = model(**inputs).logits.float()
    loss = _loss(logits, labels, data, mine) * weight
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss * (place.world / len(rows)))
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimiser.step()
    value = loss.item() / len(mine)
    if not math.isfinite(value):
        raise TrainingError(
            f"the training loss became {value}", "lower fine_tune.learning_rate or use precision float32"
        )
    return value, logits.detach()[: len(mine) if weight else 0]


def _loss(logits: Tensor, labels: Tensor, data: Examples, rows: IntArray) -> Tensor:
    """Return Σ w ℓ over some rows; of several levels, summed over them."""
    if data.levels is not None:
        one = replace(data, levels=None)
        return summed(lambda z, y: _loss(z, y, one, rows), logits, data.levels, rows)
    if data.weights is None:
        return nn.functional.cross_entropy(logits, labels, reduction="sum")
    weights = torch.from_numpy(data.weights[rows]).to(logits.device)
    return (nn.functional.cross_entropy(logits, labels, reduction="none") * weights).sum()
