"""Write logs whose contents repeat: of n rows the k-th most frequent content has a share of about 1 / (k ln n)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.config import Columns, SourceConfig

IntArray = npt.NDArray[np.int64]
CLASSES = tuple(f"intent {name}" for name in "abcdefgh")
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


def made_up(contents: IntArray) -> pa.Table:
    """Return rows with these contents."""
    known, place = np.unique(contents, return_inverse=True)
    texts = pa.array([text(int(content)) for content in known]).take(pa.array(place))
    return pa.table({"text": texts, "label": pa.array(CLASSES).take(pa.array(contents % len(CLASSES)))})


def zipf_log(folder: Path, rows: int, days: int, seed: int = 0) -> SourceConfig:
    """Write a log of `rows` rows over as many possible contents, cut into `days` partitions; return its source."""
    each = -(-rows // days)
    for day in range(days):
        rng, size = np.random.default_rng([seed, day]), min(each, rows - day * each)
        for number, start in enumerate(range(0, size, CHUNK)):
            write_part(folder, day, made_up(ranks(rng, min(CHUNK, size - start), rows)), number)
    return source(folder)


def write_part(folder: Path, day: int, rows: pa.Table, number: int = 0) -> None:
    """Write one file of a day's partition."""
    place = folder / f"date=2026-{1 + day // 28:02d}-{1 + day % 28:02d}"
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, place / f"part-{number:05d}.parquet", compression="zstd")


def source(folder: Path) -> SourceConfig:
    """Return a log that was written here as a source."""
    return SourceConfig(path=str(folder), format="parquet", columns=Columns(timestamp="date"))


def growing(corpus: pa.Table, days: int, rows: int) -> Iterator[pa.Table]:
    """Yield `days` tables of about `rows` rows: each day's share of new rows of a corpus, and repeats of earlier ones.

    The new ones come once each, the rest is drawn log-uniformly among what was seen.
    """
    rng = np.random.default_rng(0)
    order, share = rng.permutation(corpus.num_rows), corpus.num_rows // days
    for day in range(days):
        fresh = np.arange(day * share, (day + 1) * share)
        again = ranks(rng, max(0, rows - len(fresh)), (day + 1) * share)
        yield corpus.take(pa.array(order[rng.permutation(np.concatenate([fresh, again]))]))
