"""A score table without scores: what policies that read none select from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysample.core import storage
from raysample.core.map_fn import MapFn, threads
from raysample.data.corpus import Corpus
from raysample.data.identity import group_codes
from raysample.data.score_table import GROUP_CODE_COLUMN, GROUP_COLUMN, SCORES_MANIFEST, ScoreTable, table_schema
from raysample.data.score_table_layout import part_name, parts_name
from raysample.selection.probe.probe_table import word_counts
from raysample.version import __version__


@dataclass(frozen=True)
class _RowTableJob:
    """What a worker needs to write the rows of a shard: URIs of the corpus and the folder of the parts; picklable."""

    corpus: str
    folder: str

    def write(self, index: int) -> int:
        """Write ids, labels, lengths and groups of a shard; return its number of rows."""
        corpus = Corpus.load(self.corpus)
        rows, schema = corpus.read(index), table_schema((), corpus.grouped)
        columns: dict[str, Any] = {"row_id": rows["row_id"], "label": rows["label"], "tokens": word_counts(rows)}
        if corpus.grouped:
            columns |= {GROUP_COLUMN: rows["group"], GROUP_CODE_COLUMN: group_codes(rows["group"])}
        part = pa.table({name: columns[name] for name in schema.names}).cast(schema)
        storage.write_parquet(storage.join(self.folder, part_name(corpus.shards[index])), part)
        return len(rows)


def write_row_table(corpus: Corpus, uri: str, map_fn: MapFn = threads) -> ScoreTable:
    """Write a ScoreTable of a corpus that has no score columns, unless it is there; return it.

    Args:
        corpus: the rows. Their lengths, which budgets in tokens count, are numbers of words.
        uri: folder of the table.
        map_fn: maps a function over shards.

    >>> from raysample.data.corpus import describe_source
    >>> from raysample.core.config import Columns, SourceConfig
    >>> from raysample.testing import tiny_corpus_files
    >>> source = SourceConfig(path=tiny_corpus_files("files", rows=60), columns=Columns(id="id"))
    >>> table = write_row_table(describe_source(source, "corpus"), "rows")
    >>> table.columns, table.counts["scored"]
    ((), 60)
    """
    made_by = {"raysample": __version__, "key": storage.fingerprint([corpus.fingerprint, __version__])}
    if storage.exists(storage.join(uri, SCORES_MANIFEST)):
        found = ScoreTable.load(uri)
        if found.corpus == corpus.fingerprint and found.made_by == made_by:
            return found
    folder = parts_name(made_by["key"])
    job = _RowTableJob(corpus.uri, storage.join(uri, folder))
    rows = sum(map_fn(job.write, range(len(corpus.shards))))
    return ScoreTable(
        uri,
        tuple(f"{folder}/{part_name(shard)}" for shard in corpus.shards),
        {},
        corpus.labels,
        corpus.fingerprint,
        "",
        {"in": rows, "scored": rows, "quarantined": 0},
        made_by,
        grouped=corpus.grouped,
    ).save()
