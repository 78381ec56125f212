"""File formats by suffix: the supported formats, and the files of a folder that are read as one of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

PACKED = (".gz", ".gzip", ".bz2", ".zst", ".zstd", ".xz")
"""Suffixes of compressions that line formats may have after the suffix of the format."""
JSON = ".json"
"""JSON lines or one array. In a folder read only if no other data file is there: it often holds metadata."""
SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "jsonl": (".jsonl", ".ndjson", JSON),
    "csv": (".csv", ".tsv"),
}
"""Suffixes of each format, without those of compressions."""
LINE_FORMATS = ("jsonl", "csv")


def bare(name: str) -> str:
    """Return a file's name in lower case, without a compression suffix."""
    lower = posixpath.basename(name).lower()
    return next((lower.removesuffix(suffix) for suffix in PACKED if lower.endswith(suffix)), lower)


def format_of(name: str) -> str | None:
    """Return the format of a file by its suffix; None if unknown."""
    lower = posixpath.basename(name).lower()
    for form, suffixes in SUFFIXES.items():
        if (bare(name) if form in LINE_FORMATS else lower).endswith(suffixes):
            return form
    return None


def formats_of(names: Iterable[str]) -> list[str]:
    """Return the formats of a folder's files, sorted; `.json` counts only if no file has another known suffix."""
    found = [(form, bare(name).endswith(JSON)) for name in names if (form := format_of(name))]
    sure = {form for form, perhaps in found if not perhaps}
    return sorted(sure or {form for form, _ in found})


def of_format(names: Sequence[str], form: str) -> list[str]:
    """Return the files of a folder that are read as one format: `.json` files only if there are no others."""
    found = [name for name in names if format_of(name) == form]
    return [name for name in found if not bare(name).endswith(JSON)] or found
