"""Corpus: a manifest of labelled texts. It records where each shard lies and reads the rows again on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysample.core import manifests, storage
from raysample.core.arrays import Mask
from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError, ProvenanceError, StorageError
from raysample.data.corpus.judge_rows import digests, shard_fingerprint
from raysample.data.corpus.read_file import read_range
from raysample.data.labels.class_names import canonical_names
from raysample.data.labels.levels import PREFIX, Levels
from raysample.data.readers.damage import naming_file
from raysample.data.schema import CONFIDENCE_COLUMN, CORPUS_SCHEMA, Shard
from raysample.data.sources.resolve import part_of, reader_of

CORPUS_MANIFEST = "corpus.json"
KEPT_FILE = "kept.parquet"
"""One row per shard: which of its rows are usable, as packed bits; null where all are."""


@dataclass(frozen=True)
class Corpus:
    """Labelled texts of a source, as `describe` recorded them.

    Attributes:
        uri: folder of the manifest.
        source: the source's configuration with an absolute path and a resolved format.
        part: `all`, or a side of a split (see `sides.Split`): `train`, `validation`, `holdout`.
        labels: class names; a label's integer is its index in this tuple.
        shards: row ranges in reading order; ranges without a usable row are left out.
        counts: rows `in`, `usable`, `quarantined`, `filtered`; the first is the sum of the others.
        class_counts: usable rows per class.
        quarantine: reason -> number of quarantined rows.
        fingerprint: identity of the usable rows and class names. With an id column it depends on neither the order of
            the rows nor the layout of the files, as it sums a 128-bit hash per row; without one the ids name files.
        filtered: reason -> number of rows that the source's configuration leaves out.
        levels: levels of a hierarchical label, one of which is `label`; None for a flat label.
        annotations: where the labels come from (`origin`), the confidence in them (`confidence`: `rows`, `mean`,
            `deciles`) and user feedback (`feedback`: a list of `value`, what it `gives`, `rows` and `usable` rows).
        inventory: number of `files` (`in`, `read`, `left_out`; the first is the sum of the others), and for each reason
            in `left_out` the number of `files` and the first thousand `names`.
        warnings: sentences about the rows, such as spellings that were merged into one class.

    >>> import raysample
    >>> from raysample.testing import tiny_corpus_files
    >>> corpus = raysample.describe(tiny_corpus_files("train", rows=60), "corpus")
    >>> raysample.Corpus.load("corpus").rows
    60
    """

    uri: str
    source: SourceConfig
    part: str
    labels: tuple[str, ...]
    shards: tuple[Shard, ...]
    counts: dict[str, int]
    class_counts: tuple[int, ...]
    quarantine: dict[str, int]
    fingerprint: str
    filtered: dict[str, int] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)
    levels: Levels | None = None
    inventory: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of usable rows."""
        return self.counts["usable"]

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> number of files of the source that are not read; their names are in `inventory`."""
        return {reason: entry["files"] for reason, entry in self.inventory.get("left_out", {}).items()}

    @property
    def grouped(self) -> bool:
        """Whether the rows have groups (`columns.group` is set)."""
        return self.source.columns.group is not None

    @property
    def origin(self) -> str:
        """Where the labels come from: `gold`, `hypothesis` or `feedback`."""
        return self.source.labels.origin

    @property
    def schema(self) -> pa.Schema:
        """Columns of the corpus's tables: `CORPUS_SCHEMA`, then `label_confidence` and `level_NAME` where present.

        The `level_NAME` columns hold the integer labels of every level, including the level that is `label`.
        """
        confidence = [] if self.source.labels.confidence is None else [pa.field(CONFIDENCE_COLUMN, pa.float32())]
        levels = () if self.levels is None else self.levels.columns
        return pa.schema([*CORPUS_SCHEMA, *confidence, *(pa.field(name, pa.int32()) for name in levels)])

    @cached_property
    def _kept(self) -> list[bytes | None]:
        """Packed usable-row bits of every shard; None for a shard whose rows are all usable."""
        result: list[bytes | None] = storage.read_parquet(storage.join(self.uri, KEPT_FILE)).column("kept").to_pylist()
        return result

    def read(self, index: int) -> pa.Table:
        """Return the usable rows of one shard in `schema`; raises ProvenanceError if the source changed."""
        shard = self.shards[index]
        content = _content(self, shard)
        if content is None or shard_fingerprint(digests(content)) != shard.fingerprint:
            raise ProvenanceError(
                f"rows {shard.start} to {shard.stop} of {shard.uri!r} changed since {self.uri!r} was made",
                "restore the source, or describe it again and redo what was made from it",
            )
        columns = {name: content[name] for name in content.column_names} | self._codes(content)
        return pa.table([columns[name] for name in self.schema.names], names=self.schema.names).cast(self.schema)

    def _codes(self, content: pa.Table) -> dict[str, pa.ChunkedArray]:
        """Return integer label columns for judged rows: `label` and one per level."""
        result = {"label": pc.index_in(content["label"], value_set=self._names(self.labels))}
        if self.levels is not None:
            for place, name in enumerate(self.levels.columns):
                names = content["label" if place == self.levels.label else f"{PREFIX}{place}"]
                result[name] = pc.index_in(names, value_set=self._names(self.levels.classes[place]))
        return result

    def _names(self, classes: Sequence[str]) -> pa.StringArray:
        """Return class names in canonical spelling: adopted checkpoints may spell them differently from the rows."""
        return canonical_names(pa.array(classes, pa.string()), self.source.labels)

    def positions(self, index: int) -> NDArray[np.int64]:
        """Return the positions of one shard's usable rows in their file, [rows] int64."""
        shard, bits = self.shards[index], self._kept[index]
        width = shard.stop - shard.start
        kept = np.ones(width, np.bool_) if bits is None else unpack_kept(bits, width)
        return shard.start + np.flatnonzero(kept)

    def raw(self, index: int) -> tuple[pa.ChunkedArray, pa.Table]:
        """Return the ids of one shard's usable rows, and these rows with all columns of their file.

        Raises:
            ProvenanceError: the source changed since it was described.
        """
        ids, shard = self.read(index)["row_id"], self.shards[index]
        reader, part = reader_of(self.source), part_of(self.source, shard.uri)
        with naming_file(part.uri):
            fields = reader.fields(part)
            batch = reader.range(part, fields, shard.start, shard.stop, shard.offset)
        assert batch is not None, "read() found the rows"
        table = pa.table([batch.columns[name] for name in fields], names=list(fields))
        bits = self._kept[index]
        return ids, table if bits is None else table.filter(pa.array(unpack_kept(bits, batch.rows)))

    def restricted(self, chosen: Mapping[int, NDArray[np.int64]], uri: str) -> Corpus:
        """Write a corpus of some of the usable rows into folder `uri`.

        Args:
            chosen: shard index -> increasing positions among its usable rows; shards without an entry are left out.
            uri: folder of the new manifest.
        """
        shards, bits = list[Shard](), list[bytes | None]()
        classes, identity = np.zeros(len(self.labels), np.int64), list[str]()
        for old in (shard for shard in self.shards if len(chosen.get(shard.index, ()))):
            rows = self.read(old.index).take(pa.array(chosen[old.index]))
            content, before = _content(self, old), self._kept[old.index]
            assert content is not None, "read() found the rows"
            print_ = shard_fingerprint(digests(content.take(pa.array(chosen[old.index]))))
            # Bits count source rows of the range; `chosen` counts usable rows. Translate one into the other.
            width = old.stop - old.start
            kept = np.zeros(width, np.bool_)
            usable = np.arange(width) if before is None else np.flatnonzero(unpack_kept(before, width))
            kept[usable[chosen[old.index]]] = True
            shards.append(replace(old, index=len(shards), rows=rows.num_rows, fingerprint=print_))
            bits.append(pack_kept(kept))
            classes += np.bincount(rows["label"].to_numpy(), minlength=len(self.labels))
            identity += rows["row_id"].to_pylist()
        storage.write_parquet(storage.join(uri, KEPT_FILE), pa.table({"kept": pa.array(bits, pa.binary())}))
        count = len(identity)
        return replace(
            self,
            uri=uri,
            shards=tuple(shards),
            counts={"in": count, "usable": count, "quarantined": 0, "filtered": 0},
            class_counts=tuple(classes.tolist()),
            quarantine={},
            filtered={},
            annotations={"origin": self.origin},
            inventory={},
            warnings=(),
            fingerprint=storage.fingerprint([self.fingerprint, sorted(identity)]),
        ).save()

    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Return column -> class names for integer columns, from the schema of the source's first file."""
        if not self.shards:
            return {}
        return reader_of(self.source).names(part_of(self.source, self.shards[0].uri))

    def at(self, path: str) -> Corpus:
        """Return the same corpus with its source at another path: a copy of the file or folder."""
        old, new = self.source.path.rstrip("/"), storage.absolute(path).rstrip("/")
        shards = tuple(replace(shard, uri=new + shard.uri[len(old) :]) for shard in self.shards)
        return replace(self, source=self.source.model_copy(update={"path": new}), shards=shards)

    def table(self) -> pa.Table:
        """Return all usable rows in reading order, in memory."""
        return pa.concat_tables([self.schema.empty_table(), *(self.read(shard.index) for shard in self.shards)])

    def save(self) -> Corpus:
        """Write the manifest, which completes the corpus."""
        data = {**asdict(self), "source": self.source.to_dict()}
        del data["uri"]
        if self.levels is None:
            del data["levels"]
        storage.write_json(storage.join(self.uri, CORPUS_MANIFEST), {"noun": "Corpus", **data})
        return self

    @staticmethod
    def load(uri: str) -> Corpus:
        """Read the corpus in folder `uri`; raises StorageError if its manifest is missing or inconsistent."""
        result = manifests.kind_of(Corpus, storage.join(uri, CORPUS_MANIFEST), uri=uri)
        _check_shards(result)
        return result


