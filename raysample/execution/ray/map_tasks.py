"""Map a pure function over items as Ray tasks: counting and writing of selections, part by part."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
    ahead = 2 * session.slots(TASK_CPUS, 0)
    pending: deque[Any] = deque()
    try:
        for item in items:
            pending.append(task.remote(shared, item))
            if len(pending) > ahead:
                yield failures.result(pending.popleft(), _broken)
        while pending:
            yield failures.result(pending.popleft(), _broken)
    finally:
        for reference in pending:
            ray.cancel(reference)


def _broken(error: BaseException) -> SelectionError:
    """Return the error for a task that failed without an error of raysample."""
    return SelectionError(f"a part could not be counted or written: {error}", "mend the cause and run again")
