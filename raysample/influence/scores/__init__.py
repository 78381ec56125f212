"""The scores: SCORES maps each name to its class, `create` builds one from what a configuration says.

A new score is one file with a public function and a final frozen class, in the folder of what it is made of
(`gradients`, `predictions`, `features`), and one line in SCORES.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from raysample.core.errors import ScoreError
from raysample.influence.scores.base import Score, from_logits
from raysample.influence.scores.features.knn_label_disagreement import KnnLabelDisagreement
from raysample.influence.scores.features.moderate import Moderate
from raysample.influence.scores.features.prototype import Prototype
from raysample.influence.scores.gradients.grand import Grand
from raysample.influence.scores.gradients.grand_last import GrandLast
from raysample.influence.scores.gradients.influence import Influence
from raysample.influence.scores.gradients.tracin_self import TracinSelf
from raysample.influence.scores.gradients.tracin_target import TracinTarget
from raysample.influence.scores.gradients.vog import Vog
from raysample.influence.scores.predictions.aum import Aum
from raysample.influence.scores.predictions.confidence import Confidence
from raysample.influence.scores.predictions.correctness import Correctness
from raysample.influence.scores.predictions.dual import Dual
from raysample.influence.scores.predictions.dyn_unc import DynUnc
from raysample.influence.scores.predictions.el2n import El2n
from raysample.influence.scores.predictions.entropy import Entropy
from raysample.influence.scores.predictions.forgetting import Forgetting
from raysample.influence.scores.predictions.loss import Loss
from raysample.influence.scores.predictions.margin import Margin
from raysample.influence.scores.predictions.pvi import Pvi
from raysample.influence.scores.predictions.tdds import Tdds
from raysample.influence.scores.predictions.variability import Variability
from raysample.influence.scores.window import CheckpointWindow

__all__ = ["SCORES", "CheckpointWindow", "Score", "create_score", "create_scores", "from_logits"]

SCORES: dict[str, type[Score[Any]]] = {
    "vog": Vog,
    "grand": Grand,
    "grand_last": GrandLast,
    "tracin_self": TracinSelf,
    "tracin_target": TracinTarget,
    "influence": Influence,
    "el2n": El2n,
    "loss": Loss,
    "entropy": Entropy,
    "margin": Margin,
    "confidence": Confidence,
    "variability": Variability,
    "correctness": Correctness,
    "forgetting": Forgetting,
    "aum": Aum,
    "pvi": Pvi,
    "dyn_unc": DynUnc,
    "tdds": Tdds,
    "dual": Dual,
    "prototype": Prototype,
    "moderate": Moderate,
    "knn_label_disagreement": KnnLabelDisagreement,
}

_RESERVED = ("row_id", "label", "tokens", "group", "group_code", "class")


def create_score(spec: str | Mapping[str, Any]) -> tuple[str, Score[Any]]:
    """Build one score and name its column.

    Args:
        spec: a name (`"vog"`), or a mapping with `name`, options of that score, and optionally `as`, the column's name
            (`{"name": "vog", "objective": "loss", "as": "vog_loss"}`).

    Raises:
        ScoreError: the name, an option or its value is unknown, an option is missing, or the column's name cannot be
            used.
    """
    given: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    if name not in SCORES:
        raise _unknown("score", name, SCORES)
    column = _column(given.pop("as", name))
    kind = SCORES[name]
    known = [option.name for option in fields(kind)]
    for option in given:
        if option not in known:
            raise _unknown(f"option of score {name!r}", option, ["as", *known])
    if "checkpoints" in given:
        given["checkpoints"] = CheckpointWindow.parse(given["checkpoints"])
    score = kind(**given)
    score.check()
    return column, score


def create_scores(specs: Iterable[str | Mapping[str, Any]]) -> dict[str, Score[Any]]:
    """Build scores as `create` does, by column; raises ScoreError where two would have the same column."""
    found: dict[str, Score[Any]] = {}
    for spec in specs:
        column, score = create_score(spec)
        if column in found:
            raise ScoreError(
                f"two scores would be written to the column {column!r}",
                f"name one of them, for example {{name: {score.name}, ..., as: {column}_2}}",
            )
        found[column] = score
    return found


def _unknown(what: str, name: Any, known: Iterable[str]) -> ScoreError:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ScoreError(f"there is no {what} called {name!r}", f"{hint}known: {', '.join(known)}")


def _column(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name) or name in _RESERVED:
        raise ScoreError(
            f"{name!r} cannot be the name of a score's column",
            f"use letters, digits, '_', '.' and '-', starting with a letter, and none of {', '.join(_RESERVED)}",
        )
    return name
