"""The scores: SCORES maps each name to its class, `create` builds one from what a configuration says.

A new score is one file with a public function and a final frozen class, and one line in SCORES.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from raysample.errors import ScoreError
from raysample.scores.base import Score
from raysample.scores.confidence import Confidence
from raysample.scores.correctness import Correctness
from raysample.scores.el2n import El2n
from raysample.scores.forgetting import Forgetting
from raysample.scores.grand import Grand
from raysample.scores.loss import Loss
from raysample.scores.variability import Variability
from raysample.scores.vog import Vog
from raysample.scores.window import Window

__all__ = ["SCORES", "Score", "Window", "create", "create_all"]

SCORES: dict[str, type[Score[Any]]] = {
    "vog": Vog,
    "el2n": El2n,
    "grand": Grand,
    "forgetting": Forgetting,
    "loss": Loss,
    "confidence": Confidence,
    "variability": Variability,
    "correctness": Correctness,
}

_RESERVED = ("row_id", "label", "tokens", "class")


def create(spec: str | Mapping[str, Any]) -> tuple[str, Score[Any]]:
    """Build one score and name its column.

    Args:
        spec: a name (`"vog"`), or a mapping with `name`, options of that score, and optionally `as`, the column's name
            (`{"name": "vog", "objective": "loss", "as": "vog_loss"}`).

    Raises:
        ScoreError: the name, an option or its value is unknown, or the column's name cannot be used.
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
        given["checkpoints"] = Window.parse(given["checkpoints"])
    return column, kind(**given)


def create_all(specs: Iterable[str | Mapping[str, Any]]) -> dict[str, Score[Any]]:
    """Build scores as `create` does, by column; raises ScoreError where two would have the same column."""
    found: dict[str, Score[Any]] = {}
    for spec in specs:
        column, score = create(spec)
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
