"""The checkpoints of a run: plain `save_pretrained` folders, sealed with hashes, whole or not there."""

from __future__ import annotations

from typing import Any

from torch import nn

from raysample import models
from raysample.core import storage
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint
from raysample.training.distributed import gather_full
from raysample.training.schedule import DistributedContext, TrainingSchedule


class Saver:
    """Saves the model while it is trained, and knows what was saved before.

    Args:
        folder: of the run.
        core: the model, not wrapped.
        words: its tokenizer.
        layout: of the run.
        place: of this worker; rank 0 writes, and gathers from the others what is sharded.
        sharded: whether the model is.
    """

    def __init__(
        self,
        folder: str,
        core: nn.Module,
        words: Any,
        layout: TrainingSchedule,
        place: DistributedContext,
        sharded: bool,
    ) -> None:
        self.folder, self.core, self.words, self.layout = folder, core, words, layout
        self.writes, self.gathers = place.rank == 0, sharded
        self.saved: list[Checkpoint] = []

    def __call__(self, step: int, rate: float) -> None:
        """Save the model as it is after `step` steps, the last of which was made with learning rate `rate`."""
        weights = {name: gather_full(value) for name, value in self.core.state_dict().items()} if self.gathers else None
        self.saved.append(Checkpoint(self._uri(step), step, self.layout.epoch(step), rate))
        if self.writes:
            with storage.whole_folder(self._uri(step), checkpoint_set.COMPLETE) as draft:
                models.save_model(self.core, self.words, draft, weights)
                checkpoint_set.seal_checkpoint(draft)

    def holds(self, step: int) -> None:
        """Raise CheckpointError unless all checkpoints up to a step are there, as they were written."""
        for saved in self.layout.save_at:
            if saved <= step:
                checkpoint_set.verify_checkpoint(self._uri(saved), sealed=True)

    def resume(self, rates: list[float]) -> None:
        """Take the checkpoints that a run saved before it went on; `rates` are its steps' learning rates so far."""
        self.saved = [
            Checkpoint(self._uri(step), step, self.layout.epoch(step), rates[step - 1])
            for step in self.layout.save_at
            if step <= len(rates)
        ]

    def _uri(self, step: int) -> str:
        return storage.join(self.folder, f"step-{step:06d}")
