"""One optimiser step on a global batch, of which this worker has a share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.config import FineTuneConfig
from raysample.core.errors import TrainingError
from raysample.core.numerics.precision import autocast, resolve
from raysample.training.distributed import gather_full, summing, synchronise
from raysample.training.examples import Examples, batch
from raysample.training.length_balance import length_balanced_split
from raysample.training.levels import over_levels
from raysample.training.losses import summed
from raysample.training.schedule import DistributedContext

IntArray = NDArray[np.int64]

# Steps in a row that float16 may overflow in: the scale of the loss halves each time, from 2^16.
OVERFLOWS = 25


class Seen(NamedTuple):
    """Rows that a worker made a step with, as positions [b], and their logits [b, C], float32."""

    rows: IntArray
    logits: Tensor


class Stepper:
    """Makes steps: forwards and backwards of micro-batches, clipping, the optimiser.

    The losses of a global batch are summed and divided by its rows, so the gradient is the same whichever worker holds
    which row (`shares`), and however its rows are cut into micro-batches. What is drawn in a step (dropout) depends on
    the seed, the step and the rank alone: a run goes on anywhere without a random state to restore.

    Raises:
        TrainingError: loss or gradient are not finite; in float16, for many steps in a row.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        data: Examples,
        config: FineTuneConfig,
        place: DistributedContext = DistributedContext(),
    ) -> None:
        self.model, self.optimiser, self.data, self.config, self.place = model, optimiser, data, config, place
        self.dtype = resolve(config.precision, model, place.device)
        half = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(place.device.partition(":")[0], enabled=half)
        self.overflows = 0

    def __call__(self, rows: IntArray, step: int, note: float = 0.0) -> tuple[tuple[float, float], float, Seen]:
        """Make a step (counted from 0) on the global batch `rows`.

        Returns:
            The summed loss of the batch and the sum of all workers' notes; the norm of the whole gradient before it was
            clipped; and what this worker saw of the batch, from before the step.
        """
        torch.manual_seed(_seed(self.config.seed, step, self.place.rank))
        self.optimiser.zero_grad(set_to_none=True)
        loss, seen = self.backward(rows)
        sums = summing(torch.stack([loss, loss.new_tensor(note)]), self.place)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        found = float(gather_full(norm))
        self._check(found)
        total, notes = sums().tolist()
        return (total, notes), found, seen

    def backward(self, rows: IntArray) -> tuple[Tensor, Seen]:
        """Add the gradient of the mean loss over the global batch to the parameters; returns summed loss and rows."""
        mine = length_balanced_split(
            rows, self.data.encoded.lengths, self.place.rank, self.place.world, self.config.micro_batch_size
        )
        loss = torch.zeros((), device=self.place.device)
        logits: list[Tensor] = []
        for turn, taken in enumerate(mine, start=1):
            synchronise(self.model, turn == len(mine))
            piece, found = self._micro(taken, rows)
            loss += piece
            logits.append(found)
        return loss, Seen(np.concatenate(mine), torch.cat(logits))

    def _micro(self, mine: IntArray, rows: IntArray) -> tuple[Tensor, Tensor]:
        # A worker without a row (in a short last batch) still takes part in the all-reduce, with a loss of weight zero.
        weight = float(len(mine) > 0)
        taken = mine if weight else rows[:1]
        inputs, labels = batch(self.data, taken, self.place.device)
        with autocast(self.place.device, self.dtype):
            logits = self.model(**inputs).logits.float()
        loss = self._loss(logits, labels, taken) * weight
        torch.autograd.backward(self.scaler.scale(loss * (self.place.world / len(rows))))
        return loss.detach(), logits.detach()[: len(mine)]

    def _loss(self, logits: Tensor, labels: Tensor, rows: IntArray) -> Tensor:
        """Return the summed loss of some rows, over all levels where several have a head."""
        weights = None if self.data.weights is None else self.data.weights[rows]

        def one(z: Tensor, y: Tensor) -> Tensor:
            return summed(z, y, weights, self.config.label_smoothing)

        return one(logits, labels) if self.data.levels is None else over_levels(one, logits, self.data.levels, rows)

    def _check(self, norm: float) -> None:
        finite = bool(np.isfinite(norm))
        self.overflows = 0 if finite else self.overflows + 1
        if finite or (self.scaler.is_enabled() and self.overflows < OVERFLOWS):
            return
        raise TrainingError(
            f"the gradient's norm became {norm}" + (f" {OVERFLOWS} times in a row" if self.scaler.is_enabled() else ""),
            "lower fine_tune.learning_rate, or use precision bfloat16 or float32",
        )


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed % 2**63, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
