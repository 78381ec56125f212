"""Functions on logs."""

from __future__ import annotations

from collections.abc import Mapping

from raysample.api.coercion import folder_of, source_from
from raysample.core.config import Columns, EngineConfig, SourceConfig
from raysample.data.log import Contents, compact_log
from raysample.data.log import expand_log as expand_scores
from raysample.data.score_table import ScoreTable
from raysample.execution.create import create_executor


def compact(
    log: SourceConfig | str,
    output: str,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    window: int | None = None,
    engine: EngineConfig | None = None,
) -> Contents:
    """Update the unique contents of a log: only new and changed files are read.

    Args:
        log: a folder of Parquet, JSONL or CSV files, preferably in date partitions; or a SourceConfig.
        output: folder of the contents; the same folder for every update.
        columns: which columns hold text, label and so on.
        window: use only the newest `window` partitions.
        engine: where to read and merge; this process by default. The result is the same.

    >>> import raysample
    >>> from raysample.testing import tiny_corpus_files
    >>> log = raysample.compact(tiny_corpus_files("log", rows=60), "contents")
    >>> log.counts["in"], log.counts["usable"]
    (60, 60)
    """
    with create_executor(engine) as running:
        return compact_log(source_from(log, columns), output, window=window, map_fn=running.map)


def expand(
    table: ScoreTable | str,
    contents: Contents | str,
    output: str | None = None,
    *,
    engine: EngineConfig | None = None,
) -> ScoreTable:
    """Write a score table for every row of a log from the scores of its contents.

    Args:
        table: scores of the contents, or their folder. contents: as `compact` returned them, or their folder.
        output: folder of the ScoreTable; a new temporary one by default.
        engine: where to read and write; this process by default.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints, tiny_corpus_files
    >>> contents = raysample.compact(tiny_corpus_files("log", rows=60), "contents")
    >>> scores = raysample.score(tiny_checkpoints("run"), contents, ["el2n"])
    >>> raysample.expand(scores, contents).counts["scored"]
    60
    """
    scores = ScoreTable.load(table) if isinstance(table, str) else table
    known = Contents.load(contents) if isinstance(contents, str) else contents
    with create_executor(engine) as running:
        return expand_scores(scores, known, folder_of(output, "scores"), map_fn=running.map)
