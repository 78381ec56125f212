"""Every score of the registry as a configuration may ask for it, with what the target-aware ones need."""

from __future__ import annotations

from typing import Any

from raysample.influence.scores import SCORES, Score

TARGET = "held_out"
EASIER = {"influence": {"damping": 1.0}}
"""Options with which a score is itself, and cheap: with more damping conjugate gradients need fewer products."""
NEEDS_TARGET = tuple(name for name, kind in SCORES.items() if "target" in kind.example)


def specs() -> list[str | dict[str, Any]]:
    """Return one spec per score, under its own name."""
    return [spec(name) for name in SCORES]


def spec(name: str) -> str | dict[str, Any]:
    """Return the spec of one score."""
    options = {**SCORES[name].example, **EASIER.get(name, {})}
    return {"name": name, **options} if options else name


def made(name: str, **options: Any) -> Score[Any]:
    """Return a score, with the options of its example and these."""
    kind = SCORES[name]
    return kind(**{**kind.example, **options})
