"""The contract of every score, built-in or plug-in: `check_score(cls)` raises AssertionError for what it breaks.

The fold is checked on random artifacts, one mini-batch of nine rows at seven checkpoints in float64. A score without
references is also checked through tiny models, alone and beside other scores.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.registry import identify, import_class
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import SCORE_REGISTRY, Need, Score, create_score, create_scores
from raysample.influence.visits.artifacts import Artifacts
from raysample.influence.visits.sweep import score_block
from raysample.models import Encoded, pad
from raysample.testing.artifacts import ARTIFACT_CLASSES, artifact_rows, folded, padded, run, trace
from raysample.testing.expectations import expect
from raysample.testing.tiny import tiny_model

CONTRACT_ROWS, CONTRACT_CHECKPOINTS = 9, 7
CONTRACT_TOLERANCE = 1e-10
OTHER_SCORES = ("vog", "el2n", "grand")
"""Scores that are computed together with the one that is checked: their artifacts come from the same visits."""


def check_score(kind: type[Score[Any]], **options: Any) -> None:
    """Hold a score class against the contract; its options are `example`, and those given here.

    Checked: name, direction and documentation; found again by its path; frozen and picklable; its options build the
    same score; one finite value per example; no example knows its mini-batch (order, size, padding); a row that is not
    finite has no value and changes no other; no state is shared between folds; only what `needs` declares is used;
    `uses_label` and `discrete` are true; and, for scores without references, alone = together through models.

    Raises:
        AssertionError: a promise that the class does not keep, in words.

    Example:
        >>> from raysample.influence.scores import SCORES
        >>> check_score(SCORES["el2n"])
    """
    _check_class(kind)
    score = kind(**{**kind.example, **options})
    score.check()
    _check_options(kind, score)
    seen = trace(CONTRACT_CHECKPOINTS, CONTRACT_ROWS, scores=[score])
    if score.last_only:
        seen = seen[-1:]
    values = folded(score, seen)
    _check_values(score, values)
    _check_independence(score, seen, values)
    _check_state(score, seen, values)
    _check_declared(score, seen, values)
    if not score.references:
        _check_through_models(kind, score)


def _check_class(kind: type[Score[Any]]) -> None:
    """Check what can be seen without an instance."""
    expect(isinstance(kind, type) and issubclass(kind, Score), f"{kind!r} is a subclass of raysample.Score")
    called = kind.__name__
    expect(is_dataclass(kind) and "__dataclass_fields__" in vars(kind), f"{called} is decorated as a dataclass")
    expect(kind.__dataclass_params__.frozen, f"{called} is a frozen dataclass")  # type: ignore[attr-defined]
    expect(kind.higher_is in ("harder", "easier"), f"{called}.higher_is is `harder` or `easier`")
    expect(isinstance(kind.version, str) and kind.version != "", f"{called}.version is a string")
    expect(kind.min_checkpoints >= 1, f"{called}.min_checkpoints is 1 or more")
    expect(kind.designed_runs >= 1, f"{called}.designed_runs is 1 or more")
    told = (inspect.getdoc(kind) or "").lower()
    lacking = [word for word in ("range", "source", "designed for", "high is") if word not in told]
    expect(not lacking, f"the docstring of {called} says: {', '.join(lacking)}")
    path = identify("score", kind).path
    expect(import_class(path) is kind, f"a worker finds {called} as {path!r}: define it at the top of a module")


def _check_options(kind: type[Score[Any]], score: Score[Any]) -> None:
    """Check that a score is a value: immutable, picklable, and made again from its options."""
    expect(pickle.loads(pickle.dumps(score)) == score, f"{score.name} pickles")  # noqa: S301 - made on this line
    try:
        score.checkpoints = score.checkpoints  # type: ignore[misc]
    except FrozenInstanceError:
        pass
    else:
        raise AssertionError(f"{score.name} is immutable")
    again = create_score({"name": configured_score_name(kind), **score.options()})
    expect(again == (kind.name, score), f"the options of {score.name} make the same score, in a column of its name")


def configured_score_name(kind: type[Score[Any]]) -> str:
    """Return how a configuration calls a score class: by its name, or by its path if it is a plug-in."""
    plugin = SCORE_REGISTRY.plugin(kind)
    return kind.name if plugin is None else plugin.path


def _check_values(score: Score[Any], values: Tensor) -> None:
    """Check that values are finite, one per example, and not all the same."""
    expect(
        values.shape == (CONTRACT_ROWS,), f"{score.name} has one value per example, not the shape {tuple(values.shape)}"
    )
    expect(bool(values.isfinite().all()), f"{score.name} is finite where all that it sees is")
    expect(bool(values.max() > values.min()), f"{score.name} tells examples apart")
    stepwise = bool((values == values.round()).all())
    expect(score.discrete or not stepwise, f"{score.name} has whole numbers alone and so declares `discrete = True`")


def _check_independence(score: Score[Any], seen: Sequence[Artifacts], values: Tensor) -> None:
    """Check that a row's value depends on that row alone."""
    order = torch.randperm(CONTRACT_ROWS, generator=torch.Generator().manual_seed(3))
    _close(
        folded(score, [artifact_rows(one, order) for one in seen]),
        values[order],
        f"{score.name} follows its rows' order",
    )
    alone = [folded(score, [artifact_rows(one, torch.tensor([row])) for one in seen]) for row in range(CONTRACT_ROWS)]
    _close(torch.cat(alone), values, f"{score.name} of a row alone is that of the row in a mini-batch")
    _close(folded(score, [padded(one, 5) for one in seen]), values, f"{score.name} does not see padding")
    broken = [_with_nan(one) if k == len(seen) - 1 else one for k, one in enumerate(seen)]
    found = folded(score, broken)
    others = torch.arange(CONTRACT_ROWS) != 2
    expect(bool(found[2].isnan()), f"{score.name} has no number for a row whose logits and gradients are not finite")
    _close(found[others], values[others], f"{score.name} of a row does not depend on a row that is not finite")


