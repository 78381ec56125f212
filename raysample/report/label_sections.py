"""The report's section on labels: their origin, the production model's confidence, user feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysample.data.score_table import ScoreTable
from raysample.influence.label_origin import ORIGINS, meaning
from raysample.report.formatting import DASH, clean, share

_PARTS = {"train": "Training", "validation": "Validation", "test": "Test"}


@dataclass(frozen=True)
class Labels:
    """The labels of one corpus: sentences, confidence as (heads, values), feedback as rows of cells."""

    title: str
    sentences: tuple[str, ...]
    confidence: tuple[tuple[str, ...], tuple[str, ...]] | None
    feedback: tuple[tuple[str, str, str, str], ...]


def label_sections(corpora: Mapping[str, Mapping[str, Any]], table: ScoreTable) -> tuple[Labels, ...]:
    """Return the section on the labels of each corpus.

    Args:
        corpora: `train`, `validation`, `test` -> `origin`, and optionally `min_confidence`, `confidence`, `feedback`.
        table: the scores, which depend on the training labels.
    """
    return tuple(_of(name, part, table) for name, part in corpora.items())


def _of(name: str, part: Mapping[str, Any], table: ScoreTable) -> Labels:
    """Return the section on the labels of one corpus."""
    origin, least = part["origin"], part.get("min_confidence")
    sentences = [f"{_PARTS.get(name, clean(name))} labels are {ORIGINS[origin]}."]
    if least is not None:
        sentences.append(f"Rows whose hypothesis has a confidence below {least:g} were left out.")
    if name == "train" and origin != "gold" and table.scores:
        sentences.append(f"Of the scores, {clean(meaning(table.scores))}.")
    return Labels(_PARTS.get(name, clean(name)), tuple(sentences), _confidence(part.get("confidence")), _feedback(part))


def _confidence(confidence: Mapping[str, Any] | None) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return heads and values of the confidence table; None if there is no confidence."""
    if not confidence or not confidence["rows"]:
        return None
    heads = ("rows", "mean", "least", *(f"{10 * i} %" for i in range(1, 10)), "most")
    return heads, (
        f"{confidence['rows']:,}",
        *(f"{value:.3f}" for value in (confidence["mean"], *confidence["deciles"])),
    )


def _feedback(part: Mapping[str, Any]) -> tuple[tuple[str, str, str, str], ...]:
    """Return the rows of the feedback table."""
    rows = part.get("feedback") or []
    total = sum(row["rows"] for row in rows)
    return tuple(
        (
            clean(row["value"]),
            clean(row["gives"]),
            f"{row['rows']:,} ({share(row['rows'] / total) if total else DASH})",
            f"{row['usable']:,}",
        )
        for row in rows
    )
