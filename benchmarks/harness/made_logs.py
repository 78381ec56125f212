"""Write logs whose contents repeat: of n rows the k-th most frequent content has a share of about 1 / (k ln n)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.config import Columns, SourceConfig

IntArray = npt.NDArray[np.int64]
CLASSES = tuple(f"intent {name}" for name in ("a", "b", "c", "d", "e", "f", "g", "h"))
COLUMNS = Columns(text="text", label="label", timestamp="date")
_WORDS = tuple(
    first + second + third
    for first in ("ba", "ko", "li", "ne", "su", "ta", "vo", "mi")
    for second in ("r", "n", "st", "l")
    for third in ("a", "e", "i", "o", "u", "ar", "en", "is")
)
CHUNK = 1 << 18


def text(content: int) -> str:
    """Return the text of a content: its number in words, so that different numbers are different texts."""
    words = []
    while True:
        content, digit = divmod(content, len(_WORDS))
        words.append(_WORDS[digit])
        if not content:
            return " ".join(["please", *words, "now"])


def ranks(rng: np.random.Generator, rows: int, contents: int) -> IntArray:
    """Draw `rows` numbers below `contents`, log-uniformly: number k about as often as 1 / (k + 1) says."""
    found: IntArray = np.floor(np.exp(rng.random(rows) * np.log(contents + 1)) - 1).astype(np.int64)
    return np.minimum(found, contents - 1)


def zipf_log(folder: Path, rows: int, days: int, seed: int = 0) -> SourceConfig:
    """Write a log of `rows` rows over as many possible contents, cut into `days` partitions; return its source."""
    each = -(-rows // days)
    for day in range(days):
        sizes = _cut(min(each, rows - day * each))
        rng = np.random.default_rng([seed, day])
        write_day(folder, day, (made_up(ranks(rng, size, rows)) for size in sizes))
    return source(folder)


def made_up(contents: IntArray) -> pa.Table:
    """Return rows with these contents."""
    known, place = np.unique(contents, return_inverse=True)
    texts = pa.array([text(int(content)) for content in known]).take(pa.array(place))
    labels = pa.array(CLASSES).take(pa.array(contents % len(CLASSES)))
    return pa.table({"text": texts, "label": labels})


def write_day(folder: Path, day: int, pieces: Iterator[pa.Table] | Sequence[pa.Table]) -> None:
    """Write one partition: a file for each piece."""
    place = folder / f"date=2026-{1 + day // 28:02d}-{1 + day % 28:02d}"
    place.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(pieces):
        pq.write_table(piece, place / f"part-{number:05d}.parquet", compression="zstd")


def source(folder: Path) -> SourceConfig:
    """Return a log that was written here as a source."""
    return SourceConfig(path=str(folder), format="parquet", columns=COLUMNS)


def growing(corpus: pa.Table, days: int, rows: int, seed: int = 0) -> Iterator[pa.Table]:
    """Yield `days` tables of about `rows` rows: each day's share of new rows of a corpus, and repeats of earlier ones.

    The new ones come once each, the rest is drawn log-uniformly among what was seen.
    """
    rng = np.random.default_rng(seed)
    order, share = rng.permutation(corpus.num_rows), corpus.num_rows // days
    for day in range(days):
        fresh = np.arange(day * share, (day + 1) * share)
        again = ranks(rng, max(0, rows - len(fresh)), (day + 1) * share)
        yield corpus.take(pa.array(order[rng.permutation(np.concatenate([fresh, again]))]))


def plain(path: Path) -> pa.Table:
    """Return text and label of a labelled Parquet file."""
    found: Any = pq.read_table(path, columns=["text", "label"])
    return found.set_column(1, "label", found["label"].cast(pa.string()))


def _cut(rows: int) -> list[int]:
    return [min(CHUNK, rows - start) for start in range(0, rows, CHUNK)]
