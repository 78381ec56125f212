"""Merge the tallies of a window into contents: per range of ids, one row per content with counts over the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import storage
from raysample.data.corpus.judge_rows import TEXT_DIGITS
from raysample.data.log import ranges
from raysample.data.log.tally import CONTENT_FIELDS, TALLY_FILE, merge_tallies

CONTENTS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *CONTENT_FIELDS,
        ("group", pa.string()),
        ("groups", pa.int64()),
        ("labels", pa.int64()),
        ("label_share", pa.float32()),
    ]
)
"""Columns of a contents table.

`group`: the content's most frequent group (ties: the first by name); `groups`: number of its groups. `labels`: number
of labels of the text in the window; `label_share`: share of the text's rows with this label.
"""


@dataclass(frozen=True)
class Merged:
    """Counts of one range: contents, rows, conflicting texts and their rows, rows per label, order-free digest."""

    contents: int
    rows: int
    conflicts: int
    conflict_rows: int
    labels: dict[str, int]
    digest: int


def merge_range(at: int, files: Sequence[str], folder: str, target: str, of: int) -> Merged:
    """Merge range `at` of the tallies in `folder/FILE` for `files`, and write it to `target`."""
    pieces = [ranges.read_id_range(storage.join(folder, name, TALLY_FILE), at, of) for name in files]
    table, rows = contents_of(pieces)
    storage.write_parquet(range_part(target, at), table)
    clash = table.filter(pc.greater(table["labels"], 1))
    texts = len(pc.unique(text_keys(clash["id"])))
    found = table.group_by("label", use_threads=False).aggregate([("count", "sum")]).to_pydict()
    labels = dict(zip(found["label"], found["count_sum"], strict=True))
    return Merged(len(table), rows, texts, pc.sum(clash["count"]).as_py() or 0, labels, digest(table))


def range_part(folder: str, at: int) -> str:
    """Return the URI of a range's part file."""
    return storage.join(folder, f"part-{at:05d}.parquet")


def contents_of(pieces: Sequence[pa.Table]) -> tuple[pa.Table, int]:
    """Merge tallies into contents in `CONTENTS_SCHEMA`, rising by id; return them and the sum of their counts."""
    # One sort puts the rows of a content next to each other and its most frequent group first.
    order = [("id", "ascending"), ("count", "descending"), ("group", "ascending")]
    each = merge_tallies(list(pieces)).sort_by(order).combine_chunks()
    starts = _starts(each["id"])
    times = each.group_by("id").aggregate([("first_seen", "min"), ("last_seen", "max")]).sort_by("id")
    # Sorted by count within an id, so the first row of a content has its most frequent group.
    first = each.take(pa.array(starts))
    count = _sums(each["count"].to_numpy(), starts)
    text = _starts(text_keys(first["id"]))
    # Content ids begin with the digits of the text, so the labels of one text are neighbours: `width` per text.
    width = np.diff([*text, len(first)])
    share = count / np.repeat(np.maximum(_sums(count, text), 1), width)
    columns: dict[str, Any] = {
        **{name: first[name] for name in ("id", "text", "text_pair", "label", "group")},
        "count": count,
        "first_seen": times["first_seen_min"],
        "last_seen": times["last_seen_max"],
        "groups": _sums(pc.is_valid(each["group"]).to_numpy().astype(np.int64), starts),
        "labels": np.repeat(width, width),
        "label_share": share.astype(np.float32),
    }
    table = pa.table({name: columns[name] for name in CONTENTS_SCHEMA.names}, schema=CONTENTS_SCHEMA)
    return table, int(count.sum())


def text_keys(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the part of each content id that identifies the text, without the label."""
    return pc.utf8_slice_codeunits(ids, 0, TEXT_DIGITS)


def digest(table: pa.Table) -> int:
    """Return the sum mod 2^64 of a hash of each content with its count and group: independent of order and ranges."""
    spelled = pc.binary_join_element_wise(
        table["id"], table["count"].cast(pa.string()), pc.fill_null(table["group"], ""), ":"
    )
    values = np.empty(len(table), dtype=object)
    values[:] = spelled.to_pylist()
    return int(pd.util.hash_array(values, categorize=False).sum(dtype=np.uint64))


def _starts(keys: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the indices at which the values of a sorted column change."""
    values = keys.combine_chunks()
    if not len(values):
        return np.zeros(0, np.int64)
    changes = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(np.concatenate([[True], changes])).astype(np.int64)


def _sums(values: np.ndarray[Any, np.dtype[np.int64]], starts: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """Return the sum of each run of values that begins at `starts`."""
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0, np.int64)
