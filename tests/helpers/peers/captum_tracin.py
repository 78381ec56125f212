"""Captum: self-influence of TracInCP with one checkpoint and a learning rate of 1, which is a squared norm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.helpers.peers.base import Norms, Peer, Tuples, linear_names
from tests.helpers.peers.workload import Work

# Captum holds the gradients of all rows of a mini-batch at once. Where it takes them one by one it gains nothing by
# large ones.
ROWS, FEW = 32, 8


def loaded(work: Work, rows: int) -> Any:
    """Return the mini-batches of the work, cut into pieces of so many rows, as a DataLoader of tuples."""
    tuples = [Tuples.of(batch) for batch in work.explicit]
    cut = [piece for whole in tuples for piece in zip(*(tensor.split(rows) for tensor in whole), strict=True)]
    return DataLoader(cut, batch_size=None)  # type: ignore[arg-type]


def tracin(work: Work, model: nn.Module, checkpoints: Sequence[Any], load: Callable[..., float], **options: Any) -> Any:
    """Return Captum's TracInCP for a wrapped model, with the summed cross-entropy of each mini-batch."""
    from captum.influence import TracInCP

    reduction = "sum" if options.get("sample_wise_grads_per_batch") else "none"
    return TracInCP(
        model,
        loaded(work, ROWS if options.get("sample_wise_grads_per_batch") else FEW),
        list(checkpoints),
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction=reduction),
        **options,
    )


def _unit_rate(_model: nn.Module, _checkpoint: Any) -> float:
    return 1.0


def _norms(method: Any) -> Tensor:
    found: Tensor = method.self_influence().sqrt()
    return found


def _build(work: Work, linear: bool) -> Norms:
    model = Tuples(copy.deepcopy(work.model))
    options = {"layers": linear_names(model), "sample_wise_grads_per_batch": True} if linear else {}
    return partial(_norms, tracin(work, model, ["here"], _unit_rate, **options))


def _build_fast(work: Work) -> Norms:
    from captum.influence import TracInCPFast

    model = Tuples(copy.deepcopy(work.model))
    last = model.get_submodule(linear_names(model)[-1])
    loss = nn.CrossEntropyLoss(reduction="sum")
    method = TracInCPFast(model, last, loaded(work, ROWS), ["here"], _unit_rate, loss_fn=loss)
    return partial(_norms, method)


LOOP = Peer("Captum TracInCP", ("captum",), "captum", "all", partial(_build, linear=False))
LINEAR = Peer("Captum TracInCP, batched", ("captum",), "captum", "linear", partial(_build, linear=True))
FAST = Peer("Captum TracInCPFast", ("captum",), "captum", "classifier weight", _build_fast)
