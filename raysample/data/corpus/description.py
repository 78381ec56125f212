"""Describe a source: one scan that judges every row, cuts shards, and writes the manifest and the quarantine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core import storage
from raysample.core.arrays import Mask, WordArray
from raysample.core.config import Columns, SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus import ledger as books
from raysample.data.corpus.corpus import CORPUS_MANIFEST, KEPT_FILE, Corpus, pack_kept
from raysample.data.corpus.judge_rows import JudgedRows, digests, folder_columns, id_hashes, shard_fingerprint
from raysample.data.corpus.ledger import Ledger, Range
from raysample.data.corpus.quarantine import QUARANTINE_FOLDER, Quarantine
from raysample.data.corpus.read_file import read_judged, read_range
from raysample.data.corpus.sides import Side, Split
from raysample.data.labels import origins
from raysample.data.labels.class_names import LabelNotes, canonical, distinct_class_names
from raysample.data.labels.classes import Codes, Vocabulary, order_classes
from raysample.data.labels.levels import Levels, assembled, beside, others
from raysample.data.schema import DUPLICATE, FINE, SELECTED, UNSEEN, Part, Shard
from raysample.data.sources.resolve import Source, check_rare, has_rows, open_source

MAX_SPAN = 32
"""A shard spans at most this many times `shard_rows` source rows, however few of them are usable."""


def describe_source(
    source: SourceConfig,
    uri: str,
    *,
    labels: Sequence[str] | None = None,
    levels: Levels | None = None,
    shard_rows: int = 2048,
    part: Side = "all",
    holdout: float | None = None,
    validation: float | None = None,
) -> Corpus:
    """Scan a source once, judge every row, and write its Corpus into folder `uri`.

    Written files: `quarantine/part-*.parquet` (file, row, row_id, stage, reason, line), `kept.parquet`, and last
    `corpus.json`. Memory: about 30 bytes per row, 6 more for labels with a confidence and feedback; texts are not held.
    The same source and arguments give the same corpus.

    Args:
        source: path, format and column names of the source.
        uri: folder for the manifest; an older corpus there is replaced.
        labels: class names of training, for test corpora; without them the classes are those that occur.
        levels: levels of training, for test corpora whose `columns.levels` name as many.
        shard_rows: usable rows per shard, at most.
        part: one side of the source (see `Split`): `holdout`, of the other rows `validation`, and `train` the rest.
        holdout: the held-out share, in (0, 1).
        validation: the share of the other rows that chooses, in (0, 1). Training knows the classes of both.

    Raises:
        CorpusError: there is nothing to read, a column is missing, too many rows are in quarantine, the part has no
            usable row, there is a single class, or a label is not in `labels` (with `source.unseen_labels` "error").
    """
    _check_shards(shard_rows)
    split = Split(part, holdout, validation)
    _check_levels(source.columns, labels, levels)
    opened, uri = open_source(source), storage.absolute(uri)
    for name in (CORPUS_MANIFEST, KEPT_FILE, QUARANTINE_FOLDER):
        storage.remove(storage.join(uri, name))
    quarantine = Quarantine(uri)
    rule = opened.config.labels
    known = (
        ()
        if labels is None
        else tuple(frozenset(distinct_class_names(names, rule)) for names in (labels, *beside(levels)))
    )
    scan = _Scan(opened, quarantine, split.filters, known)
    ledger = _without_repeats(opened, scan.run(shard_rows), quarantine)
    quarantine.close()
    limited = books.within_limit(ledger, opened.config.limit)
    split.check(limited, opened.config.path)
    books.check_ledger(ledger, opened.config, uri, known, quarantine.first)
    ledger = limited
    if labels is None:
        labels, levels = _occurring_classes(ledger, opened.config, scan.declared)
    inventory = opened.inventory.checked(scan.files, opened.config.path)
    books.reconcile(ledger, opened.config.path, scan.rows_of_files, quarantine.written)
    missing = books.taken_for_missing(ledger.reasons(), opened.config)
    spelled_so = scan.notes.spellings.warnings(_occurring(ledger))
    lacking = split.warnings(ledger, [canonical(name, opened.config.labels) for name in labels])
    notes = (inventory, (*((missing,) if missing else ()), *spelled_so, *lacking))
    return _written(uri, opened.config, part, tuple(labels), levels, ledger, shard_rows, notes)


def _occurring(ledger: Ledger) -> set[str]:
    """Return the class names that usable rows have, of all levels."""
    return {name for counts in (ledger.class_counts(), *ledger.level_counts()) for name in counts}


def _check_shards(shard_rows: int) -> None:
    """Raise CorpusError for empty shards."""
    if shard_rows < 1:
        raise CorpusError(f"shards of shard_rows={shard_rows} rows cannot be", "give shard_rows at least 1")


def _check_levels(columns: Columns, labels: Sequence[str] | None, levels: Levels | None) -> None:
    """Raise CorpusError if the class names of training do not match the levels that the source names."""
    if labels is None and levels is None:
        return
    wanted = columns.levels.index(columns.label) if columns.levels else None
    given = (0, None) if levels is None else (len(levels.names), levels.label)
    same = levels is None or (labels is not None and levels.classes[levels.label] == tuple(labels))
    if given != (len(columns.levels), wanted) or not same:
        raise CorpusError(
            f"the source has the levels ({', '.join(columns.levels)}) with the label {columns.label!r}, and the "
            f"classes it is described with have ({'' if levels is None else ', '.join(levels.names)})",
            "give labels and levels of one training corpus, and name as many columns.levels as it has, in its order",
        )


def _occurring_classes(
    ledger: Ledger, config: SourceConfig, declared: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], Levels | None]:
    """Return the classes, and the levels, of training and validation rows together.

    A class whose rows are all on the validation side stays a class: the test may have rows of it.
    """
    reasons, every = ledger.reasons(), books.pooled(ledger)
    books.check_classes(ledger.class_counts(), config, reasons)
    labels = _classes(every.class_counts(), config, declared[0], reasons)
    rest = [
        _classes(counts, config, names, reasons)
        for counts, names in zip(every.level_counts(), declared[1:], strict=True)
    ]
    return labels, assembled(config.columns, labels, rest)


def _classes(
    counts: dict[str, int], config: SourceConfig, declared: Sequence[str], reasons: dict[str, int]
) -> tuple[str, ...]:
    """Return the ordered class names that occur; raises CorpusError if there is only one."""
    books.check_classes(counts, config, reasons)
    return order_classes(counts, [canonical(name, config.labels) for name in declared])


class _Scan:
    """Reads a source from end to end and collects the ledger's columns."""

    def __init__(
        self,
        source: Source,
        quarantine: Quarantine,
        choose: Callable[[JudgedRows], Codes],
        known: Sequence[frozenset[str]],
    ) -> None:
        self.source, self.quarantine, self.choose, self.known = source, quarantine, choose, known
        # The label, then the levels beside it: name in a judged batch -> column of the source.
        columns = source.config.columns
        self._labels = {"label": columns.label, **dict(others(columns))}
        self._vocabularies = [Vocabulary() for _ in self._labels]
        self.declared: list[list[str]] = [[] for _ in self._labels]
        self._ranges: list[Range] = []
        self._columns: list[tuple[np.ndarray[tuple[int, ...], np.dtype[np.generic]], ...]] = []
        self._rows = 0
        self.files = 0
        self.rows_of_files: dict[str, int] = {}
        self.notes = LabelNotes(source.config)

    def run(self, size: int) -> Ledger:
        """Judge all rows, `size` at a time, and return them as a ledger."""
        check_rare(self.source)
        for part in self.source.parts:
            if has_rows(self.source, part):
                self._file(part, size)
            self.files += 1 if self.source.by_file else len(self.source.inventory.read)
        if not self._rows:
            raise CorpusError(f"{self.source.config.path!r} has no row at all", "check the path")
        columns = map(np.concatenate, zip(*self._columns, strict=True))
        label, *rest = (tuple(known.codes) for known in self._vocabularies)
        return Ledger(tuple(self._ranges), label, *columns, vocabularies=tuple(rest))

    def _file(self, part: Part, size: int) -> None:
        """Judge the rows of one file and append one ledger range per batch."""
        config, reader = self.source.config, self.source.reader
        names = reader.names(part)
        for declared, column in zip(self.declared, self._labels.values(), strict=True):
            declared += names.get(column, ())
        for batch, rows in read_judged(config, part, size):
            self.notes.add(part.name, {**batch.columns, **folder_columns(part, batch.rows)}, names)
            self.rows_of_files[part.uri] = max(self.rows_of_files.get(part.uri, 0), batch.start + batch.rows)
            self._ranges.append(Range(part, batch.start, batch.rows, batch.offset, self._rows))
            self._rows += batch.rows
            self._enter(rows, part, batch.start)

    def _enter(self, rows: JudgedRows, part: Part, start: int) -> None:
        """Encode the labels of a judged batch, quarantine its bad rows, and append its columns to the ledger."""
        labels = np.stack(
            [
                known.encode(rows.content[name].combine_chunks())
                for known, name in zip(self._vocabularies, self._labels, strict=True)
            ],
            axis=1,
        )
        # The entry behind the last class is for rows without a label (code -1), which are not foreign.
        for place, classes in enumerate(self.known):
            foreign = np.array([name not in classes for name in self._vocabularies[place].codes] + [False])
            rows.reason[(rows.reason == FINE) & foreign[labels[:, place]]] = UNSEEN
        filtered = self.choose(rows)
        self.quarantine.add(part, start, rows, (filtered == SELECTED) & (rows.reason != FINE))
        extra = (rows.confidence, rows.feedback, labels[:, 1:])
        self._columns.append((rows.reason, filtered, labels[:, 0], id_hashes(rows), digests(rows.content), *extra))


