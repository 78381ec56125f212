"""Map pure functions over items as Ray tasks: counting and writing of selections, trainings of a pilot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import ray

from raysample.core.errors import SelectionError
from raysample.execution.ray import failures, session

TASK_CPUS = 0.9  # as scoring actors: a whole CPU could starve other tasks of a small cluster


@ray.remote(max_retries=3)
def _call(function: Callable[[Any], Any], item: Any) -> Any:
    """Apply the function to one item in a task."""
    return function(item)


def tasks(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """Map with one task per item, submitting twice as many as the cluster can run; yield results in item order.

    The function is pickled once, through the object store.

    Raises:
        RaysampleError: raised by the function, or a SelectionError if a task's worker died repeatedly.
    """
    session.require_resources(1, TASK_CPUS, 0, "a task of a selection")
    shared, task = ray.put(function), _call.options(num_cpus=TASK_CPUS)
    yield from _in_order((partial(task.remote, shared, item) for item in items), 2 * session.slots(TASK_CPUS, 0))


def device_tasks(functions: Sequence[Callable[[], Any]], gpus: float) -> Iterator[Any]:
    """Run functions with one task each, with a GPU or a part of one; yield results in their order.

    Raises:
        RaysampleError: as `tasks`.
    """
    session.require_resources(1, TASK_CPUS, gpus, "a training of a pilot")
    task = _call.options(num_cpus=TASK_CPUS, num_gpus=gpus or None)
    # As many as fit: a task that waits would hold its rows in the object store.
    yield from _in_order((partial(task.remote, _run, each) for each in functions), session.slots(TASK_CPUS, gpus))


def _run(function: Callable[[], Any]) -> Any:
    """Call a function."""
    return function()


def _in_order(starts: Iterable[Callable[[], Any]], ahead: int) -> Iterator[Any]:
    """Start tasks, up to `ahead` before the one whose result is due; yield the results in order."""
    pending: deque[Any] = deque()
    try:
        for start in starts:
            pending.append(start())
            if len(pending) > ahead:
                yield failures.result(pending.popleft(), _broken)
        while pending:
            yield failures.result(pending.popleft(), _broken)
    finally:
        for reference in pending:
            ray.cancel(reference)


def _broken(error: BaseException) -> SelectionError:
    """Return the error for a task that failed without an error of raysample."""
    return SelectionError(f"a task on the cluster failed: {error}", "mend the cause and run again")
