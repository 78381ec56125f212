"""ScoreTable: row id, label, token count and one float32 column per score, in Parquet parts, with provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from raysample.core import manifests, storage
from raysample.core.errors import ScoreError, StorageError
from raysample.core.statistics import Statistics, read_statistics

SCORES_MANIFEST = "scores.json"
STATISTICS = "statistics.parquet"
BASE_COLUMNS = ("row_id", "label", "tokens")
GROUP_COLUMN = "group"
GROUP_CODE_COLUMN = "group_code"
COUNT_COLUMN = "count"


def table_schema(columns: tuple[str, ...], grouped: bool = False, counted: bool = False) -> pa.Schema:
    """Return the Arrow schema of a score table: `row_id` string, `label` int32, `tokens` int32, float32 scores.

    For a corpus with groups, `group` (string, may be null) and `group_code` (int64, used by selections) precede the
    scores; for contents, where one row stands for several copies, so does `count` (int64).
    """
    base = [("row_id", pa.string()), ("label", pa.int32()), ("tokens", pa.int32())]
    groups = [(GROUP_COLUMN, pa.string()), (GROUP_CODE_COLUMN, pa.int64())] if grouped else []
    counts = [(COUNT_COLUMN, pa.int64())] if counted else []
    return pa.schema([*base, *groups, *counts, *[(name, pa.float32()) for name in columns]])


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one corpus under one CheckpointSet, as they lie in folder `uri`.

    Attributes:
        uri: the folder.
        parts: Parquet files in corpus order, relative to `uri`.
        scores: for each column its score's name, options, `higher_is` ("harder" or "easier") and checkpoints used.
        labels: class names.
        corpus, checkpoints: fingerprints of what the scores were made from.
        counts: rows `in`, `scored` and `quarantined`; the first is the sum of the others.
        made_by: precision, code version and other settings that affect the values.
        cost: worker-seconds of preparing and scoring, and their ratio to one fine-tuning if known.
        grouped: whether the parts have the corpus's column `group`.
        counted: whether the parts have a column `count`: each row is a content, the number of its copies in the log.
        verified: result of the spot check, which scores a few rows again in float64, one by one: the number of `rows`,
            the `seconds` it took and the largest `differences` by column. Empty if the check was turned off.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints, tiny_corpus_files
    >>> table = raysample.score(tiny_checkpoints("run"), tiny_corpus_files("train", rows=60), ["el2n"])
    >>> raysample.ScoreTable.load(table.uri).to_pandas().columns.tolist()
    ['row_id', 'label', 'class', 'tokens', 'el2n']
    """

    uri: str
    parts: tuple[str, ...]
    scores: dict[str, dict[str, Any]]
    labels: tuple[str, ...]
    corpus: str
    checkpoints: str
    counts: dict[str, int]
    made_by: dict[str, Any]
    cost: dict[str, float] = field(default_factory=dict)
    grouped: bool = False
    counted: bool = False
    verified: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> tuple[str, ...]:
        """Names of the columns that are no scores, without `group_code`, which only selections read."""
        return (*BASE_COLUMNS, *((GROUP_COLUMN,) if self.grouped else ()), *((COUNT_COLUMN,) if self.counted else ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the score columns."""
        return tuple(self.scores)

    @property
    def higher_is(self) -> dict[str, str]:
        """Score column -> `harder` or `easier`: what a high value means."""
        return {name: spec["higher_is"] for name, spec in self.scores.items()}

    @property
    def fingerprint(self) -> str:
        """Identity by provenance: hash of corpus, checkpoints, score definitions and computation settings."""
        made_by = {name: value for name, value in self.made_by.items() if name != "raysample"}
        return storage.fingerprint([self.corpus, self.checkpoints, self.scores, made_by])

    def save(self) -> ScoreTable:
        """Write the manifest, which completes the table; raises ScoreError if the row counts do not add up."""
        if self.counts["in"] != self.counts["scored"] + self.counts["quarantined"]:
            raise ScoreError(
                f"rows were lost: {self.counts} does not add up", "please report this; do not use the table"
            )
        data = {key: value for key, value in vars(self).items() if key != "uri"}
        storage.write_json(storage.join(self.uri, SCORES_MANIFEST), {"noun": "ScoreTable", **data})
        return self

    @staticmethod
    def load(uri: str) -> ScoreTable:
        """Read the score table in folder `uri`; raises StorageError if its manifest is missing or inconsistent."""
        place = storage.join(uri, SCORES_MANIFEST)
        result = manifests.kind_of(ScoreTable, place, uri=uri)
        odd = [name for name, spec in result.scores.items() if spec.get("higher_is") not in ("harder", "easier")]
        if odd or {"in", "scored", "quarantined"} - result.counts.keys():
            raise StorageError(f"{place!r} lacks higher_is of its columns, or row counts", manifests.RESTORE_ADVICE)
        manifests.check_parts(result.parts, place)
        return result

    def read(
        self,
        columns: tuple[str, ...] | None = None,
        base: tuple[str, ...] | None = None,
        parts: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the parts in corpus order.

        Args:
            columns: score columns; all if None.
            base: which of the other columns to read; all if None.
            parts: names of the parts to read; all if None.

        Raises:
            ScoreError: the table has no such score column; lists the columns.
            StorageError: a part cannot be read, or all parts together do not hold the number of rows scored.
        """
        wanted = self.columns if columns is None else columns
        missing = [name for name in wanted if name not in self.scores]
        if missing:
            raise ScoreError(
                f"the score table {self.uri!r} has no column {missing[0]!r}; it has {', '.join(self.columns)}",
                f"add {missing[0]!r} to score.scores and score again, or choose one of those",
            )
        names = [*(self.base if base is None else base), *wanted]
        whole = table_schema(tuple(wanted), self.grouped, self.counted)
        expected = pa.schema([whole.field(name) for name in names])
        tables = (
            storage.read_parquet(storage.join(self.uri, part), names).select(expected.names).cast(expected)
            for part in (self.parts if parts is None else parts)
        )
        if parts is not None:
            yield from tables
        else:
            yield from manifests.all_rows(tables, self.counts.get("scored"), storage.join(self.uri, SCORES_MANIFEST))

    def statistics(self) -> Statistics:
        """Return counts, moments and histograms of the columns by class and group, without reading the parts.

        Raises:
            ScoreError: the statistics are missing or belong to another table.
        """
        uri = storage.join(self.uri, STATISTICS)
        advice = "make them with raysample.influence.shards.write_statistics(table); for a run, `raysample score` does"
        if not storage.exists(uri):
            raise ScoreError(f"the score table {self.uri!r} has no statistics", advice)
        found, of = read_statistics(uri)
        if of != self.fingerprint or found.rows != self.counts["scored"]:
            raise ScoreError(
                f"{uri!r} describes {found.rows:,} rows of another table than {self.uri!r} with "
                f"{self.counts['scored']:,}",
                advice,
            )
        return replace(found, labels=self.labels)

    def to_arrow(self) -> pa.Table:
        """Return the whole table in memory."""
        return pa.concat_tables(self.read())

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole table as a pandas frame, with the class names in a column `class`."""
        frame = self.to_arrow().to_pandas()
        frame.insert(2, "class", [self.labels[i] for i in frame["label"]])
        return frame
