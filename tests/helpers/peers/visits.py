"""What scoring does at one checkpoint, from the public parts of raysample: collect, then fold each score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.influence.scores import SCORES, Score, create_scores
from raysample.influence.scores.reference import Reference
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.influence.visits.sweep import score_block
from raysample.influence.visits.visit import collect
from tests.helpers.peers.base import relative_error
from tests.helpers.peers.workload import CLASSES, Batch, Work

# Scores that point to a target corpus: the name stands for made-up directions.
OPTIONS: dict[str, dict[str, Any]] = {"tracin_target": {"target": "made_up"}, "influence": {"target": "made_up"}}
PREDICTIONS = Need.LOGITS
FEATURES = Need.LOGITS | Need.FEATURES


def every_score() -> dict[str, Score[Any]]:
    """Return every score of the registry at its defaults, by name."""
    return create_scores([{"name": name, **OPTIONS.get(name, {})} for name in SCORES])


def only(scores: Mapping[str, Score[Any]], needs: Need) -> dict[str, Score[Any]]:
    """Return the scores that need no more than `needs`."""
    return {name: score for name, score in scores.items() if score.needs in needs}


@dataclass(frozen=True)
class Visit:
    """Some scores at the first checkpoint of the work, mini-batch by mini-batch, each from a fresh state.

    What a score needs from elsewhere is made up once, apart: it costs what it would cost, and means nothing.
    """

    work: Work
    scores: dict[str, Score[Any]]
    autocast: torch.dtype | None = None

    @cached_property
    def _stand_ins(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
        wanted = {reference for score in self.scores.values() for reference in score.references}
        pointed = {r for r in wanted if r.kind in ("target_gradient", "inverse_hessian")}
        tensors = {reference.key: _tensors(reference, self.work.model) for reference in wanted - pointed}
        return tensors, {reference.key: _directions(self.work.model) for reference in pointed}

    def __call__(self) -> list[dict[str, Any]]:
        """Return each mini-batch's states after one checkpoint."""
        tensors, directions = self._stand_ins
        needs, objectives = Need.LOGITS, frozenset[str]()
        for score in self.scores.values():
            needs, objectives = needs | score.needs, objectives | score.objectives
        pointed: dict[str, Any] = {"directions": directions} if directions else {}
        states = []
        for inputs, labels in self.work.batches:
            seen = collect(self.work.model, inputs, labels, needs, objectives, autocast=self.autocast, **pointed)
            seen = replace(seen, reference=tensors, keys=torch.arange(len(labels)))
            at = self.work.checkpoints[0]
            states.append({name: score.fold(score.init(), seen, at) for name, score in self.scores.items()})
        return states


def _tensors(reference: Reference, model: nn.Module) -> dict[str, Tensor]:
    if reference.kind in ("null_model", "priors"):
        return {"log_p": torch.full((CLASSES,), -np.log(CLASSES))}
    width = [module for module in model.modules() if isinstance(module, nn.Linear)][-1].in_features
    rows, draw = int(reference.given["rows"]), torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(rows, width, generator=draw),
        "labels": torch.arange(rows) % CLASSES,
        "keys": -1 - torch.arange(rows),
        "centres": torch.randn(reference.given["clusters"] or CLASSES, width, generator=draw),
        "medians": torch.randn(CLASSES, width, generator=draw),
    }


def _directions(model: nn.Module) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(1, *weight.shape, generator=draw) for name, weight in model.named_parameters()}


def swept(work: Work, specs: Sequence[Any]) -> dict[str, NDArray[np.float32]]:
    """Return the scores of every row at all checkpoints of the work, as scoring makes them, in row order."""
    return score_block(
        work.models,
        work.checkpoints,
        work.encoded,
        work.labels,
        create_scores(specs),
        pad=work.padded,
        batch_tokens=work.batch_tokens,
    )


def own_errors(work: Work, expected: NDArray[np.float64]) -> dict[str, float]:
    """Return the largest relative errors of raysample's gradient norms and embedding gradients.

    Args:
        work: the rows and the model.
        expected: the gradient norm of each row by a loop over single rows, in the order of the mini-batches.
    """
    fast = embedding_grads(work, work.batches)
    slow = [row for single in work.singles for row in embedding_grads(work, [single])]
    apart = [float((a - b).norm() / b.norm()) for a, b in zip(fast, slow, strict=True)]
    return {
        "gradient norms against the loop": relative_error(grad_norms(work).double().numpy(), expected),
        "embedding gradients, in a mini-batch against alone": max(apart),
    }


def grad_norms(work: Work, autocast: torch.dtype | None = None) -> Tensor:
    """Return raysample's gradient norms of all rows, in the order of the mini-batches."""
    found = [collect(work.model, *batch, Need.GRAD_NORMS, autocast=autocast).grad_norms for batch in work.batches]
    return torch.cat([norms for norms in found if norms is not None])


def embedding_grads(work: Work, batches: Sequence[Batch]) -> list[Tensor]:
    """Return raysample's gradients of the gold logit at the embedding output, [tokens, dims] per row."""

    def of(seen: Artifacts) -> list[Tensor]:
        return [g[kept] for g, kept in zip(seen.embedding_grads["logit"], seen.mask, strict=True)]

    wish = Need.EMBEDDING_GRADS, frozenset({"logit"})
    return [row for batch in batches for row in of(collect(work.model, *batch, *wish))]
