"""Scoring with actors that Ray Data maps over shard numbers: no corpus text enters the object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import ray
import ray.data

from raysample.core.errors import ScoreError
from raysample.core.numerics import memory
from raysample.core.numerics.precision import device
from raysample.core.progress import Reporter
from raysample.execution.ray import failures, session
from raysample.influence.shards import ScoreJob, ShardOutcome, ShardScorer, prepare_scoring, proofs

T = TypeVar("T")
# Actors with a whole CPU each could starve the reading task on a small cluster, and Ray Data would wait silently.
ACTOR_CPUS = 0.9
NO_PROGRESS_SECONDS = 900


class ScoringActor:
    """Loads the checkpoints once, then scores shards, in up to two threads at a time."""

    def __init__(self, job: ScoreJob) -> None:
        self.scorer = ShardScorer(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the shards in the batch; return their outcomes as columns."""
        outcomes = [vars(self.scorer.score(int(shard))) for shard in batch["shard"]]
        return {name: np.array([outcome[name] for outcome in outcomes]) for name in outcomes[0]}


def prepare_once(job: ScoreJob, gpus: float, reporter: Reporter) -> None:
    """Compute references and landmarks in one task, and report its messages."""
    session.require_resources(1, ACTOR_CPUS, gpus, "the preparations of scoring")
    reference = _prepare.options(num_cpus=ACTOR_CPUS, num_gpus=gpus or None).remote(job)
    for line in failures.result(reference, _broken):
        reporter.say(line)


@ray.remote(max_retries=proofs.MAX_PROOF_DEATHS)  # a retry draws other rows for the check if a worker died on some
def _prepare(job: ScoreJob) -> list[str]:
    """Compute references and landmarks, and return the messages."""
    said: list[str] = []
    prepare_scoring(job, said.append)
    return said


def once(function: Callable[[], T], gpus: float) -> T:
    """Run a function in one task with the resources of a scoring actor."""
    session.require_resources(1, ACTOR_CPUS, gpus, "the verification of scores")
    result: T = failures.result(_once.options(num_cpus=ACTOR_CPUS, num_gpus=gpus or None).remote(function), _broken)
    return result


@ray.remote(max_retries=1)
def _once(function: Callable[[], Any]) -> Any:
    """Call a function in a task."""
    return function()


def score_on_ray(
    job: ScoreJob, shards: Sequence[int], workers: int | None, gpus: float, reporter: Reporter
) -> Iterator[ShardOutcome]:
    """Score shards on up to `workers` actors (all CPUs by default); yield each outcome when it arrives."""
    pool = min(len(shards), workers or session.slots(ACTOR_CPUS, gpus))
    session.require_resources(pool, ACTOR_CPUS, gpus, "scoring")
    context = ray.data.DataContext.get_current()
    context.raise_original_map_exception = True
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    outcomes = rows.map_batches(
        ScoringActor,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=pool,
            initial_size=pool,
            # Two shards at a time: one is read, tokenised and written while the other one is on the device.
            max_concurrent_calls_per_actor=2,
            enable_true_multi_threading=True,
        ),
        num_cpus=ACTOR_CPUS,
        num_gpus=gpus or None,
        batch_size=1,
    )
    reporter.say(f"  {len(shards):,} shards on up to {pool} actors")
    try:
        for row in outcomes.iter_rows():
            yield ShardOutcome(**{name: _plain(value) for name, value in row.items()})
    except ray.exceptions.RayError as error:
        raise failures.failure_cause(error, _broken) from error


def memory_per_worker(workers: int, gpus: float) -> int | None:
    """Return the memory budget in bytes of each of up to `workers` actors, on the smallest node or GPU.

    None if no node reports its memory.
    """
    if gpus:
        session.require_resources(1, ACTOR_CPUS, gpus, "scoring")
        found = _gpu_memory.options(num_cpus=ACTOR_CPUS, num_gpus=gpus).remote()
        return int(min(1.0, gpus) * failures.result(found, _broken))
    shares = list[float]()
    # Worst case: as many actors on one node as fit its CPUs.
    for node in ray.nodes():
        there, fits = node["Resources"], int(node["Resources"].get("CPU", 0) // ACTOR_CPUS)
        if node["Alive"] and fits and "memory" in there:
            shares.append(there["memory"] / min(fits, workers) - memory.PROCESS)
    return int(max(0.0, min(shares))) if shares else None


@ray.remote
def _gpu_memory() -> int:
    """Return the free memory of the task's device, in bytes."""
    return memory.free(device())


def _plain(value: Any) -> Any:
    """Return a numpy scalar as a Python value."""
    return value.item() if isinstance(value, np.generic) else value


def _broken(error: BaseException) -> ScoreError:
    """Return the error for an actor that failed without an error of raysample."""
    return ScoreError(f"scoring failed on an actor: {error}", "finished shards are kept; mend the cause and run again")
