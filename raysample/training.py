"""The fine-tuning step and loop, plain torch: the same code in this process, in a Ray task and in a Ray Train worker.

The order of the global batches is a seeded permutation per epoch that does not depend on the number of workers, and
every row is seen exactly once per epoch. Losses are weighted where a selection says so, summed and divided by the
global batch, so the gradient is the same whichever worker holds which row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.config import FineTuneConfig
from raysample.errors import TrainingError
from raysample.evaluation import Evaluation, evaluate
from raysample.model import Encoded, pad
from raysample.numerics.batches import token_batches
from raysample.numerics.precision import autocast, resolve

IntArray = NDArray[np.int64]

# Batches that are sorted by length together when rows are grouped: enough to save padding, few enough to stay random.
WINDOW = 16


@dataclass(frozen=True)
class Examples:
    """Tokenised, labelled rows in memory: token ids per row, int64 labels [N], the tokenizer's padding id, row ids.

    `weights` [N] float32 are what the rows' losses are multiplied with, of mean 1; None for alike.
    """

    encoded: Encoded
    labels: IntArray
    pad_id: int
    ids: NDArray[np.object_]
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: IntArray) -> Examples:
        """Return some of the rows, in the given order."""
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.encoded.take(rows), self.labels[rows], self.pad_id, self.ids[rows], weights)

    def weighted(self, weights: NDArray[np.float32]) -> Examples:
        """Return the rows with weights [N], divided by their mean; as they are where all weights are equal.

        With mean 1 the size of a step does not depend on the share of rows that was kept.
        """
        if len(weights) == 0 or (weights == weights[0]).all():
            return self
        return replace(self, weights=(weights / weights.mean(dtype=np.float64)).astype(np.float32))


@dataclass(frozen=True)
class Plan:
    """The steps of a run and those after which a checkpoint is saved (1-based)."""

    steps_per_epoch: int
    steps: int
    save_at: tuple[int, ...]

    def epoch(self, step: int) -> float:
        """Return the fractional epoch after `step` steps."""
        return step / self.steps_per_epoch


@dataclass(frozen=True)
class Place:
    """Where a worker stands: its rank, the number of workers, and its device."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    def share(self, rows: IntArray) -> IntArray:
        """Return this worker's rows of a global batch, possibly none."""
        return rows[self.rank :: self.world]


def plan(rows: int, config: FineTuneConfig, steps: int | None = None) -> Plan:
    """Lay out a run: ⌈rows / batch⌉ steps an epoch; checkpoints at the configured cadence, ten over the run by default.

    Args:
        rows: training rows.
        config: the recipe.
        steps: a fixed number of steps instead of epochs (the comparison's `equal_steps`).
    """
    per_epoch = math.ceil(rows / config.batch_size)
    total = steps if steps is not None else per_epoch * config.epochs
    if config.checkpoint_every is not None:
        save = set(range(config.checkpoint_every, total + 1, config.checkpoint_every)) | {total}
    else:
        count = config.checkpoints or 10
        if config.checkpoints_per_epoch is not None:
            count = config.checkpoints_per_epoch * math.ceil(total / per_epoch)
        save = {max(1, round(total * (i + 1) / count)) for i in range(count)}
    return Plan(per_epoch, total, tuple(sorted(save)))


def learning_rate(step: int, total: int, config: FineTuneConfig) -> float:
    """Return the encoder's learning rate for 0-based `step`: linear warm-up, then linear decay to 0 or constant."""
    warm = round(config.warmup * total)
    if step < warm:
        return config.learning_rate * (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (total - step) / max(1, total - warm)


def batches(
    rows: int, size: int, seed: int, steps: int, lengths: NDArray[np.integer[Any]] | None = None
) -> Iterator[IntArray]:
    """Yield the global batches of row positions: a Philox permutation per epoch, whose last batch may be short.

    With `lengths`, each run of WINDOW batches of the permutation is sorted by length before it is cut, and the batches
    of an epoch are permuted again: less padding, nearly the same randomness. Every row still comes once an epoch.
    """
    done = epoch = 0
    while done < steps:
        draw = np.random.Generator(np.random.Philox(key=[seed % 2**63, epoch]))
        order = draw.permutation(rows)
        if lengths is not None:
            window = WINDOW * size
            pieces = [order[start : start + window] for start in range(0, rows, window)]
            order = np.concatenate([piece[np.argsort(lengths[piece], kind="stable")] for piece in pieces])
        cut = [order[start : start + size] for start in range(0, rows, size)]
        turns = range(len(cut)) if lengths is None else draw.permutation(len(cut))
        for turn in list(turns)[: steps - done]:
            yield cut[turn]
            done += 1
        epoch += 1


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
    optimiser = _optimiser(model, config)
    dtype = resolve(config.precision, model, place.device)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed * 1_000_003 + place.rank)
        lengths = data.encoded.lengths if config.group_by_length else None
        for step, rows in enumerate(batches(len(data), config.batch_size, config.seed, layout.steps, lengths)):
            rate = learning_rate(step, layout.steps, config)
            _set_rate(optimiser, rate, config)
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
    """Return Σ w ℓ over some rows."""
    if data.weights is None:
        return nn.functional.cross_entropy(logits, labels, reduction="sum")
    weights = torch.from_numpy(data.weights[rows]).to(logits.device)
    return (nn.functional.cross_entropy(logits, labels, reduction="none") * weights).sum()


def batch(data: Examples, rows: IntArray, device: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return the padded inputs and the labels of some rows on a device."""
    inputs = {name: value.to(device) for name, value in pad(data.encoded, rows, data.pad_id).items()}
    return inputs, torch.from_numpy(data.labels[rows]).to(device)


def _optimiser(model: nn.Module, config: FineTuneConfig) -> torch.optim.Optimizer:
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


def _set_rate(optimiser: torch.optim.Optimizer, rate: float, config: FineTuneConfig) -> None:
    head = (config.head_learning_rate or config.learning_rate) / config.learning_rate
    for group in optimiser.param_groups:
        group["lr"] = rate * head if group["head"] else rate


def assess(
    model: nn.Module, data: Examples, device: str = "cpu", dtype: torch.dtype | None = None, batch_tokens: int = 8_192
) -> Evaluation:
    """Evaluate a model on rows, in eval mode and the precision `dtype` of its training (None: float32)."""
    classifier: Any = model
    logits = np.empty((len(data), classifier.config.num_labels))
    model.eval()
    with torch.inference_mode(), autocast(device, dtype):
        for rows in token_batches(data.encoded.lengths, batch_tokens):
            inputs, _ = batch(data, rows, device)
            logits[rows] = model(**inputs).logits.double().cpu().numpy()
    return evaluate(logits, data.labels)
