"""Damage a known share of a log's rows in a dozen ways, to test how a set-up handles them.

Real logs have lines that are cut off, labels that are lists, bytes of another encoding, the same event twice.
`write_broken_log` copies Parquet files, such as simulated traffic, as JSON lines, in which most kinds of damage can
occur, and returns the damaged rows, with the reason that the quarantine must record for each.
"""

from __future__ import annotations

import itertools
import json
import posixpath
from collections.abc import Callable, Mapping
from functools import partial
from typing import IO, Any

import numpy as np
import pyarrow as pa

from raysample.core import storage
from raysample.core.config import Columns
from raysample.core.errors import CorpusError
from raysample.data import schema
from raysample.data.schema import REASONS

SimulatedRow = dict[str, Any]
Break = Callable[[SimulatedRow, SimulatedRow], bytes]
"""Maps a row and the row before it to the damaged line."""

TRUTH = pa.schema([("file", pa.string()), ("row", pa.int64()), ("stage", pa.string()), ("reason", pa.string())])
"""Columns of the damage report: file name below the log's folder, row position, stage that must detect it, reason."""

UNSCORABLE = "a sign that the model has no finite embedding for"
"""Reason in TRUTH for rows that only scoring can reject; the quarantine's reason depends on the scores."""


def _line(value: Any) -> bytes:
    """Return a value as one JSON line."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _cut(row: SimulatedRow) -> bytes:
    """Return the first half of a row's JSON line."""
    line = json.dumps(row, ensure_ascii=False)
    return line[: len(line) // 2].encode() + b"\n"


def _breaks(columns: Columns) -> dict[int, Break]:
    """Return reason code -> function that damages a row in that way."""
    text, label, name = columns.text, columns.label, columns.id

    def put(column: str, value: Callable[[SimulatedRow], Any]) -> Break:
        """Return the break that replaces the value of a column."""
        return lambda row, _: _line({**row, column: value(row)})

    result: dict[int, Break] = {
        schema.BAD_JSON: lambda row, _: _cut(row),
        schema.NOT_OBJECT: lambda row, _: _line(list(row.values())),
        schema.BAD_BYTES: lambda row, _: _line(row).replace(b'": "', b'": "\xff', 1),
        schema.NO_TEXT: put(text, lambda _: None),
        schema.EMPTY_TEXT: put(text, lambda _: " \t"),
        schema.BAD_TEXT: put(text, lambda row: [row[text]]),
        schema.NO_LABEL: lambda row, _: _line({key: value for key, value in row.items() if key != label}),
        schema.EMPTY_LABEL: put(label, lambda _: ""),
        schema.BAD_LABEL: put(label, lambda row: {"name": row[label]}),
        schema.FRACTION_LABEL: put(label, lambda _: 0.5),
    }
    if name is not None:
        result[schema.NO_ID] = put(name, lambda _: None)
        result[schema.DUPLICATE] = lambda row, before: _line({**row, name: before[name]})
    return result


def write_broken_log(
    source: str,
    folder: str,
    *,
    columns: Columns | None = None,
    share: float = 0.01,
    seed: int = 0,
    unscorable: str | None = None,
) -> pa.Table:
    """Copy Parquet files as JSON lines, damaging a share of their rows in every way in turn.

    Files keep their names below `source`, except for the suffix. The same arguments give the same lines. No two
    neighbours are damaged, so that a row which repeats the id of the row before it repeats a usable row's id.

    Args:
        source: a folder of Parquet files, as `write_traffic` writes to `train/`.
        folder: target folder of the lines.
        columns: which columns hold text, label and id; those of the simulated traffic by default.
        share: share of damaged rows in each file, at most 0.5.
        seed: selects the rows.
        unscorable: a character put before the text of some further rows, which the model cannot score.

    Returns:
        The damaged rows, with the columns of TRUTH.

    Raises:
        CorpusError: `source` holds no Parquet file, or the share is outside [0, 0.5].
    """
    files = storage.list_files(source, ".parquet")
    if not files or not 0 <= share <= 0.5:
        raise CorpusError(
            f"{share:g} of the rows of {len(files)} Parquet files in {source!r} cannot be broken",
            "name a folder of Parquet files, and a share from 0 to 0.5",
        )
    columns = columns or Columns(label="intent", id="id")
    breaks = {REASONS[code]: function for code, function in _breaks(columns).items()}
    if unscorable is not None:
        breaks[UNSCORABLE] = lambda row, _: _line({**row, columns.text: f"{unscorable} {row[columns.text]}"})
    rng, reasons, truth = np.random.default_rng(seed), itertools.cycle(breaks), list[pa.Table]()
    for file in files:
        name = posixpath.relpath(file, source).removesuffix(".parquet") + ".jsonl"
        rows = storage.read_parquet(file).to_pylist()
        places = np.sort(
            rng.choice(np.arange(1, len(rows), 2), min(round(share * len(rows)), len(rows) // 2), replace=False)
        )
        chosen = dict(zip(places.tolist(), reasons, strict=False))
        lines = [
            breaks[chosen[place]](row, rows[place - 1]) if place in chosen else _line(row)
            for place, row in enumerate(rows)
        ]
        storage.write_file(storage.join(folder, name), partial(_write, lines))
        truth.append(_truth(name, chosen))
    return pa.concat_tables(truth)


def _write(lines: list[bytes], stream: IO[bytes]) -> None:
    """Write lines to an open file."""
    stream.writelines(lines)


def _truth(name: str, chosen: Mapping[int, str]) -> pa.Table:
    """Return the damage report of one file from position -> reason."""
    stages = ["score" if reason == UNSCORABLE else "corpus" for reason in chosen.values()]
    return pa.table([[name] * len(chosen), list(chosen), stages, list(chosen.values())], schema=TRUTH)
