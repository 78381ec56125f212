"""One pass over a table's parts, one part at a time: example rows, and a sample for rank correlations.

Memory does not grow with the table. Parts may be read in any order and on any worker: the result depends on scores and
row ids alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from raysample.core.map_fn import MapFn, threads
from raysample.core.statistics import Statistics
from raysample.data.row_sampling import hash_bound, seeded_hashes
from raysample.data.score_table import ScoreTable
from raysample.report.examples import ExampleRule, choose_examples, rules
from raysample.selection.table_blocks import block_names

SAMPLE_ROWS = 100_000
PART = "part"
_SEED = 0x5EED
_HASH = "hash"


@dataclass(frozen=True)
class TableSample:
    """The example rows and the sample of a score table.

    Attributes:
        statistics: of all rows.
        examples: for each of the `rules` its rows, in its order, with the name of their part.
        sample: tokens and scores of at most 100,000 rows (all rows of smaller tables): those with the lowest id hashes.
    """

    statistics: Statistics
    examples: tuple[pa.Table, ...]
    sample: pa.Table

    def places(self) -> dict[str, list[str]]:
        """Return part name -> ids of its example rows, so that only those texts are read."""
        result: dict[str, list[str]] = {}
        for rows in self.examples:
            for row_id, part in zip(rows["row_id"].to_pylist(), rows[PART].to_pylist(), strict=True):
                if row_id not in result.setdefault(part, []):
                    result[part].append(row_id)
        return result


def collect_table_sample(
    table: ScoreTable, examples: int, map_fn: MapFn = threads, sample: int = SAMPLE_ROWS
) -> TableSample | None:
    """Return the sample of a table; None if it has no rows. `map_fn` maps over blocks of parts.

    Raises:
        ScoreError: the table's statistics are missing or belong to another table.
    """
    if not table.counts["scored"]:
        return None
    shown = rules(table)
    see = partial(_see, table, shown, examples, hash_bound(sample, table.counts["scored"]))
    best: list[pa.Table] | None = None
    sampled = []
    for rows, some in map_fn(see, block_names(table)):
        best = rows if best is None else _better(best, rows, shown, examples)
        sampled.append(some)
    assert best is not None, "a table with parts has blocks"
    # Each part kept the rows below a common hash bound; the `sample` smallest hashes of all parts are a uniform sample.
    drawn = pa.concat_tables(sampled)
    drawn = drawn.take(pa.array(np.argsort(drawn[_HASH].to_numpy(), kind="stable")[:sample])).drop_columns([_HASH])
    return TableSample(table.statistics(), tuple(best), drawn)


def _see(
    table: ScoreTable, shown: Sequence[ExampleRule], examples: int, below: int, names: Sequence[str]
) -> tuple[list[pa.Table], pa.Table]:
    """Return example rows and sample of some parts, holding one part in memory at a time."""
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
    """Return example rows and sample of one part."""
    part = next(table.read(base=("row_id", "label", "tokens"), parts=(name,)))
    rows = [_named(choose_examples(part, rule, examples), name) for rule in shown]
    hashed = seeded_hashes(part["row_id"], _SEED)
    drawn = part.select(["tokens", *table.columns]).append_column(_HASH, pa.array(hashed))
    return rows, drawn.filter(pa.array(hashed <= np.uint64(below)))


def _named(rows: pa.Table, name: str) -> pa.Table:
    """Return rows with the name of their part as a column."""
    return rows.append_column(PART, pa.array([name] * len(rows), pa.string()))


def _better(
    one: Sequence[pa.Table], other: Sequence[pa.Table], shown: Sequence[ExampleRule], examples: int
) -> list[pa.Table]:
    """Return the example rows of two results combined."""
    both = zip(one, other, shown, strict=True)
    return [choose_examples(pa.concat_tables([a, b]), rule, examples).combine_chunks() for a, b, rule in both]
