"""Find the rows that make a model or a tokenizer fail, by bisection, so that one odd row does not cost a shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from raysample.core.errors import ForwardError, RaysampleError
from raysample.influence.scores.base import ScoreColumns

if TYPE_CHECKING:
    from raysample.models import Encoded


PROBED = 8
"""Number of rows from which three of them are tried alone before a failure is attributed to single rows."""


class ScoreRowsFn(Protocol):
    """Scores rows: returns token counts [n] and columns of [n]; `encoded` are the rows' tokens, if already known."""

    def __call__(self, rows: pa.Table, encoded: Encoded | None = None, /) -> tuple[NDArray[np.int32], ScoreColumns]:
        """Score them."""
        ...


@dataclass(frozen=True)
class Scored:
    """Rows with their scores.

    `lengths` [n] tokens, `columns` of [n] values, `reasons` by position for rows without scores.

    A column may be missing if no row was scored; rows with a reason have 0 tokens and NaN in every column.
    """

    lengths: NDArray[np.int32]
    columns: ScoreColumns
    reasons: Mapping[int, str] = field(default_factory=dict)

    @staticmethod
    def nothing(rows: int, reason: str) -> Scored:
        """Return `rows` rows without scores, all with the same reason."""
        return Scored(np.zeros(rows, np.int32), {}, dict.fromkeys(range(rows), reason))

    def column(self, name: str) -> NDArray[np.float32]:
        """Return a column [n]; NaN for rows without a score."""
        return self.columns[name] if name in self.columns else np.full(len(self.lengths), np.nan, np.float32)

    def then(self, other: Scored) -> Scored:
        """Return these rows followed by the rows of `other`."""
        names = [*self.columns, *(name for name in other.columns if name not in self.columns)]
        return Scored(
            np.concatenate([self.lengths, other.lengths]),
            {name: np.concatenate([self.column(name), other.column(name)]) for name in names},
            {**self.reasons, **{place + len(self.lengths): why for place, why in other.reasons.items()}},
        )


def score_with_isolation(work: ScoreRowsFn, rows: pa.Table, encoded: Encoded | None = None) -> Scored:
    """Score rows; if that raises an error, score both halves separately, down to the single rows that fail.

    `encoded` are the tokens of all rows, if already known; the halves are tokenised again. A reason names the type of
    an error, never its message, which may quote text of the row. n rows with k bad ones cost O(k log n) calls.

    Raises:
        RaysampleError: an error that no row causes, as it was raised; out of memory as well. An error of the model's
            own code (ForwardError) may be caused by a row.
        Exception: the error itself if the first, a middle and the last row fail alone: then no single row is to blame.
    """
    try:
        return Scored(*work(rows, encoded))
    except Exception as error:
        # Halving would only repeat an error that no row causes.
        if _no_row(error):
            raise
        if len(rows) == 1:
            kind = error.kind if isinstance(error, ForwardError) else type(error).__name__
            return Scored.nothing(1, f"{kind} while it was scored")
        # If three rows far apart fail alone, the model fails on everything. Halving on would quarantine the whole
        # corpus, row by row, instead of reporting one error.
        if len(rows) >= PROBED and all(_fails(work, rows.slice(at, 1)) for at in (0, len(rows) // 2, len(rows) - 1)):
            raise
    half = len(rows) // 2
    return score_with_isolation(work, rows.slice(0, half)).then(score_with_isolation(work, rows.slice(half)))


def _fails(work: ScoreRowsFn, rows: pa.Table) -> bool:
    """Return whether scoring some rows raises an error that a row may cause."""
    try:
        work(rows)
    except Exception as error:
        if _no_row(error):
            raise
        return True
    return False


def _no_row(error: Exception) -> bool:
    """Return whether an error is known to be caused by no row."""
    known = isinstance(error, RaysampleError) and not isinstance(error, ForwardError)
    return known or isinstance(error, torch.OutOfMemoryError)
