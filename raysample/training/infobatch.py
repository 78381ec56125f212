"""InfoBatch: rows are pruned at random by their last losses, pass by pass.

Source: Qin et al. 2024, ICLR, arXiv 2303.04947. Differences: rows that were never seen have an infinite loss, where the
authors' code starts with 3; and the number of steps is fixed beforehand, so that cost and learning rates are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.arrays import Float32Array, IntArray, Mask
from raysample.core.config import FineTuneConfig, InfoBatchConfig
from raysample.data.row_sampling import seeded_hashes
from raysample.selection.redraws import draw_seed
from raysample.training.batch_order import batches
from raysample.training.examples import Examples
from raysample.training.schedule import TrainingSchedule

LOSSES, PASS_LOSSES, PASS = "rows/losses", "rows/pass_losses", "rows/pass"


def prune_by_loss(losses: Float32Array, chance: NDArray[np.float64], prune: float) -> tuple[Mask, Float32Array]:
    """Return which rows a pass keeps, [N], and the weights of the rows, [N] float32.

    Row i is left out if l_i < mean(l) and u_i < r; the mean is over the rows with a finite loss. A kept row with
    l_i < mean(l) has the weight 1 / (1 - r), every other one 1, so that a weighted sum over the kept rows has the
    expectation of the sum over all rows.

    Args:
        losses: l, the last loss of each row, [N]; infinite for a row that was never seen, which is kept.
        chance: u, a random number in [0, 1) for each row, [N].
        prune: r.

    >>> kept, weights = prune_by_loss(np.float32([1, 1, 4, np.inf]), np.array([0.4, 0.6, 0.1, 0.1]), 0.5)
    >>> kept.tolist(), weights.tolist()
    ([False, True, True, True], [2.0, 2.0, 1.0, 1.0])
    """
    seen = np.isfinite(losses)
    mean = losses[seen].mean(dtype=np.float64) if seen.any() else np.inf
    low = seen & (losses < mean)
    weights = np.where(low, 1 / (1 - prune), 1).astype(np.float32)
    return ~(low & (chance < prune)), weights


class LossPrunedRows:
    """The rows of a training that InfoBatch prunes; it learns the losses of rows while they are trained on.

    The rows of a pass depend on the losses at its beginning, the seed and the number of the pass alone, and those
    losses are part of the state of a run, so a run resumes at any step.

    Attributes:
        data: all training rows. losses: the last loss of each of them, [N] float32.
        pass_losses: those at the beginning of the current pass. number, first: the number of the pass, and its first
            step, counted from 0.
    """

    def __init__(self, data: Examples, config: InfoBatchConfig, seed: int) -> None:
        self.data, self.config, self.seed = data, config, seed
        self.losses = np.full(len(data), np.inf, np.float32)
        self.pass_losses, self.number, self.first = self.losses.copy(), 0, 0
        self.places: IntArray = np.arange(len(data))

    def __len__(self) -> int:
        """Return the number of all training rows."""
        return len(self.data)

    def batches(
        self, config: FineTuneConfig, layout: TrainingSchedule, start: int = 0
    ) -> Iterator[tuple[Examples, IntArray]]:
        """Yield the rows of the pass and the positions of a global batch in them, for every step from `start` on.

        A pass with pruned rows ends early where the steps on all rows begin.
        """
        annealing = layout.steps - round(self.config.anneal * layout.steps)
        step = start
        while step < layout.steps:
            rows, limit = self._present(self.first >= annealing), annealing if self.first < annealing else layout.steps
            lengths = rows.encoded.lengths if config.group_by_length else None
            per_pass = -(-len(rows) // config.batch_size)
            end = min(self.first + per_pass, limit)
            # The batches of the pass, as `batches` numbers them: those of the epoch with its number.
            before = self.number * per_pass
            wanted = batches(
                len(rows),
                config.batch_size,
                config.seed,
                before + end - self.first,
                lengths,
                before + step - self.first,
            )
            for batch in wanted if step < end else ():
                yield rows, batch
            step = max(step, end)
            self.pass_losses, self.number, self.first = self.losses.copy(), self.number + 1, end

    def _present(self, whole: bool) -> Examples:
        """Return the rows of the current pass with their weights: all of them, or those that are not pruned."""
        if whole:
            self.places = np.arange(len(self.data))
            return self.data
        words = seeded_hashes(self.data.ids, draw_seed(self.seed, self.number))
        chance = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        kept, weights = prune_by_loss(self.pass_losses, chance, self.config.prune)
        self.places = np.flatnonzero(kept)
        own = 1 if self.data.weights is None else self.data.weights
        # Not divided by their mean: a pass has as much weight as one over all rows.
        return replace(self.data.take(self.places), weights=(weights * own)[self.places])

    def observe(self, rows: IntArray, losses: Float32Array) -> None:
        """Record the losses of rows of the current pass, positions and losses [b]; the same on every worker."""
        self.losses[self.places[rows]] = losses

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next passes depend on, by name, for the state of a run."""
        place = torch.tensor([self.number, self.first], dtype=torch.int64)
        losses, before = torch.from_numpy(self.losses.copy()), torch.from_numpy(self.pass_losses.copy())
        return {LOSSES: losses, PASS_LOSSES: before, PASS: place}

    def restore(self, found: Mapping[str, Tensor]) -> None:
        """Set everything to the result of `tensors`."""
        self.losses, self.pass_losses = found[LOSSES].numpy().copy(), found[PASS_LOSSES].numpy().copy()
        self.number, self.first = found[PASS].tolist()


def losses_in_batch(data: Examples, batch: IntArray, rows: IntArray, logits: Tensor) -> Tensor:
    """Return the losses of one worker's rows at their places in the global batch, [b] float32, and 0 elsewhere.

    Summed over the workers they are the losses of the batch: plain cross-entropy at the scored label, without weights
    and label smoothing.

    Args:
        data: the rows of the pass.
        batch: positions of the global batch in `data`, [b].
        rows: positions of the worker's rows in `data`, [m].
        logits: those of the worker's rows, [m, C].
    """
    scored = logits if data.levels is None else logits[:, data.levels.label]
    each = nn.functional.cross_entropy(scored, torch.from_numpy(data.labels[rows]).to(logits.device), reduction="none")
    order = np.argsort(batch)
    places = order[np.searchsorted(batch[order], rows)]
    found = logits.new_zeros(len(batch))
    found[torch.from_numpy(places).to(logits.device)] = each
    return found
