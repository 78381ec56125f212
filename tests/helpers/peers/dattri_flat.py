"""dattri: the per-example gradients of its TracIn, whose vmap runs over one flat vector of all parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.peers.base import Norms, Peer
from tests.helpers.peers.torch_func import added_mask, eager
from tests.helpers.peers.workload import Work

ROWS = 8


def _loss(model: Any, params: dict[str, Tensor], data: tuple[Tensor, ...]) -> Tensor:
    ids, types, mask, label = data
    given = {"input_ids": ids[None], "token_type_ids": types[None], "attention_mask": mask[None]}
    return functional.cross_entropy(functional_call(model, params, kwargs=given).logits, label[None])


def _data(work: Work) -> TensorDataset:
    longest = max(inputs["input_ids"].shape[1] for inputs, _ in work.batches)

    def column(name: str) -> Tensor:
        return torch.cat([functional.pad(i[name], (0, longest - i[name].shape[1])) for i, _ in work.batches])

    mask = added_mask(column("attention_mask"))
    labels = torch.cat([labels for _, labels in work.batches])
    return TensorDataset(column("input_ids"), column("token_type_ids"), mask, labels)


def _norms(gradients: Any, weights: Tensor, rows: DataLoader[Any]) -> Tensor:
    return torch.stack([row.double().norm() for batch in rows for row in gradients(weights, tuple(batch))])


def build(work: Work) -> Norms:
    """Return the norms of the gradients that dattri's TracIn takes, of one checkpoint, in pieces of one length.

    Its own `self_attribute` projects them to 512 random dimensions, and sums over one flat vector in float32 are too
    rough for the gate; so the norms are taken here, in float64.
    """
    from dattri.task import AttributionTask

    model = eager(work.model)
    task = AttributionTask(loss_func=partial(_loss, model), model=model, checkpoints=model.state_dict())
    weights, _ = task.get_param(ckpt_idx=0)
    gradients = task.get_grad_loss_func(in_dims=(None, 0))
    return partial(_norms, gradients, weights.detach(), DataLoader(_data(work), batch_size=ROWS))


PEER = Peer("dattri, gradients of TracIn", ("dattri",), "dattri", "all", build)
