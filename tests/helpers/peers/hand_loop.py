"""The loop that anyone would write first: one forward and one `autograd.grad` per row."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from tests.helpers.peers.base import Norms, Peer, summed_loss
from tests.helpers.peers.workload import Work


def _norms(work: Work) -> Tensor:
    weights = list(work.model.parameters())
    return torch.stack(
        [
            torch.nn.utils.get_total_norm(torch.autograd.grad(summed_loss(work.model, inputs, label), weights))
            for inputs, label in work.singles
        ]
    )


def build(work: Work) -> Norms:
    """Return the loop over single, unpadded rows."""
    return partial(_norms, work)


PEER = Peer("loop of autograd.grad", (), "torch", "all", build)