def _with_nan(seen: Artifacts) -> Artifacts:
    """Return artifacts whose third row is not finite."""

    def spoilt(value: Tensor | None) -> Tensor | None:
        """Return a copy of a field whose third row is NaN."""
        if value is None:
            return None
        found = value.clone()
        found[2] = torch.nan
        return found

    changed: dict[str, Any] = {name: spoilt(getattr(seen, name)) for name in ("logits", "features", "grad_norms")}
    for name in ("embedding_grads", "grad_dots"):
        changed[name] = {key: spoilt(value) for key, value in getattr(seen, name).items()}
    return replace(seen, **changed)


def _check_state(score: Score[Any], seen: Sequence[Artifacts], values: Tensor) -> None:
    """Check that states pickle, belong to one fold, and are never written to."""
    reversed_rows = torch.arange(CONTRACT_ROWS - 1, -1, -1)
    first, second = score.init(), score.init()
    for artifacts, at in zip(seen, run(len(seen)), strict=True):
        kept = pickle.dumps(first)
        following = score.fold(first, artifacts, at)
        expect(pickle.dumps(first) == kept, f"{score.name}.fold returns a new state and leaves the old one as it was")
        first = pickle.loads(pickle.dumps(following))  # noqa: S301 - made on this line
        second = score.fold(second, artifact_rows(artifacts, reversed_rows), at)
    _close(score.value(first), values, f"{score.name} shares no state between folds")
    _close(score.value(second), values[reversed_rows], f"{score.name} shares no state between folds")


def _check_declared(score: Score[Any], seen: Sequence[Artifacts], values: Tensor) -> None:
    """Check that a score uses no more than it declares, and says whether it looks at the label."""
    bare = [
        replace(
            one,
            features=one.features if Need.FEATURES in score.needs else None,
            grad_norms=one.grad_norms if Need.GRAD_NORMS in score.needs else None,
            embedding_grads={name: one.embedding_grads[name] for name in score.objectives},
        )
        for one in seen
    ]
    try:
        found = folded(score, bare)
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        raise AssertionError(f"{score.name} uses only what `needs` and `objectives` declare ({error!r})") from error
    _close(found, values, f"{score.name} uses only what `needs` and `objectives` declare")
    if score.needs in Need.LOGITS | Need.FEATURES:
        turned = [replace(one, labels=(one.labels + 1) % ARTIFACT_CLASSES) for one in seen]
        same = bool((folded(score, turned) == values).all())
        expect(same is not score.uses_label, f"{score.name}.uses_label is {not same}")


def _check_through_models(kind: type[Score[Any]], score: Score[Any]) -> None:
    """Check through models: alone as together, whatever the mini-batches and their padding."""
    spec = {"name": configured_score_name(kind), **score.options(), "as": "checked"}
    alone = _scored([spec], 40, 0)
    expect(alone.dtype == np.float32 and alone.shape == (14,), f"{score.name} is one float32 per row of a block")
    for what, values in (
        ("computed beside other scores", _scored([*OTHER_SCORES, spec], 40, 0)),
        ("in mini-batches of one row", _scored([spec], 1, 0)),
        ("in one mini-batch", _scored([spec], 10_000, 0)),
        ("with more padding", _scored([spec], 40, 5)),
    ):
        same = np.allclose(values, alone, rtol=1e-6, atol=1e-9)
        expect(same, f"{score.name} is the same {what}")


def _scored(specs: list[Any], batch_tokens: int, wider: int) -> NDArray[np.float32]:
    """Return the column `checked` of fourteen rows, scored at five tiny models in float64."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 40, size=n).astype(np.int32) for n in rng.integers(3, 12, size=14)]
    types = [(np.arange(len(row)) > 2).astype(np.int32) for row in ids]
    encoded = Encoded(ids, types, np.array([len(row) for row in ids], np.int32))
    models: Any = [tiny_model("bert", seed=seed).double() for seed in range(5)]
    at = tuple(Checkpoint(f"step-{k}", 10 * k, float(k), 1e-3) for k in range(1, 6))

    def wide(batch: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return a padded mini-batch with more columns of padding."""
        return {key: nn.functional.pad(value, (0, wider)) for key, value in pad(encoded, batch, 0).items()}

    labels = rng.integers(3, size=14)
    found = score_block(models, at, encoded, labels, create_scores(specs), pad=wide, batch_tokens=batch_tokens)
    return found["checked"]


def _close(found: Tensor, expected: Tensor, promise: str) -> None:
    """Check that two tensors have one shape and equal values up to CONTRACT_TOLERANCE."""
    same = torch.allclose(found.double(), expected.double(), rtol=CONTRACT_TOLERANCE, atol=1e-12, equal_nan=True)
    expect(found.shape == expected.shape and same, promise)
