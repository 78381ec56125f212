"""The loop over the steps: where it starts, what it tells, what it leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.config import FineTuneConfig
from raysample.core.errors import TrainingError
from raysample.training import distributed, snapshot
from raysample.training.batch_order import batches
from raysample.training.curve import TrainingCurve
from raysample.training.early_stopping import Patience
from raysample.training.examples import Examples
from raysample.training.optimizer import adamw, learning_rate, set_rate
from raysample.training.prediction import assess
from raysample.training.schedule import DistributedContext, TrainingSchedule
from raysample.training.snapshot import Snapshot
from raysample.training.step import Seen, Stepper

IntArray = NDArray[np.int64]
KEEP, ASK = 1, 2
ASK_SECONDS = 2.0


class States(Protocol):
    """Where states of a run are kept, so that it can go on."""

    def due(self, step: int) -> bool:
        """Tell whether the state after `step` steps should be kept; asked on rank 0."""

    def keep(self, state: Snapshot) -> None:
        """Keep a state; called on rank 0."""


def train(
    model: nn.Module,
    data: Examples,
    config: FineTuneConfig,
    layout: TrainingSchedule,
    place: DistributedContext = DistributedContext(),
    *,
    save: Callable[[int, float], None] | None = None,
    progress: Callable[[int, float], None] | None = None,
    capture: Callable[[IntArray, Tensor, int], None] | None = None,
    resume: Snapshot | None = None,
    states: States | None = None,
    urgent: Callable[[], bool] | None = None,
    held_out: Examples | None = None,
) -> TrainingCurve:
    """Fine-tune `model` in place and return what happened at each step, those before `resume` included.

    Args:
        model: a sequence classifier, spread over workers by `parallel.spread` when `place.world` > 1.
        data: all training rows; each worker takes its share of every global batch.
        config: the recipe.
        layout: from `plan`.
        place: this worker.
        save: called as save(step, learning rate of that step) on every worker after the steps of `layout.save_at`, and
            after the last one where the run is stopped early.
        progress: called as progress(step, mean training loss of the global batch) after every step.
        capture: called as capture(rows, logits, step) after every step: the positions of this worker's rows in its
            batch, possibly none, and the float32 logits [rows, C] of the forward that the step is made from.
        resume: a state to go on from, the same on every worker.
        states: keeps states while the run goes on.
        urgent: tells, on every worker alike, whether this is the time to keep a state; asked every two seconds.
        held_out: rows that `config.early_stopping` looks at.
    """
    run = _Run(model, data, config, layout, place)
    if resume is not None:
        run.restore(resume)
    run.watch(held_out)
    began, wishes = time.perf_counter(), _Wishes(states, urgent, place)
    lengths = data.encoded.lengths if config.group_by_length else None
    with torch.random.fork_rng(devices=[]):
        order = batches(len(data), config.batch_size, config.seed, layout.steps, lengths, run.curve.last)
        for step, rows in enumerate(order, start=run.curve.last) if not run.over else ():
            rate = learning_rate(step, layout.steps, config)
            loss, seen, wish = run.step(step, rows, rate, wishes.at(step + 1), began)
            if capture is not None:
                capture(seen.rows, seen.logits, step + 1)
            if progress is not None:
                progress(step + 1, loss)
            run.look(step + 1)
            if save is not None and (step + 1 in layout.save_at or run.over):
                save(step + 1, rate)
            if wishes.granted(wish):
                state = run.state()
                if states is not None and place.rank == 0:
                    states.keep(state)
            if run.over:
                break
    return run.curve


class _Run:
    """What changes from step to step."""

    def __init__(
        self,
        model: nn.Module,
        data: Examples,
        config: FineTuneConfig,
        layout: TrainingSchedule,
        place: DistributedContext,
    ) -> None:
        self.model, self.core, self.layout, self.place = model, getattr(model, "module", model), layout, place
        self.optimiser = adamw(model, config)
        self.stepper = Stepper(model, self.optimiser, data, config, place)
        self.curve, self.patience = TrainingCurve(), Patience(config.early_stopping) if config.early_stopping else None
        self.held_out: Examples | None = None
        self.unsettled = False
        model.train()

    def watch(self, held_out: Examples | None) -> None:
        """Take the rows of early stopping; a run that had stopped before it was ended is over."""
        self.held_out = held_out
        self.over = self.patience is not None and self.patience.ends(self.patience.history)

    def step(self, step: int, rows: IntArray, rate: float, wish: int, began: float) -> tuple[float, Seen, int]:
        """Make a step (counted from 0); returns the mean loss, what this worker saw, and rank 0's wish."""
        set_rate(self.optimiser, rate)
        if self.unsettled:
            self._settle(rows)
        (summed, agreed), norm, seen = self.stepper(rows, step, wish)
        loss = summed / len(rows)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the training loss became {loss}", "lower fine_tune.learning_rate or use precision float32"
            )
        self.curve.add(step + 1, self.layout.epoch(step + 1), loss, rate, norm, time.perf_counter() - began)
        return loss, seen, round(agreed)

    def _settle(self, rows: IntArray) -> None:
        """Let replicas sort their gradients into the buckets that they have from the second step on.

        The order in which three or more workers' gradients are added up depends on them; without this the first step
        after a resume would differ in its last bits.
        """
        self.stepper.backward(rows)
        self.optimiser.zero_grad(set_to_none=True)
        self.unsettled = False

    def look(self, step: int) -> None:
        """Test the model on the held-out rows at the end of an epoch, the same result on every worker."""
        if self.patience is None or self.held_out is None or step % self.layout.steps_per_epoch:
            return
        found = assess(self.core, self.held_out, self.place.device, self.stepper.dtype)
        self.model.train()
        self.over = self.patience.exhausted(distributed.broadcast(found.metrics, self.place))

    def state(self) -> Snapshot:
        """Return all that the next step depends on."""
        history = [] if self.patience is None else list(self.patience.history)
        held = snapshot.tensors(self.core, self.optimiser)
        return Snapshot(
            self.curve.last, held, self.stepper.scaler.state_dict(), TrainingCurve(list(self.curve.rows)), history
        )

    def restore(self, state: Snapshot) -> None:
        """Become what `state` was."""
        snapshot.restore(self.core, self.optimiser, state.tensors)
        if state.scaler:
            self.stepper.scaler.load_state_dict(state.scaler)
        self.curve, self.unsettled = TrainingCurve(list(state.curve.rows)), self.place.world > 1
        if self.patience is not None:
            self.patience.history[:] = state.history


class _Wishes:
    """When rank 0 wants a state kept, and when it wants to know whether there is a hurry."""

    def __init__(self, states: States | None, urgent: Callable[[], bool] | None, place: DistributedContext) -> None:
        self.states, self.urgent, self.first = states, urgent, place.rank == 0
        self.asked = time.monotonic()

    def at(self, step: int) -> int:
        """Return rank 0's wish; what others say does not count."""
        if not self.first or self.states is None:
            return 0
        if self.states.due(step):
            return KEEP
        if self.urgent is None or time.monotonic() - self.asked < ASK_SECONDS:
            return 0
        self.asked = time.monotonic()
        return ASK

    def granted(self, wish: int) -> bool:
        """Tell, on every worker alike, whether a state is kept now."""
        return wish == KEEP or (wish == ASK and self.urgent is not None and self.urgent())
