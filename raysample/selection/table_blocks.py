"""Score tables as blocks of rows, read again for every pass, or held where they are small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from raysample.core.errors import SelectionError
from raysample.data.score_table import GROUP_CODE, ScoreTable
from raysample.selection.policies.base import Policy, Rows
from raysample.selection.policies.steps import Chain, grouped

BLOCK_ROWS = 1 << 18
IN_MEMORY_ROWS = 1 << 22  # tables up to this size are read once for all counting passes


def needs_groups(table: ScoreTable, policy: Policy | Chain) -> bool:
    """Tell whether a policy looks at groups; raises SelectionError where the table has none."""
    if grouped(policy) and not table.grouped:
        raise SelectionError(
            f"the arm goes by groups, and the score table {table.uri!r} has none",
            "name their column (columns: {group: ...}) where the corpus is described, and score it again",
        )
    return grouped(policy)


def block_names(table: ScoreTable) -> list[tuple[str, ...]]:
    """Return the names of the table's parts in groups of about BLOCK_ROWS rows, as if all parts had as many."""
    size = max(1, BLOCK_ROWS * len(table.parts) // max(1, table.counts["scored"]))
    return [table.parts[start : start + size] for start in range(0, len(table.parts), size)]


@dataclass
class Blocks:
    """Reads some parts of a table as one block of rows; holds them for later passes where told to.

    What it holds stays in its process: where it is sent to, it reads anew.
    """

    table: ScoreTable
    columns: tuple[str, ...]
    more: tuple[str, ...]
    hold: bool
    held: dict[tuple[str, ...], Rows] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return Blocks, (self.table, self.columns, self.more, False)

    def __call__(self, names: tuple[str, ...]) -> Rows:
        """Return the block; its ids are read when they are first asked for: most passes never do."""
        if names in self.held:
            return self.held[names]
        whole = pa.concat_tables(self.table.read(self.columns, ("label", *self.more), names))
        scores = {name: whole[name].to_numpy() for name in self.columns}
        group = whole[GROUP_CODE].to_numpy() if self.more else None
        rows = Rows(partial(_ids, self.table, names), whole["label"].to_numpy(), scores, group=group)
        if self.hold:
            self.held[names] = rows
        return rows

    def visit(self, visit: Callable[[Rows], Any], names: tuple[str, ...]) -> Any:
        """Return what a visit says of a block."""
        return visit(self(names))


def _ids(table: ScoreTable, names: Sequence[str]) -> pa.Array:
    found = [part["row_id"].combine_chunks() for part in table.read((), ("row_id",), names)]
    return pa.concat_arrays([pa.array([], pa.string()), *found])