def _without_repeats(source: Source, ledger: Ledger, quarantine: Quarantine) -> Ledger:
    """Quarantine rows that repeat the id of an earlier usable row."""
    # Repeated ids are known only after the scan, and the ledger holds hashes, not ids: read the affected ranges again.
    if source.config.columns.id is None:
        return ledger
    repeated = books.repeats(ledger)
    for range_ in ledger.ranges:
        here = (repeated & ledger.inside)[range_.first : range_.first + range_.rows]
        if here.any():
            rows = read_range(source.config, range_.part.uri, range_.start, range_.start + range_.rows, range_.offset)
            assert rows is not None, "a range that was just read is there"
            rows.reason[here] = DUPLICATE
            quarantine.add(range_.part, range_.start, rows, here)
    return books.without(ledger, repeated)


def _written(
    uri: str,
    source: SourceConfig,
    part: Side,
    classes: tuple[str, ...],
    levels: Levels | None,
    ledger: Ledger,
    shard_rows: int,
    notes: tuple[dict[str, Any], tuple[str, ...]],
) -> Corpus:
    """Cut the ledger into shards and write the corpus: `kept.parquet` first, the manifest last."""
    usable = ledger.usable
    spans = list(_spans(ledger, usable, shard_rows))
    shards = tuple(_shard(index, span, usable, ledger.content) for index, span in enumerate(spans))
    kept = [pack_kept(usable[span[0].first : span[-1].first + span[-1].rows]) for span in spans]
    storage.write_parquet(storage.join(uri, KEPT_FILE), pa.table({"kept": pa.array(kept, pa.binary())}))
    counts = ledger.class_counts()
    inventory, warnings = notes
    return Corpus(
        uri=uri,
        source=source,
        part=part,
        labels=classes,
        shards=shards,
        counts=ledger.counts(),
        class_counts=tuple(counts.get(canonical(name, source.labels), 0) for name in classes),
        quarantine=ledger.reasons(),
        fingerprint=ledger.fingerprint(classes, levels),
        filtered=ledger.filters(),
        annotations=origins.summary(source.labels, ledger.confidence, ledger.feedback, usable),
        levels=levels,
        inventory=inventory,
        warnings=warnings,
    ).save()


