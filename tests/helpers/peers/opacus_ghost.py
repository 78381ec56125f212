"""Opacus: the norms of its ghost clipping. Without explicit position ids it is silently wrong (opacus issue 841)."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.helpers.peers.base import Norms, Peer, summed_loss
from tests.helpers.peers.workload import Work


def _norms(model: Any, work: Work) -> Tensor:
    found = []
    for inputs, labels in work.explicit:
        summed_loss(model, inputs, labels).backward()  # type: ignore[no-untyped-call]
        found.append(model.get_norm_sample().clone())
        model.zero_grad(set_to_none=True)
    return torch.cat(found)


def build(work: Work) -> Norms:
    """Return the norms of a wrapped copy in train mode (the models here have no dropout)."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    model = GradSampleModuleFastGradientClipping(
        copy.deepcopy(work.model).train(),
        use_ghost_clipping=True,
        max_grad_norm=1.0,
        loss_reduction="sum",
        strict=False,
    )
    return partial(_norms, model, work)


PEER = Peer("Opacus ghost norms", ("opacus",), "opacus", "all", build)
