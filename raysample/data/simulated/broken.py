"""Break a known share of a log's rows in a dozen ways, to see what a set-up does with them; a program's doing, as said.

Real logs are cut off in the middle of a line, hold labels that are lists, bytes of another encoding, the same event
twice. `write_broken_log` copies Parquet files, such as simulated traffic, as JSON lines, in which most of this can
occur, and writes down what it broke, with the reason that the quarantine must give.
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

Record = dict[str, Any]
Break = Callable[[Record, Record], bytes]
"""From a row and the one before it to the line that is written in its place."""

TRUTH = pa.schema([("file", pa.string()), ("row", pa.int64()), ("stage", pa.string()), ("reason", pa.string())])
"""What was broken: the file by its name below the log's folder, the row's place in it, the stage that must notice."""

UNSCORABLE = "a sign that the model has no finite embedding for"
"""The reason in TRUTH of rows that only the scores can fail for; which words the quarantine has depends on these."""


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _cut(row: Record) -> bytes:
    line = json.dumps(row, ensure_ascii=False)
    return line[: len(line) // 2].encode() + b"\n"


def _breaks(columns: Columns) -> dict[int, Break]:
    """Return reason code -> how a row is broken that way."""
    text, label, name = columns.text, columns.label, columns.id

    def put(column: str, value: Callable[[Record], Any]) -> Break:
        return lambda row, _: _line({**row, column: value(row)})

    found: dict[int, Break] = {
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
        found[schema.NO_ID] = put(name, lambda _: None)
        found[schema.DUPLICATE] = lambda row, before: _line({**row, name: before[name]})
    return found


def write_broken_log(
    source: str,
    folder: str,
    *,
    columns: Columns | None = None,
    share: float = 0.01,
    seed: int = 0,
    unscorable: str | None = None,
) -> pa.Table:
    """Copy Parquet files as JSON lines, a share of them broken in every way in turn; return what was broken, in TRUTH.

    Files keep their names below `source`, but for the suffix. Same arguments, same lines. No two neighbours are broken,
    so that a row which repeats the id of the one before repeats that of a row that is used.

    Args:
        source: a folder of Parquet files, as `write_traffic` leaves in `train/`.
        folder: where the lines go.
        columns: which columns hold text, label and id; those of the simulated traffic by default.
        share: of the rows of each file, at most a half.
        seed: draws the rows.
        unscorable: a sign that is put before the text of some rows beside: for models that cannot score it.

    Raises:
        CorpusError: `source` holds no Parquet file, or the share is none.
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
    stream.writelines(lines)


def _truth(name: str, chosen: Mapping[int, str]) -> pa.Table:
    stages = ["score" if reason == UNSCORABLE else "corpus" for reason in chosen.values()]
    return pa.table([[name] * len(chosen), list(chosen), stages, list(chosen.values())], schema=TRUTH)
