"""Rows that a model or a tokenizer fails for are found by halving, so that one odd row does not cost a shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from raysample.core.errors import ForwardError, RaysampleError

Values = Mapping[str, NDArray[np.float32]]
Work = Callable[[pa.Table], tuple[NDArray[np.int32], Values]]
PROBED = 8
"""Rows from which on some are tried alone before a failure is taken for that of single rows."""


@dataclass(frozen=True)
class Scored:
    """Rows with their scores: tokens [n], columns of [n], and for rows that could not be scored the reason, by place.

    A column may lack where no row could be scored; rows with a reason have no tokens and NaN in every column.
    """

    lengths: NDArray[np.int32]
    columns: Values
    reasons: Mapping[int, str] = field(default_factory=dict)

    @staticmethod
    def nothing(rows: int, reason: str) -> Scored:
        """Return rows that could not be scored."""
        return Scored(np.zeros(rows, np.int32), {}, dict.fromkeys(range(rows), reason))

    def column(self, name: str) -> NDArray[np.float32]:
        """Return a column, NaN where nothing was scored."""
        return self.columns[name] if name in self.columns else np.full(len(self.lengths), np.nan, np.float32)

    def then(self, other: Scored) -> Scored:
        """Return these rows and others after them."""
        names = [*self.columns, *(name for name in other.columns if name not in self.columns)]
        return Scored(
            np.concatenate([self.lengths, other.lengths]),
            {name: np.concatenate([self.column(name), other.column(name)]) for name in names},
            {**self.reasons, **{place + len(self.lengths): why for place, why in other.reasons.items()}},
        )


def score_with_isolation(work: Work, rows: pa.Table) -> Scored:
    """Score rows; where that raises, both halves apart, down to the single rows that it raises for.

    Reasons name the kind of the error, never its words, in which there may be text.

    Raises:
        RaysampleError: what is known to be no row's fault, as it was raised; so is a lack of memory. What a model
            itself raises (ForwardError) may be one row's.
        Exception: the error itself where the first, the last and a row between fail, too: then no row is to blame.
    """
    try:
        return Scored(*work(rows))
    except Exception as error:
        if _no_row(error):
            raise
        if len(rows) == 1:
            kind = error.kind if isinstance(error, ForwardError) else type(error).__name__
            return Scored.nothing(1, f"{kind} while it was scored")
        if len(rows) >= PROBED and all(_fails(work, rows.slice(at, 1)) for at in (0, len(rows) // 2, len(rows) - 1)):
            raise
    half = len(rows) // 2
    return score_with_isolation(work, rows.slice(0, half)).then(score_with_isolation(work, rows.slice(half)))


def _fails(work: Work, rows: pa.Table) -> bool:
    try:
        work(rows)
    except Exception as error:
        if _no_row(error):
            raise
        return True
    return False


def _no_row(error: Exception) -> bool:
    """Tell whether an error is known to be no row's fault."""
    known = isinstance(error, RaysampleError) and not isinstance(error, ForwardError)
    return known or isinstance(error, torch.OutOfMemoryError)
