"""Corpus: labelled texts, described but not copied. It knows where each shard lies and reads it again on demand."""

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
from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError, ProvenanceError, StorageError
from raysample.data.corpus.judge_rows import Mask, digests, shard_fingerprint
from raysample.data.corpus.read_file import read_range
from raysample.data.labels.class_names import canonical_names
from raysample.data.labels.levels import PREFIX, Levels
from raysample.data.readers.damage import named
from raysample.data.schema import CONFIDENCE, SCHEMA, Shard
from raysample.data.sources.resolve import part_of, reader_of

MANIFEST = "corpus.json"
KEPT = "kept.parquet"
"""One row per shard: which of its rows are usable, as packed bits; null where all are."""


@dataclass(frozen=True)
class Corpus:
    """Labelled texts that lie elsewhere, as `describe` found them.

    Attributes:
        uri: folder of the manifest.
        source: where the texts lie, with an absolute path and the format settled.
        part: `all`, or the side of a hold-out: `train`, `holdout`.
        labels: class names; a label's integer is its place in this tuple.
        shards: row ranges in reading order; ranges without a usable row are left out.
        counts: rows `in`, `usable`, `quarantined`, `filtered`; the first is the sum of the others.
        class_counts: usable rows per class.
        quarantine: reason -> rows set aside for it.
        fingerprint: identity of the usable rows and class names. With an id column it depends on neither the order of
            the rows nor the layout of the files, as it sums a 128-bit hash per row; without one the ids name files.
        filtered: cause -> rows left out for it, because the source's configuration says so.
        levels: of a hierarchical label, of which one is `label`; None where there is one level.
        annotations: where the labels come from (`origin`), how far they are trusted (`confidence`: `rows`, `mean`,
            `deciles`) and what users did (`feedback`: a list of `value`, what it `gives`, `rows` and `usable` ones).
        inventory: the source's `files` (`in`, `read`, `left_out`; the first is the sum of the others), and of those
            left out, by reason, how many `files` and the first thousand `names`. Empty in manifests of older versions.
        warnings: what a reader should know of the rows: spellings of a class that were taken for one, and the like.
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
        """Files of the source that are not read, by reason; their names are in `inventory`."""
        return {reason: told["files"] for reason, told in self.inventory.get("left_out", {}).items()}

    @property
    def grouped(self) -> bool:
        """Whether the rows have groups: a column that `columns.group` names."""
        return self.source.columns.group is not None

    @property
    def origin(self) -> str:
        """Where the labels come from: `gold`, `hypothesis` or `feedback`."""
        return self.source.labels.origin

    @property
    def schema(self) -> pa.Schema:
        """The columns of its tables: `SCHEMA`, `label_confidence` where the labels come with one, `level_NAME`s.

        These hold the integer labels of every level, that of `label` included, where the label has levels.
        """
        told = [] if self.source.labels.confidence is None else [pa.field(CONFIDENCE, pa.float32())]
        levels = () if self.levels is None else self.levels.columns
        return pa.schema([*SCHEMA, *told, *(pa.field(name, pa.int32()) for name in levels)])

    @cached_property
    def _kept(self) -> list[bytes | None]:
        found: list[bytes | None] = storage.read_parquet(storage.join(self.uri, KEPT)).column("kept").to_pylist()
        return found

    def read(self, index: int) -> pa.Table:
        """Return the usable rows of one shard in `schema`; raises ProvenanceError if they are no longer the same."""
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
        """Return the integer labels of judged rows: the label's, and those of every level."""
        found = {"label": pc.index_in(content["label"], value_set=self._names(self.labels))}
        if self.levels is not None:
            for place, name in enumerate(self.levels.columns):
                names = content["label" if place == self.levels.label else f"{PREFIX}{place}"]
                found[name] = pc.index_in(names, value_set=self._names(self.levels.classes[place]))
        return found

    def _names(self, classes: Sequence[str]) -> pa.StringArray:
        """Return class names as rows spell them: adopted checkpoints may have spelled them otherwise."""
        return canonical_names(pa.array(classes, pa.string()), self.source.labels)

    def positions(self, index: int) -> NDArray[np.int64]:
        """Return the places of one shard's usable rows in their file, [rows]."""
        shard, bits = self.shards[index], self._kept[index]
        width = shard.stop - shard.start
        kept = np.ones(width, np.bool_) if bits is None else unpack_kept(bits, width)
        return shard.start + np.flatnonzero(kept)

    def raw(self, index: int) -> tuple[pa.ChunkedArray, pa.Table]:
        """Return the ids of one shard's usable rows, and these rows with every column that their file has.

        Raises ProvenanceError if they are no longer the same.
        """
        ids, shard = self.read(index)["row_id"], self.shards[index]
        reader, part = reader_of(self.source), part_of(self.source, shard.uri)
        with named(part.uri):
            fields = reader.fields(part)
            batch = reader.range(part, fields, shard.start, shard.stop, shard.offset)
        assert batch is not None, "read() found the rows"
        table = pa.table([batch.columns[name] for name in fields], names=list(fields))
        bits = self._kept[index]
        return ids, table if bits is None else table.filter(pa.array(unpack_kept(bits, batch.rows)))

    def restricted(self, chosen: Mapping[int, NDArray[np.int64]], uri: str) -> Corpus:
        """Describe some of the usable rows as a corpus of their own in folder `uri`.

        Args:
            chosen: shard -> positions among its usable rows, rising. Shards without any are left out.
            uri: the folder.
        """
        shards, bits = list[Shard](), list[bytes | None]()
        classes, identity = np.zeros(len(self.labels), np.int64), list[str]()
        for old in (shard for shard in self.shards if len(chosen.get(shard.index, ()))):
            rows = self.read(old.index).take(pa.array(chosen[old.index]))
            content, before = _content(self, old), self._kept[old.index]
            assert content is not None, "read() found the rows"
            print_ = shard_fingerprint(digests(content.take(pa.array(chosen[old.index]))))
            width = old.stop - old.start
            kept = np.zeros(width, np.bool_)
            usable = np.arange(width) if before is None else np.flatnonzero(unpack_kept(before, width))
            kept[usable[chosen[old.index]]] = True
            shards.append(replace(old, index=len(shards), rows=rows.num_rows, fingerprint=print_))
            bits.append(pack_kept(kept))
            classes += np.bincount(rows["label"].to_numpy(), minlength=len(self.labels))
            identity += rows["row_id"].to_pylist()
        storage.write_parquet(storage.join(uri, KEPT), pa.table({"kept": pa.array(bits, pa.binary())}))
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
        """Return the class names that the source's schema (that of its first file) has for columns of integers."""
        if not self.shards:
            return {}
        return reader_of(self.source).names(part_of(self.source, self.shards[0].uri))

    def at(self, path: str) -> Corpus:
        """Return the same corpus with its source at another place: a copy of the file or folder."""
        old, new = self.source.path.rstrip("/"), storage.absolute(path).rstrip("/")
        shards = tuple(replace(shard, uri=new + shard.uri[len(old) :]) for shard in self.shards)
        return replace(self, source=self.source.model_copy(update={"path": new}), shards=shards)

    def table(self) -> pa.Table:
        """Return all usable rows in reading order, in memory."""
        return pa.concat_tables([self.read(shard.index) for shard in self.shards])

    def save(self) -> Corpus:
        """Write the manifest, which makes the corpus complete."""
        data = {**asdict(self), "source": self.source.to_dict()}
        del data["uri"]
        if self.levels is None:
            del data["levels"]
        storage.write_json(storage.join(self.uri, MANIFEST), {"noun": "Corpus", **data})
        return self

    @staticmethod
    def load(uri: str) -> Corpus:
        """Read the corpus that lies in folder `uri`; raises StorageError if none was completed there."""
        found = manifests.kind_of(Corpus, storage.join(uri, MANIFEST), uri=uri)
        _check_shards(found)
        return found


def _check_shards(corpus: Corpus) -> None:
    """Raise StorageError where shards are no row ranges, one after the other, or counts do not belong together."""
    indices = [shard.index for shard in corpus.shards]
    ranges = all(0 <= shard.start <= shard.stop and shard.offset >= 0 for shard in corpus.shards)
    if not ranges or indices != list(range(len(indices))) or len(corpus.class_counts) != len(corpus.labels):
        raise StorageError(
            f"the shards or classes of {storage.join(corpus.uri, MANIFEST)!r} do not belong together",
            manifests.ADVICE,
        )
    counted = corpus.counts.get("usable")
    if {sum(shard.rows for shard in corpus.shards), sum(corpus.class_counts)} != {counted} or "in" not in corpus.counts:
        raise StorageError(
            f"the counts of rows in {storage.join(corpus.uri, MANIFEST)!r} do not belong together", manifests.ADVICE
        )


def _content(corpus: Corpus, shard: Shard) -> pa.Table | None:
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
    """Return which rows are kept as bits, None if all are."""
    return None if kept.all() else np.packbits(kept).tobytes()


def unpack_kept(bits: bytes, rows: int) -> Mask:
    """Return the inverse of `packed` for a range that dropped rows."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows).astype(np.bool_)
