"""One look at a table's parts, one part at a time: the rows to show as examples, and a sample for rank correlations.

What is kept does not grow with the table. Parts may be looked at in any order and on any worker: which rows are kept
depends on their scores and ids alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from raysample.core.map_fn import MapFn, threads
from raysample.core.numerics.radix import seeded
from raysample.core.statistics import Statistics
from raysample.data.identity import hash_row_ids
from raysample.data.score_table import ScoreTable
from raysample.report.examples import ExampleRule, choose_examples, rules
from raysample.selection.table_blocks import block_names

SAMPLE_ROWS = 100_000
PART = "part"
_SEED = 0x5EED
_HASH = "hash"


@dataclass(frozen=True)
class TableSample:
    """What the page shows of a score table.

    Attributes:
        statistics: of all rows.
        examples: for each of the `rules` its rows, first first, with the name of the part they lie in.
        sample: tokens and scores of at most 100,000 rows, all where there are no more; by the lowest hashes of row ids.
    """

    statistics: Statistics
    examples: tuple[pa.Table, ...]
    sample: pa.Table

    def places(self) -> dict[str, list[str]]:
        """Return the ids of the example rows by the part that they lie in, so that just those texts are looked up."""
        found: dict[str, list[str]] = {}
        for rows in self.examples:
            for row_id, part in zip(rows["row_id"].to_pylist(), rows[PART].to_pylist(), strict=True):
                if row_id not in found.setdefault(part, []):
                    found[part].append(row_id)
        return found


def collect_table_sample(
    table: ScoreTable, examples: int, spread: MapFn = threads, sample: int = SAMPLE_ROWS
) -> TableSample | None:
    """Look at a table; None where it has no rows. `spread` maps over blocks of parts (`Engine.map`).

    Raises:
        ScoreError: its statistics are missing or those of another table.
    """
    if not table.counts["scored"]:
        return None
    shown = rules(table)
    see = partial(_see, table, shown, examples, bound(sample, table.counts["scored"]))
    best: list[pa.Table] | None = None
    sampled = []
    for rows, some in spread(see, block_names(table)):
        best = rows if best is None else _better(best, rows, shown, examples)
        sampled.append(some)
    assert best is not None, "a table with parts has blocks"
    drawn = pa.concat_tables(sampled)
    drawn = drawn.take(pa.array(np.argsort(drawn[_HASH].to_numpy(), kind="stable")[:sample])).drop_columns([_HASH])
    return TableSample(table.statistics(), tuple(best), drawn)


def bound(sample: int, rows: int) -> int:
    """Return the hash below which rows are gathered: a little more than `sample` of them; all of a small table."""
    share = 1.0 if rows <= sample else (sample + 8 * math.sqrt(sample) + 64) / rows
    return min(round(share * 2.0**64), 2**64 - 1)


def _see(
    table: ScoreTable, shown: Sequence[ExampleRule], examples: int, below: int, names: Sequence[str]
) -> tuple[list[pa.Table], pa.Table]:
    """Look at some parts, one after the other; each is forgotten before the next one is read."""
    best: list[pa.Table] | None = None
    sampled = []
    for name in names:
        rows, drawn = _see_part(table, shown, examples, below, name)
        best = rows if best is None else _better(best, rows, shown, examples)
        sampled.append(drawn)
    assert best is not None, "a block has parts"
    return best, pa.concat_tables(sampled).combine_chunks()


def _see_part(
    table: ScoreTable, shown: Sequence[ExampleRule], examples: int, below: int, name: str
) -> tuple[list[pa.Table], pa.Table]:
    part = next(table.read(base=("row_id", "label", "tokens"), parts=(name,)))
    rows = [_named(choose_examples(part, rule, examples), name) for rule in shown]
    hashed = seeded(hash_row_ids(part["row_id"].combine_chunks()), _SEED)
    drawn = part.select(["tokens", *table.columns]).append_column(_HASH, pa.array(hashed))
    return rows, drawn.filter(pa.array(hashed <= np.uint64(below)))


def _named(rows: pa.Table, name: str) -> pa.Table:
    return rows.append_column(PART, pa.array([name] * len(rows), pa.string()))


def _better(
    one: Sequence[pa.Table], other: Sequence[pa.Table], shown: Sequence[ExampleRule], examples: int
) -> list[pa.Table]:
    both = zip(one, other, shown, strict=True)
    return [choose_examples(pa.concat_tables([a, b]), rule, examples).combine_chunks() for a, b, rule in both]
