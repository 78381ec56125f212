"""The loop that one would write for EL2N and VoG alone: resident models, length-sorted mini-batches, plain torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pad_sequence

from raysample.models import Encoded
from tests.helpers.peers.workload import Work


def scored_by_hand(work: Work, gradients: bool) -> dict[str, NDArray[np.float32]]:
    """Return EL2N and, with gradients, VoG of each row at all of the work's BERT classifiers, in row order.

    Weights that need no gradients cost none.
    """
    encoded, labels = work.encoded, work.labels
    found = {name: np.empty(len(labels), np.float32) for name in (("el2n", "vog") if gradients else ("el2n",))}
    for rows in mini_batches(encoded.lengths, work.batch_tokens):
        inputs, gold = _padded(encoded, rows), torch.from_numpy(labels[rows])
        errors, seen = list[Tensor](), list[Tensor]()
        for network in work.models:
            if gradients:
                logits, gradient = _with_gradient(network, inputs, gold)
                seen.append(gradient)
            else:
                with torch.inference_mode():
                    logits = network(**inputs).logits
            errors.append((logits.softmax(1) - one_hot(gold, logits.shape[1])).norm(dim=1))
        found["el2n"][rows] = torch.stack(errors).mean(0)
        if gradients:
            mask = inputs["attention_mask"]
            stacked = torch.stack(seen)
            spread = (stacked - stacked.mean(0)).square_().mean(0) * mask[..., None]  # faster than torch's `var`
            found["vog"][rows] = spread.sum((1, 2)) / (mask.sum(1) * spread.shape[2])
    return found


def mini_batches(lengths: NDArray[np.int32], budget: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows of similar length, as many as their padded tokens allow."""
    order, start = np.argsort(lengths, kind="stable"), 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > budget:
            yield order[start:stop]
            start = stop


def _padded(encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    ids = pad_sequence([torch.from_numpy(encoded.ids[row]).long() for row in rows], batch_first=True)
    lengths = torch.from_numpy(encoded.lengths[rows])
    return {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()}


def _with_gradient(network: nn.Module, inputs: dict[str, Tensor], gold: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and the gradient of the summed gold ones at the output of the embeddings."""
    embedded = list[Tensor]()

    def start_here(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    hook = network.base_model.embeddings.register_forward_hook(start_here)
    logits = network(**inputs).logits
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, gold[:, None]).sum(), embedded)
    return logits.detach(), gradient
