"""dattri-LLM: its hooks capture factorised gradients, its `ops.grad_norm_sq` makes norms of them."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.helpers.peers.base import Norms, Peer, summed_loss
from tests.helpers.peers.workload import Work


def _norms(manager: Any, capture: Any, model: Any, work: Work) -> Tensor:
    from dattri_llm.gradient import ops

    found = []
    for inputs, labels in work.explicit:
        with manager.collect():
            summed_loss(model, inputs, labels).backward()  # type: ignore[no-untyped-call]
        gradient = capture.record.gradient
        squares = [ops.grad_norm_sq(gradient.data[name], gradient.layer_types[name]) for name in gradient.data]
        found.append(torch.stack(squares).sum(0).sqrt())
        model.zero_grad(set_to_none=True)
    return torch.cat(found)


def build(work: Work) -> Norms:
    """Return the norms of a hooked copy, with a capture that keeps the last mini-batch only."""
    from dattri_llm.gradient.callbacks import CaptureCallback
    from dattri_llm.gradient.hooks import REGISTER_ALL, HookManager, HookManagerConfig

    model, capture = copy.deepcopy(work.model), CaptureCallback()
    config = HookManagerConfig(linear_io=REGISTER_ALL, capture_style="auto")
    manager = HookManager(model, config=config, callbacks=[capture])
    return partial(_norms, manager, capture, model, work)


PEER = Peer("dattri-LLM hooks", ("dattri_llm",), "dattri-llm", "all", build)