def _spans(ledger: Ledger, usable: Mask, shard_rows: int) -> Iterator[list[Range]]:
    """Yield runs of ledger ranges, each of one file, that form one shard of at most `shard_rows` usable rows."""
    # Neighbouring ranges are joined while their usable rows fit one shard: a strict filter then gives no tiny shards.
    # MAX_SPAN bounds the source rows that a worker must read for one shard.
    span: list[Range] = []
    held = 0
    for range_ in ledger.ranges:
        rows = int(usable[range_.first : range_.first + range_.rows].sum())
        if not rows:
            continue
        near = bool(span) and span[0].part == range_.part
        if near and held + rows <= shard_rows and range_.start - span[0].start < MAX_SPAN * shard_rows:
            span, held = [*span, range_], held + rows
            continue
        if span:
            yield span
        span, held = [range_], rows
    if span:
        yield span


def _shard(index: int, span: list[Range], usable: Mask, content: WordArray) -> Shard:
    """Return the shard that covers a run of ranges, with the fingerprint of its usable rows."""
    first, last = span[0], span[-1]
    rows = slice(first.first, last.first + last.rows)
    kept = usable[rows]
    print_ = shard_fingerprint(content[rows][kept])
    return Shard(index, first.part.uri, first.start, last.start + last.rows, int(kept.sum()), print_, first.offset)
