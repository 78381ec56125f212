"""Example rows of the report: the hardest, the easiest and the suspected mislabelled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysample.data.score_table import BASE_COLUMNS, ScoreTable
from raysample.influence.scores import describe_column
from raysample.report.formatting import clean

TEXT_LIMIT = 320


@dataclass(frozen=True)
class ExampleRule:
    """Rule of one group of examples: the `highest` or lowest values of one column."""

    title: str
    column: str
    highest: bool
    note: str

    @property
    def words(self) -> str:
        """The rule as text for the page."""
        return f"{'Highest' if self.highest else 'Lowest'} {clean(self.column)}. {self.note}"


@dataclass(frozen=True)
class Example:
    """One example row: id, label, token count, the value of every score, and the text if it may be shown."""

    row_id: str
    label: str
    tokens: int
    scores: tuple[str, ...]
    text: str | None


@dataclass(frozen=True)
class Group:
    """A titled list of examples and their rule."""

    title: str
    rule: str
    rows: tuple[Example, ...]


def is_harder_up(table: ScoreTable, column: str) -> bool:
    """Return whether higher values of a column mean harder rows (the default if its score does not say)."""
    return bool(table.scores[column].get("higher_is", "harder") == "harder")


def rules(table: ScoreTable) -> tuple[ExampleRule, ...]:
    """Return the rules for hardest, easiest and suspected rows.

    Suspects come from the score that points best at wrong labels, by what each score says of itself, and from the first
    column if none does. Hardest and easiest use the first *other* column if there is one, so that the lists differ.
    """
    if not table.columns:
        return ()
    ranks = {c: describe_column({"score": c, **table.scores[c]}).label_error_rank for c in table.columns}
    suspect = max(table.columns, key=lambda c: ranks[c])  # the first of equals
    main = next((c for c in table.columns if c != suspect), suspect)
    up = is_harder_up(table, main)
    doubt = "The model doubts these labels most: worth a look before training again, no proof that they are wrong."
    return (
        ExampleRule("Hardest", main, up, "Rows this score finds most difficult."),
        ExampleRule("Easiest", main, not up, "Rows this score finds least informative."),
        ExampleRule("Suspected mislabelled", suspect, is_harder_up(table, suspect), doubt),
    )


def choose_examples(data: pa.Table, rule: ExampleRule, examples: int) -> pa.Table:
    """Return the rows that a rule chooses, in its order; ties are broken by row id, non-finite values left out."""
    usable = data.filter(pc.is_finite(data[rule.column]))
    keys = [(rule.column, "descending" if rule.highest else "ascending"), ("row_id", "ascending")]
    return usable.take(pc.select_k_unstable(usable, min(examples, usable.num_rows), keys))


def groups(table: ScoreTable, found: Sequence[pa.Table], texts: Mapping[str, str] | None) -> tuple[Group, ...]:
    """Return the groups of examples from the rows that each rule chose; `texts` None shows no text."""
    return tuple(
        Group(rule.title, rule.words, tuple(_example(table, row, texts) for row in rows.to_pylist()))
        for rule, rows in zip(rules(table), found, strict=True)
    )


def _example(table: ScoreTable, row: Mapping[str, Any], texts: Mapping[str, str] | None) -> Example:
    """Return one example from a table row."""
    row_id, label, tokens = (row[name] for name in BASE_COLUMNS)
    text = None if texts is None else clean(texts.get(row_id, "(text not found)"), TEXT_LIMIT)
    scores = tuple(f"{row[column]:.4g}" for column in table.columns)
    return Example(clean(row_id, 80), clean(table.labels[label], 80), tokens, scores, text)
