"""Errors from a model's own code, in a forward or backward, as a ForwardError with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from raysample.core.errors import ForwardError, RaysampleError


@contextmanager
def explained(model: nn.Module) -> Iterator[None]:
    """Run a model's forward or backward; re-raise its errors as ForwardError, except OutOfMemoryError and our own.

    Some models pad inside, change tensors in place or require inputs that raysample does not pass: their messages do
    not help a user who did not write the model. One odd row can be the cause as well: `shards.isolation` finds that
    row.
    """
    try:
        yield
    except (RaysampleError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        found = ForwardError(
            f"{type(model).__name__} raised {type(error).__name__} in its forward or backward: {reason[:200]}",
            "set score.method: loop, which scores each row alone, without padding and the hooks of rules; if it fails, "
            "too, the model does not suit these inputs: leave out the scores that need gradients, or use another model",
        )
        found.kind = type(error).__name__
        raise found from error
