"""Sources of rows in line formats, whose right number is known as long as nothing damages them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import raysample
from raysample.core.config import SourceConfig
from tests.helpers.hostile.damage import DEEP, HUGE, byte_damage, compressed, file_damage, text_of
from tests.helpers.hostile.kinds import Kind, LostError

NASTY = (
    *(
        "plain words",
        "it's",
        'say "hi"',
        '"',
        '""',
        '"open',
        'close"',
        "a,b",
        "a;b",
        "tab\there",
        "é\u200b",
        "\u2028line",
        "\x85",
    ),
    *(
        "'",
        "\\",
        "\\n",
        "a\\",
        "#",
        "=1+1",
        "NaN",
        "null",
        "-",
        "0",
        "x" * 3000,
        "\U0001f600",
        "\ufeffbom",
        "{}",
        "[1]",
    ),
)
BROKEN: tuple[Any, ...] = (
    *(
        {"text": 5, "label": "a"},
        {"text": "", "label": "b"},
        {"text": "x"},
        {"text": "x", "label": None},
        {"label": "a"},
    ),
    *(
        {"label": "a"},
        [],
        None,
        7,
        "x",
        {"text": ["x"], "label": "a"},
        {"text": "x", "label": [1]},
        {"text": "x", "label": {}},
        {},
    ),
    *({"text": "x", "label": float("nan")}, {"text": "x", "label": DEEP}, {"text": "x", "label": HUGE}),
    {"text": "\ud800", "label": "a"},
)
RAW = (
    "{",
    "}",
    '{"text": "x", "label": "a"',
    "nonsense",
    '{"text": "x" "label": "a"}',
    '{"text": "\\ud8"}',
    "\x00",
    "]",
)


@dataclass(frozen=True)
class Truth:
    """Texts of the good rows, and how many others there are."""

    good: tuple[str, ...]
    broken: int


def check(path: Path, scratch: Path, truth: Truth | None, lines: int | None = None, **more: Any) -> None:
    """Describe a source and hold what came out against what is known of it.

    Raises:
        LostError: the counts do not add up, or are not what they must be.
    """
    source = SourceConfig(path=str(path), max_quarantined=1.0, **more)
    corpus = raysample.describe(source, str(scratch / "corpus"))
    counts = corpus.counts
    if counts["in"] != counts["usable"] + counts["quarantined"] + counts["filtered"]:
        raise LostError(f"counts do not add up: {counts}")
    texts = sorted(corpus.table()["text"].to_pylist())
    if len(texts) != counts["usable"]:
        raise LostError(f"{len(texts)} rows are read, and {counts['usable']} were counted")
    if lines is not None and counts["in"] != lines and not getattr(corpus, "left_out", None):
        raise LostError(f"in: {counts['in']} rows of {lines} lines")
    if truth is None or getattr(corpus, "left_out", None):  # a file that is listed as left out is not lost
        return
    if counts["in"] != len(truth.good) + truth.broken:
        raise LostError(f"in: {counts['in']} of {len(truth.good) + truth.broken} rows")
    if texts != sorted(truth.good):
        raise LostError(f"usable: {len(texts)} texts of {len(truth.good)}, or other ones")


def _jsonl(rng: Random, templates: Path, scratch: Path) -> None:
    del templates
    good = _good(rng)
    rows = [text_of({"text": text, "label": "ab"[i % 2]}) for i, text in enumerate(good)]
    raw = rng.random() < 0.5
    bad = [
        rng.choice(RAW) if raw and rng.random() < 0.5 else text_of(rng.choice(BROKEN)) for _ in range(rng.randrange(4))
    ]
    array = rng.random() < 0.15
    if array:
        bad = [text_of(rng.choice(BROKEN)) for _ in bad]
    every = rows + bad
    rng.shuffle(every)
    text = "[" + ",\n".join(every) + "]" if array else "\n".join(every) + rng.choice(("", "\n"))
    suffix = rng.choice((".json",) if array else (".jsonl", ".jsonl", ".ndjson", ".json"))
    _try(rng, scratch, text.encode("utf-8", "surrogatepass"), suffix, Truth(tuple(good), len(bad)), lines=not array)


def _csv(rng: Random, templates: Path, scratch: Path) -> None:
    del templates
    stream, good = io.StringIO(), _good(rng)
    ending = rng.choice(("\n", "\r\n"))
    writer = csv.writer(stream, lineterminator=ending, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    if rng.random() < 0.3:
        good += [f"two\nlines {i}" for i in range(rng.randrange(1, 3))]
    writer.writerow(["text", "label"])
    broken = rng.randrange(3)
    for i, text in enumerate(good):
        writer.writerow([text, "ab"[i % 2]])
    for _ in range(broken):
        writer.writerow(rng.choice((["", "a"], ["x", ""])))
    _try(rng, scratch, stream.getvalue().encode(), ".csv", Truth(tuple(good), broken), lines=False)


def _tsv(rng: Random, templates: Path, scratch: Path) -> None:
    del templates
    good = [text.replace("\t", " ") for text in _good(rng)]
    broken = rng.randrange(3)
    lines = ["text\tlabel", *(f"{text}\t{'ab'[i % 2]}" for i, text in enumerate(good)), *(["x\t"] * broken)]
    text = "\n".join(lines) + rng.choice(("", "\n"))
    _try(rng, scratch, text.encode(), ".tsv", Truth(tuple(good), broken), lines=False)


def _good(rng: Random) -> list[str]:
    return [f"{rng.choice(NASTY)} {i}" for i in range(rng.randrange(3, 40))]


def _try(rng: Random, scratch: Path, data: bytes, suffix: str, truth: Truth, lines: bool) -> None:
    how = rng.choice(("", "", "", ".gz", ".bz2", ".zst"))
    path = scratch / "source" / f"a{suffix}{how}"
    path.parent.mkdir()
    way = rng.random()
    known: Truth | None = truth
    if way < 0.4:
        data, known = byte_damage(rng, data), None
    count = None
    if lines and known is None and b"\r" not in data and suffix != ".json":
        count = sum(bool(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    data = compressed(how, data)
    if how and way > 0.7:
        data, known, count = byte_damage(rng, data), None, None
    if 0.6 < way < 0.65:
        path = path.with_name("a" + suffix + rng.choice((".gz", ".bz2", ".zst", "")))  # the suffix lies
    path.write_bytes(data)
    if 0.65 < way < 0.67:
        known = count = None
        file_damage(rng, path)
    if rng.random() < 0.3:
        (path.parent / "b.jsonl").write_bytes(b'{"text": "more", "label": "a"}\n{"text": "and more", "label": "b"}\n')
        known = None if known is None else Truth((*known.good, "more", "and more"), known.broken)
        count = None if count is None else count + 2
    check(path.parent, scratch, known, count)


KINDS = (Kind("jsonl", 13_000, _jsonl), Kind("csv", 12_000, _csv), Kind("tsv", 7_000, _tsv))
