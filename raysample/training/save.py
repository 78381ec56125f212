"""The checkpoints of a run: `save_pretrained` folders, sealed with hashes, complete or absent."""

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
    """Saves the model during training, and lists what was saved.

    Args:
        folder: the folder of the run.
        core: the model, not wrapped.
        tokenizer: its tokenizer.
        layout: the schedule of the run.
        context: this worker; rank 0 writes, after gathering shards from the others.
        sharded: whether the model is sharded.
    """

    def __init__(
        self,
        folder: str,
        core: nn.Module,
        tokenizer: Any,
        layout: TrainingSchedule,
        context: DistributedContext,
        sharded: bool,
    ) -> None:
        self.folder, self.core, self.tokenizer, self.layout = folder, core, tokenizer, layout
        self.writes, self.gathers = context.rank == 0, sharded
        self.saved: list[Checkpoint] = []

    def __call__(self, step: int, rate: float) -> None:
        """Save the model after `step` steps, whose last one had learning rate `rate`; a collective call if sharded."""
        weights = {name: gather_full(value) for name, value in self.core.state_dict().items()} if self.gathers else None
        self.saved.append(Checkpoint(self._uri(step), step, self.layout.epoch(step), rate))
        if self.writes:
            with storage.whole_folder(self._uri(step), checkpoint_set.COMPLETE) as draft:
                models.save_model(self.core, self.tokenizer, draft, weights)
                checkpoint_set.seal_checkpoint(draft)

    def holds(self, step: int) -> None:
        """Raise CheckpointError unless all checkpoints up to a step exist and match their hashes."""
        for saved in self.layout.save_at:
            if saved <= step:
                checkpoint_set.verify_checkpoint(self._uri(saved), sealed=True)

    def resume(self, rates: list[float]) -> None:
        """List the checkpoints that a resumed run saved before; `rates` are the learning rates of its steps so far."""
        self.saved = [
            Checkpoint(self._uri(step), step, self.layout.epoch(step), rates[step - 1])
            for step in self.layout.save_at
            if step <= len(rates)
        ]

    def _uri(self, step: int) -> str:
        """Return the folder of the checkpoint after `step` steps."""
        return storage.join(self.folder, f"step-{step:06d}")
