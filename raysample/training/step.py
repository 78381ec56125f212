"""One optimiser step on a global batch, of which this worker processes a share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from raysample.core.arrays import IntArray
from raysample.core.config import FineTuneConfig
from raysample.core.errors import TrainingError
from raysample.core.numerics.precision import autocast, resolve
from raysample.training.distributed import gather_full, summing, synchronise
from raysample.training.examples import Examples, batch
from raysample.training.length_balance import length_balanced_split
from raysample.training.levels import over_levels
from raysample.training.losses import summed
from raysample.training.schedule import DistributedContext

# Overflows in a row that float16 may have: each one halves the loss scale, which starts at 2^16.
OVERFLOWS = 25


class Seen(NamedTuple):
    """Rows of this worker in a step, as positions [b] in the training rows, and their logits [b, C] in float32."""

    rows: IntArray
    logits: Tensor


class Stepper:
    """Makes steps: forwards and backwards of micro-batches, gradient clipping, the optimiser.

    The losses of a global batch are summed and divided by its number of rows, so the gradient does not depend on which
    worker processes which row (`length_balance`) or on the micro-batches. Random numbers of a step (dropout) depend on
    seed, step and rank alone, so a run resumes at any step without a stored random state.

    Raises:
        TrainingError: loss or gradient are not finite; in float16, for many steps in a row.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        config: FineTuneConfig,
        context: DistributedContext = DistributedContext(),
    ) -> None:
        self.model, self.optimiser, self.config, self.context = model, optimiser, config, context
        self.dtype = resolve(config.precision, model, context.device)
        half = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(context.device.partition(":")[0], enabled=half)
        self.overflows = 0

    def __call__(
        self, data: Examples, rows: IntArray, step: int, note: float = 0.0
    ) -> tuple[tuple[float, float], float, Seen]:
        """Make a step (counted from 0) on the global batch `rows`, positions in `data`.

        Returns:
            (summed loss of the batch, sum of the notes of all workers); the norm of the full gradient before clipping;
            the rows and logits of this worker, from before the step.
        """
        # Dropout differs by rank, since workers process different rows, and is the same after a resume.
        torch.manual_seed(_seed(self.config.seed, step, self.context.rank))
        self.optimiser.zero_grad(set_to_none=True)
        loss, seen = self.backward(data, rows)
        # Loss and notes travel in one all-reduce, which overlaps with clipping and the optimiser.
        sums = summing(torch.stack([loss, loss.new_tensor(note)]), self.context)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        found = float(gather_full(norm))
        self._check(found)
        total, notes = sums().tolist()
        return (total, notes), found, seen

    def backward(self, data: Examples, rows: IntArray) -> tuple[Tensor, Seen]:
        """Add the gradient of the mean loss over the global batch to the parameters.

        Returns the summed loss of this worker's rows, and these rows with their logits.
        """
        mine = length_balanced_split(
            rows, data.encoded.lengths, self.context.rank, self.context.world, self.config.micro_batch_size
        )
        loss = torch.zeros((), device=self.context.device)
        logits: list[Tensor] = []
        for turn, taken in enumerate(mine, start=1):
            # Gradients of all micro-batches are summed locally; only the last backward exchanges them.
            synchronise(self.model, turn == len(mine))
            piece, found = self._micro(data, taken, rows)
            loss += piece
            logits.append(found)
        return loss, Seen(np.concatenate(mine), torch.cat(logits))

    def _micro(self, data: Examples, mine: IntArray, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Run forward and backward of one micro-batch `mine` of the global batch `rows` of `data`.

        Returns the summed loss and the logits [len(mine), C].
        """
        # A worker without rows (in a short last batch) still joins the all-reduce, with one row of weight zero.
        weight = float(len(mine) > 0)
        taken = mine if weight else rows[:1]
        inputs, labels = batch(data, taken, self.context.device)
        with autocast(self.context.device, self.dtype):
            logits = self.model(**inputs).logits.float()
        loss = self._loss(data, logits, labels, taken) * weight
        # DDP and FSDP average gradients over the workers; the factor `world` turns the average into a sum.
        torch.autograd.backward(self.scaler.scale(loss * (self.context.world / len(rows))))
        return loss.detach(), logits.detach()[: len(mine)]

    def _loss(self, data: Examples, logits: Tensor, labels: Tensor, rows: IntArray) -> Tensor:
        """Return the summed loss of some rows; the weighted sum over all levels if several levels have a head."""
        weights = None if data.weights is None else data.weights[rows]

        def one(z: Tensor, y: Tensor) -> Tensor:
            """Return the weighted, summed loss at one level, from its logits and labels."""
            return summed(z, y, weights, self.config.label_smoothing)

        return one(logits, labels) if data.levels is None else over_levels(one, logits, data.levels, rows)

    def _check(self, norm: float) -> None:
        """Raise TrainingError if the gradient norm is not finite.

        In float16 a limited number of overflows in a row is normal: the scaler skips the step and halves the loss
        scale.
        """
        finite = bool(np.isfinite(norm))
        self.overflows = 0 if finite else self.overflows + 1
        if finite or (self.scaler.is_enabled() and self.overflows < OVERFLOWS):
            return
        raise TrainingError(
            f"the gradient's norm became {norm}" + (f" {OVERFLOWS} times in a row" if self.scaler.is_enabled() else ""),
            "lower fine_tune.learning_rate, or use precision bfloat16 or float32",
        )


def _seed(seed: int, step: int, rank: int) -> int:
    """Return a 63-bit seed that depends on the seed of the run, the step and the rank."""
    return int(np.random.SeedSequence([seed % 2**63, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
