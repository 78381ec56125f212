"""Small described corpora."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysample.core.config import Columns, SourceConfig
from raysample.data.corpus import Corpus, describe_source
from raysample.testing import LABELS, tiny_corpus_files


def tiny_corpus(
    folder: Path,
    rows: int,
    seed: int = 0,
    *,
    files: int = 2,
    labels: Sequence[str] | None = LABELS,
    shard_rows: int = 2048,
    **source: Any,
) -> Corpus:
    """Write rows with the labels of the tiny models into `folder`/files, and describe them in `folder`/corpus."""
    path = tiny_corpus_files(folder / "files", rows, seed, files=files)
    described = SourceConfig(path=path, columns=Columns(id="id"), **source)
    return describe_source(described, str(folder / "corpus"), labels=labels, shard_rows=shard_rows)
