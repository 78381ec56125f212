"""The page's section on labels: where they come from, how sure the production model was, what users did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysample.data.score_table import ScoreTable
from raysample.influence.label_origin import ORIGINS, meaning
from raysample.report.formatting import NOTHING, clean, share

_PARTS = {"train": "Training", "test": "Test"}


@dataclass(frozen=True)
class Labels:
    """The labels of one corpus: sentences, confidence as (heads, values), feedback as rows of cells."""

    title: str
    sentences: tuple[str, ...]
    confidence: tuple[tuple[str, ...], tuple[str, ...]] | None
    feedback: tuple[tuple[str, str, str, str], ...]


def label_sections(told: Mapping[str, Mapping[str, Any]], table: ScoreTable) -> tuple[Labels, ...]:
    """Return what the page says about the labels of each corpus.

    Args:
        told: `train` and `test`: `origin`, and where there are any `min_confidence`, `confidence` and `feedback`.
        table: the scores, which depend on the labels of training.
    """
    return tuple(_of(name, part, table) for name, part in told.items())


def _of(name: str, part: Mapping[str, Any], table: ScoreTable) -> Labels:
    origin, least = part["origin"], part.get("min_confidence")
    sentences = [f"{_PARTS.get(name, clean(name))} labels are {ORIGINS[origin]}."]
    if least is not None:
        sentences.append(f"Rows whose hypothesis has a confidence below {least:g} were left out.")
    if name == "train" and origin != "gold" and table.scores:
        sentences.append(f"Of the scores, {clean(meaning(table.scores))}.")
    return Labels(_PARTS.get(name, clean(name)), tuple(sentences), _confidence(part.get("confidence")), _feedback(part))


def _confidence(found: Mapping[str, Any] | None) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    if not found or not found["rows"]:
        return None
    heads = ("rows", "mean", "least", *(f"{10 * i} %" for i in range(1, 10)), "most")
    return heads, (f"{found['rows']:,}", *(f"{value:.3f}" for value in (found["mean"], *found["deciles"])))


def _feedback(part: Mapping[str, Any]) -> tuple[tuple[str, str, str, str], ...]:
    rows = part.get("feedback") or []
    total = sum(row["rows"] for row in rows)
    return tuple(
        (
            clean(row["value"]),
            clean(row["gives"]),
            f"{row['rows']:,} ({share(row['rows'] / total) if total else NOTHING})",
            f"{row['usable']:,}",
        )
        for row in rows
    )
