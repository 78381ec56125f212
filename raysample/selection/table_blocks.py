"""Blocks of a score table's rows: read again in every pass, or kept in memory if the table is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from raysample.core.errors import SelectionError
from raysample.data.score_table import GROUP_CODE_COLUMN, ScoreTable
from raysample.selection.policies.base import Policy, Rows
from raysample.selection.policies.steps import Chain, grouped

BLOCK_ROWS = 1 << 18
IN_MEMORY_ROWS = 1 << 22  # tables up to this size are read once for all counting passes


def needs_groups(table: ScoreTable, policy: Policy | Chain) -> bool:
    """Return whether a policy reads groups; raises SelectionError if the table has none."""
    if grouped(policy) and not table.grouped:
        raise SelectionError(
            f"the arm goes by groups, and the score table {table.uri!r} has none",
            "name their column (columns: {group: ...}) where the corpus is described, and score it again",
        )
    return grouped(policy)


def block_names(table: ScoreTable) -> list[tuple[str, ...]]:
    """Return the names of the table's parts in blocks of about BLOCK_ROWS rows, assuming equal parts."""
    size = max(1, BLOCK_ROWS * len(table.parts) // max(1, table.counts["scored"]))
    return [table.parts[start : start + size] for start in range(0, len(table.parts), size)]


@dataclass
class Blocks:
    """Reads some parts of a table as one block of rows; keeps blocks in memory if `hold`.

    Blocks in memory belong to the process: a pickled copy starts empty and does not hold.
    """

    table: ScoreTable
    columns: tuple[str, ...]
    more: tuple[str, ...]
    hold: bool
    held: dict[tuple[str, ...], Rows] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return Blocks, (self.table, self.columns, self.more, False)

    def __call__(self, names: tuple[str, ...]) -> Rows:
        """Return the block of some parts. Row ids are read on first use: most passes never need them."""
        if names in self.held:
            return self.held[names]
        whole = pa.concat_tables(self.table.read(self.columns, ("label", *self.more), names))
        scores = {name: whole[name].to_numpy() for name in self.columns}
        group = whole[GROUP_CODE_COLUMN].to_numpy() if self.more else None
        rows = Rows(partial(_ids, self.table, names), whole["label"].to_numpy(), scores, group=group)
        if self.hold:
            self.held[names] = rows
        return rows

    def visit(self, visit: Callable[[Rows], Any], names: tuple[str, ...]) -> Any:
        """Return the result of a function for one block."""
        return visit(self(names))


def _ids(table: ScoreTable, names: Sequence[str]) -> pa.Array:
    """Return the row ids of some parts."""
    found = [part["row_id"].combine_chunks() for part in table.read((), ("row_id",), names)]
    return pa.concat_arrays([pa.array([], pa.string()), *found])
