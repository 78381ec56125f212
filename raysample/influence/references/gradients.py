"""`target_gradient`: the mean loss gradient of a target corpus at every checkpoint, a direction for dot products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from raysample import training
from raysample.core.arrays import IntArray
from raysample.core.errors import ScoreError
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.halving import map_in_halves
from raysample.core.numerics.hessian import flatten, unflatten
from raysample.core.numerics.precision import autocast
from raysample.core.numerics.predictions import cross_entropies
from raysample.data.row_sampling import sort_by_row_hash
from raysample.influence.references.build_context import BuildContext, Notes, among, reference_options
from raysample.influence.references.folder import Tensors
from raysample.influence.references.rows import tokenize_rows
from raysample.influence.scores.reference import Reference
from raysample.training import Examples

GRADIENT_DEFAULTS = {"target": None, "by": "all"}


def build_target_gradients(work: BuildContext, reference: Reference, notes: Notes) -> Iterator[tuple[int, Tensors]]:
    """Yield ḡ = (1/n) Σ ∇_w ℓ(w_t, z′) over the target's rows at each checkpoint: {parameter: [M, *shape]} float32.

    Loss in nats, eval mode, over all parameters that are trainable and not frozen. Options: `target`, the target's
    name; `by`: `all` gives one direction (M = 1), `class` one per class that occurs in the target, in label order
    (listed in the manifest), each the mean over the rows of that class.

    Source: TracInCP (Pruthi et al. 2020), whose sum over target examples of dot products is n times the dot product
    with ḡ.
    """
    given = reference_options(reference, GRADIENT_DEFAULTS)
    among(reference, "by", given["by"], ("all", "class"))
    corpus = work.target(given["target"])
    data = tokenize_rows(sort_by_row_hash(corpus.table()), work.tokenizer(), work.request.model)
    groups = [np.arange(len(data))]
    if given["by"] == "class":
        present = np.unique(data.labels)
        groups = [np.flatnonzero(data.labels == label) for label in present]
        notes["classes"] = [corpus.labels[label] for label in present]
    notes["target_rows"] = len(data)
    for checkpoint in work.run.checkpoints:
        network = work.model(checkpoint)
        dtype = work.autocast(network)
        means = [mean_gradient(network, data, rows, work.request.batch_tokens, dtype=dtype) for rows in groups]
        yield checkpoint.step, directions(network, means)


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name; raises ScoreError if every parameter is frozen."""
    found = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    if not found:
        raise ScoreError("no parameter of the model is trainable", "let model.freeze match fewer names")
    return found


def directions(network: nn.Module, vectors: list[Tensor]) -> Tensors:
    """Return M vectors [P] over the trainable parameters as {parameter: [M, *shape]} float32."""
    weights = trainable(network)
    pieces = [unflatten(vector.float(), list(weights.values())) for vector in vectors]
    return {name: torch.stack([piece[i] for piece in pieces]) for i, name in enumerate(weights)}


def total_loss(network: nn.Module, data: Examples, rows: IntArray, dtype: torch.dtype | None = None) -> Tensor:
    """Return the summed cross-entropy (nats) of some rows; a sum, so that mini-batches can be added."""
    labels = torch.from_numpy(data.labels[rows]).to(next(network.parameters()).device)
    return cross_entropies(logits_of(network, data, rows, dtype), labels).sum()


def logits_of(network: nn.Module, data: Examples, rows: IntArray, dtype: torch.dtype | None = None) -> Tensor:
    """Return the logits [B, C] of some rows."""
    device = next(network.parameters()).device
    inputs, _ = training.batch(data, rows, str(device))
    with autocast(device.type, dtype):
        logits: Tensor = network(**inputs).logits
    return logits


def mean_gradient(
    network: nn.Module, data: Examples, rows: IntArray, batch_tokens: int, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the mean gradient [P] of the loss over rows, with parameters in the order of `trainable`.

    Args:
        network: in eval mode; its `.grad` fields are not changed.
        data: tokenised rows.
        rows: positions in `data`.
        batch_tokens: token budget of a mini-batch; a mini-batch that runs out of memory is halved.
        dtype: lower precision of forward and backward.

    Raises:
        ScoreError: the gradient is not finite, or nothing is trainable.
    """
    weights = list(trainable(network).values())

    def gradient(batch: IntArray) -> Tensor:
        """Return the gradient of the summed loss of the rows at some positions, [P]."""
        loss = total_loss(network, data, batch, dtype)
        return flatten(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))

    total = torch.zeros(sum(w.numel() for w in weights), dtype=weights[0].dtype, device=weights[0].device)
    for batch in token_batches(data.encoded.lengths[rows], batch_tokens):
        for piece in map_in_halves(gradient, rows[batch]):
            total += piece
    if not bool(total.isfinite().all()):
        raise ScoreError("the mean gradient of the target is not finite", "score in float32; check the checkpoint")
    return total / len(rows)
