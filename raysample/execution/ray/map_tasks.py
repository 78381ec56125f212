"""A pure function over items as Ray tasks: what selections count and write, part by part."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from raysample.core.errors import SelectionError
from raysample.execution.ray import failures, session

TASK_CPUS = 0.9  # as scoring actors: a whole CPU could starve what else a small cluster has to run


@ray.remote(max_retries=3)
def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def tasks(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """Map with one task per item, twice as many at a time as the cluster can run; yield in the order of the items.

    The function travels once, through the object store.

    Raises:
        RaysampleError: what the function raised, or SelectionError where a task died again and again.
    """
    session.require(1, TASK_CPUS, 0, "a task of a selection")
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
    return SelectionError(f"a part could not be counted or written: {error}", "mend the cause and run again")