def _check_shards(corpus: Corpus) -> None:
    """Raise StorageError unless the shards are consecutive row ranges whose counts agree."""
    indices = [shard.index for shard in corpus.shards]
    ranges = all(0 <= shard.start <= shard.stop and shard.offset >= 0 for shard in corpus.shards)
    if not ranges or indices != list(range(len(indices))) or len(corpus.class_counts) != len(corpus.labels):
        raise StorageError(
            f"the shards or classes of {storage.join(corpus.uri, CORPUS_MANIFEST)!r} do not belong together",
            manifests.RESTORE_ADVICE,
        )
    counted = corpus.counts.get("usable")
    if {sum(shard.rows for shard in corpus.shards), sum(corpus.class_counts)} != {counted} or "in" not in corpus.counts:
        raise StorageError(
            f"the counts of rows in {storage.join(corpus.uri, CORPUS_MANIFEST)!r} do not belong together",
            manifests.RESTORE_ADVICE,
        )


def _content(corpus: Corpus, shard: Shard) -> pa.Table | None:
    """Read the usable rows of a shard from its source; None if the file now has fewer rows than the shard.

    Any failure to read becomes a ProvenanceError: the file was readable when the corpus was described.
    """
    try:
        rows = read_range(corpus.source, shard.uri, shard.start, shard.stop, shard.offset)
        kept = corpus._kept[shard.index]
    except (OSError, LookupError, pa.ArrowException, CorpusError, StorageError) as error:
        raise ProvenanceError(
            f"rows {shard.start} to {shard.stop} of {shard.uri!r} can no longer be read: {error}",
            "restore the source, or describe it again and redo what was made from it",
        ) from error
    if rows is None or len(rows.reason) != shard.stop - shard.start:
        return None
    return rows.content if kept is None else rows.content.filter(pa.array(unpack_kept(kept, len(rows.reason))))


def pack_kept(kept: Mask) -> bytes | None:
    """Return a mask of kept rows as packed bits, None if all rows are kept."""
    return None if kept.all() else np.packbits(kept).tobytes()


def unpack_kept(bits: bytes, rows: int) -> Mask:
    """Return the mask [rows] that `pack_kept` packed into `bits`."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows).astype(np.bool_)
