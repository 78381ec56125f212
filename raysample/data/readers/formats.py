"""Formats of files by their suffixes: which there are, and which files of a folder are read as one of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

PACKED = (".gz", ".gzip", ".bz2", ".zst", ".zstd", ".xz")
"""Suffixes of compressions that line formats are read in, behind the suffix of the format."""
JSON = ".json"
"""JSON lines or one array. In a folder it is read only where nothing else is: such files often hold metadata."""
SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "jsonl": (".jsonl", ".ndjson", JSON),
    "csv": (".csv", ".tsv"),
}
"""Suffixes of each format, without those of compressions."""
LINE_FORMATS = ("jsonl", "csv")


def bare(name: str) -> str:
    """Return a file's name in lower case, without the suffix of a compression."""
    lower = posixpath.basename(name).lower()
    return next((lower.removesuffix(suffix) for suffix in PACKED if lower.endswith(suffix)), lower)


def format_of(name: str) -> str | None:
    """Return the format that a file's suffix tells; None if it tells none."""
    lower = posixpath.basename(name).lower()
    for form, suffixes in SUFFIXES.items():
        if (bare(name) if form in LINE_FORMATS else lower).endswith(suffixes):
            return form
    return None


def formats_of(names: Iterable[str]) -> list[str]:
    """Return the formats of a folder's files, sorted; `.json` counts only where no file tells another."""
    found = [(form, bare(name).endswith(JSON)) for name in names if (form := format_of(name))]
    sure = {form for form, perhaps in found if not perhaps}
    return sorted(sure or {form for form, _ in found})


def of_format(names: Sequence[str], form: str) -> list[str]:
    """Return the files of a folder that are read as one format: `.json` only where no other suffix tells it."""
    found = [name for name in names if format_of(name) == form]
    return [name for name in found if not bare(name).endswith(JSON)] or found
