"""Random artifacts with the references that scores ask for: what a fold sees, without models and builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import Score
from raysample.influence.scores.reference import Reference
from raysample.influence.visits.artifacts import Artifacts

ARTIFACT_CLASSES, ARTIFACT_WIDTH = 3, 6


def run(checkpoints: int) -> tuple[Checkpoint, ...]:
    """Return checkpoints with learning rates that fall."""
    return tuple(Checkpoint(f"step-{k}", k, k / 2, 0.1 / k) for k in range(1, checkpoints + 1))


def trace(
    checkpoints: int = 5, rows: int = 7, tokens: int = 4, scores: Sequence[Score[Any]] = (), seed: int = 0
) -> list[Artifacts]:
    """Return random artifacts of one mini-batch at several checkpoints, in float64, with the scores' references."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(tokens)[None] < torch.randint(1, tokens + 1, (rows, 1), generator=generator)
    labels = torch.randint(ARTIFACT_CLASSES, (rows,), generator=generator)
    references = {reference for score in scores for reference in score.references}

    def drawn(*shape: int) -> Tensor:
        """Return standard normal numbers in float64."""
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    found = []
    for _ in range(checkpoints):
        dots = {r.key: drawn(rows, 2) for r in sorted(references, key=str) if r.kind.endswith(("gradient", "hessian"))}
        found.append(
            Artifacts(
                labels=labels,
                mask=mask,
                logits=2 * drawn(rows, ARTIFACT_CLASSES),
                features=drawn(rows, ARTIFACT_WIDTH),
                grad_norms=drawn(rows).abs(),
                embedding_grads={name: drawn(rows, tokens, 5) for name in ("logit", "loss", "probability")},
                grad_dots=dots,
                reference={r.key: reference_tensors(r, drawn) for r in sorted(references, key=str)},
                keys=torch.arange(rows) * 11 - 20,
            )
        )
    return found


def reference_tensors(reference: Reference, drawn: Any) -> dict[str, Tensor]:
    """Return the tensors of a reference; the sample of features has 25 rows, the first of them those of the batch."""
    if reference.kind in ("null_model", "priors"):
        return {"log_p": drawn(ARTIFACT_CLASSES).log_softmax(0)}
    if reference.kind != "features":
        return {}
    return {
        "features": drawn(25, ARTIFACT_WIDTH),
        "labels": torch.arange(25) * 7 % ARTIFACT_CLASSES,
        "keys": torch.arange(25) * 11 - 20,
        "centres": drawn(4, ARTIFACT_WIDTH),
        "medians": drawn(ARTIFACT_CLASSES, ARTIFACT_WIDTH),
    }


def folded(score: Score[Any], seen: Sequence[Artifacts]) -> Tensor:
    """Return what a score says after all of these visits."""
    state = score.init()
    for artifacts, at in zip(seen, run(len(seen)), strict=True):
        state = score.fold(state, artifacts, at)
    return score.value(state)


def artifact_rows(seen: Artifacts, rows: Tensor) -> Artifacts:
    """Return some rows of a mini-batch."""
    changed: dict[str, Any] = {}
    for field in fields(seen):
        value = getattr(seen, field.name)
        if field.name in ("embedding_grads", "grad_dots"):
            changed[field.name] = {key: tensor[rows] for key, tensor in value.items()}
        elif isinstance(value, Tensor):
            changed[field.name] = value[rows]
    return replace(seen, **changed)


def padded(seen: Artifacts, more: int) -> Artifacts:
    """Return a mini-batch with more padding, whose gradients are nonsense."""
    grads = {name: torch.nn.functional.pad(g, (0, 0, 0, more), value=7.0) for name, g in seen.embedding_grads.items()}
    return replace(seen, mask=torch.nn.functional.pad(seen.mask, (0, more)), embedding_grads=grads)
