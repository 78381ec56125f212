"""The loop over the steps: where it starts, what it reports, which states and checkpoints it leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from raysample.core.arrays import Float32Array, IntArray
from raysample.core.config import FineTuneConfig
from raysample.core.errors import TrainingError
from raysample.training import distributed, snapshot
from raysample.training.curve import TrainingCurve
from raysample.training.early_stopping import Patience
from raysample.training.epoch_rows import EpochRows, epoch_batches
from raysample.training.examples import Examples
from raysample.training.infobatch import LossPrunedRows, losses_in_batch
from raysample.training.optimizer import adamw, learning_rate, set_rate
from raysample.training.prediction import assess
from raysample.training.schedule import DistributedContext, TrainingSchedule
from raysample.training.snapshot import Snapshot
from raysample.training.step import Seen, Stepper

KEEP, CHECK = 1, 2
CHECK_SECONDS = 2.0


class States(Protocol):
    """The storage of resume states, as the loop uses it."""

    def due(self, step: int) -> bool:
        """Return whether a state is due after `step` steps; called on rank 0."""

    def keep(self, state: Snapshot) -> None:
        """Store a state; called on rank 0."""


def train(
    model: nn.Module,
    data: Examples | EpochRows | LossPrunedRows,
    config: FineTuneConfig,
    layout: TrainingSchedule,
    context: DistributedContext = DistributedContext(),
    *,
    save: Callable[[int, float], None] | None = None,
    progress: Callable[[int, float], None] | None = None,
    capture: Callable[[IntArray, Tensor, int], None] | None = None,
    resume: Snapshot | None = None,
    states: States | None = None,
    urgent: Callable[[], bool] | None = None,
    held_out: Examples | None = None,
) -> TrainingCurve:
    """Fine-tune `model` in place and return the curve of all steps, including those before `resume`.

    Args:
        model: a sequence classifier, wrapped by `distributed.wrap_model` if `context.world` > 1.
        data: the training rows, those of each epoch, or those that InfoBatch prunes; each worker processes its share
            of every global batch.
        config: the recipe.
        layout: from `schedule_training`.
        context: rank, number of workers and device of this worker.
        save: called as save(step, learning rate of that step) on every worker after the steps of `layout.save_at`, and
            after the last step if the run stops early.
        progress: called as progress(step, mean training loss of the global batch) after every step.
        capture: called as capture(rows, logits, step) after every step: the positions of this worker's rows in the
            batch (possibly none), and the float32 logits [rows, C] of the forward of that step.
        resume: a state to resume from, the same on every worker.
        states: stores states during the run.
        urgent: returns, equally on every worker, whether a state must be stored now; called every two seconds.
        held_out: rows that `config.early_stopping` evaluates on.
    """
    run = _Run(model, config, layout, context, data if isinstance(data, LossPrunedRows) else None)
    if resume is not None:
        run.restore(resume)
    run.watch(held_out)
    began, requests = time.perf_counter(), _StateRequests(states, urgent, context)
    # The stepper seeds the global generator at every step; the caller gets its own random state back.
    with torch.random.fork_rng(devices=[]):
        order = _batches(data, config, layout, run.curve.last)
        for step, (present, rows) in enumerate(order, start=run.curve.last) if not run.over else ():
            rate = learning_rate(step, layout.steps, config)
            loss, seen, request = run.step(step, present, rows, rate, requests.at(step + 1), began)
            if capture is not None:
                capture(seen.rows, seen.logits, step + 1)
            if progress is not None:
                progress(step + 1, loss)
            run.evaluate_held_out(step + 1)
            if save is not None and (step + 1 in layout.save_at or run.over):
                save(step + 1, rate)
            # The state comes last: it promises that the checkpoints up to its step are saved (`StoredStates.holds`) and
            # that the held-out metric of this epoch is in its history.
            requests.serve(request, run)
            if run.over:
                break
    return run.curve


def _batches(
    data: Examples | EpochRows | LossPrunedRows, config: FineTuneConfig, layout: TrainingSchedule, start: int
) -> Iterator[tuple[Examples, IntArray]]:
    """Return the rows that a batch is taken from and its positions there, for every step from `start` on."""
    if isinstance(data, LossPrunedRows):
        return data.batches(config, layout, start)
    return epoch_batches(data, config, layout, start)


class _Run:
    """The mutable state of a run: model, optimiser, loss scaler, curve, patience."""

    def __init__(
        self,
        model: nn.Module,
        config: FineTuneConfig,
        layout: TrainingSchedule,
        context: DistributedContext,
        pruned: LossPrunedRows | None,
    ) -> None:
        self.pruned = pruned
        self.model, self.core, self.layout, self.context = model, getattr(model, "module", model), layout, context
        self.optimiser = adamw(model, config)
        self.stepper = Stepper(model, self.optimiser, config, context)
        self.curve, self.patience = TrainingCurve(), Patience(config.early_stopping) if config.early_stopping else None
        self.held_out: Examples | None = None
        self.needs_warmup = False
        model.train()

    def watch(self, held_out: Examples | None) -> None:
        """Set the held-out rows of early stopping; a resumed run that had already stopped is over at once."""
        self.held_out = held_out
        self.over = self.patience is not None and self.patience.ends(self.patience.history)

    def step(
        self, step: int, data: Examples, rows: IntArray, rate: float, request: int, began: float
    ) -> tuple[float, Seen, int]:
        """Make a step (counted from 0) on the batch `rows` of `data`.

        Returns the mean loss, the rows of this worker, and the request of rank 0.
        """
        set_rate(self.optimiser, rate)
        # Once per process after a resume, before the step whose sums must equal those of the uninterrupted run.
        if self.needs_warmup:
            self._warm_up(data, rows)
        (summed, agreed), norm, seen = self.stepper(data, rows, step, request)
        if self.pruned is not None:
            self.pruned.observe(rows, self._all_losses(data, rows, seen))
        loss = summed / len(rows)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the training loss became {loss}", "lower fine_tune.learning_rate or use precision float32"
            )
        self.curve.add(step + 1, self.layout.epoch(step + 1), loss, rate, norm, time.perf_counter() - began)
        return loss, seen, round(agreed)

    def _all_losses(self, data: Examples, rows: IntArray, seen: Seen) -> Float32Array:
        """Return the losses of the rows of a batch, [b], from those of all workers."""
        mine = losses_in_batch(data, rows, seen.rows, seen.logits)
        found: Float32Array = distributed.summing(mine, self.context)().cpu().numpy()
        return found

    def _warm_up(self, data: Examples, rows: IntArray) -> None:
        """Run one backward whose gradients are discarded, so that DDP fixes its gradient buckets.

        DDP rebuilds its buckets after the first backward of a process, and with three or more workers the buckets
        decide the order in which gradients are summed. Without this call the first step after a resume would differ in
        its last bits.
        """
        self.stepper.backward(data, rows)
        self.optimiser.zero_grad(set_to_none=True)
        self.needs_warmup = False

    def evaluate_held_out(self, step: int) -> None:
        """Evaluate on the held-out rows at the end of an epoch and update `over`, equally on every worker."""
        if self.patience is None or self.held_out is None or step % self.layout.steps_per_epoch:
            return
        found = assess(self.core, self.held_out, self.context.device, self.stepper.dtype)
        self.model.train()
        self.over = self.patience.exhausted(distributed.broadcast(found.metrics, self.context))

    def state(self) -> Snapshot:
        """Return everything the next step depends on."""
        history = [] if self.patience is None else list(self.patience.history)
        held = snapshot.tensors(self.core, self.optimiser)
        held |= {} if self.pruned is None else self.pruned.tensors()
        return Snapshot(
            self.curve.last, held, self.stepper.scaler.state_dict(), TrainingCurve(list(self.curve.rows)), history
        )

    def restore(self, state: Snapshot) -> None:
        """Set model, optimiser, scaler, curve and history to those of `state`."""
        snapshot.restore(self.core, self.optimiser, state.tensors)
        if self.pruned is not None:
            self.pruned.restore(state.tensors)
        if state.scaler:
            self.stepper.scaler.load_state_dict(state.scaler)
        self.curve, self.needs_warmup = TrainingCurve(list(state.curve.rows)), self.context.world > 1
        if self.patience is not None:
            self.patience.history[:] = state.history


class _StateRequests:
    """Decides when a state is stored.

    Rank 0 decides (its clock, its storage) and sends its request with the loss in the all-reduce of the step, so that
    the decision costs no extra communication: KEEP stores a state, CHECK makes all workers call `urgent` together.
    """

    def __init__(self, states: States | None, urgent: Callable[[], bool] | None, context: DistributedContext) -> None:
        self.states, self.urgent, self.first = states, urgent, context.rank == 0
        self.checked_at = time.monotonic()

    def at(self, step: int) -> int:
        """Return this worker's request for a step: that of rank 0, and 0 on all other workers."""
        if not self.first or self.states is None:
            return 0
        if self.states.due(step):
            return KEEP
        if self.urgent is None or time.monotonic() - self.checked_at < CHECK_SECONDS:
            return 0
        self.checked_at = time.monotonic()
        return CHECK

    def serve(self, request: int, run: _Run) -> None:
        """Store the state of the run if the request of rank 0, or `urgent` on all workers together, asks for it."""
        if request == KEEP or (request == CHECK and self.urgent is not None and self.urgent()):
            state = run.state()  # collective if sharded: on every worker
            if self.states is not None and self.first:
                self.states.keep(state)
