"""`compact`: reduce a log to its unique contents. The result depends only on the files in the window.

Each file is tallied once; the tally is reused while the file does not change. Every update merges the contents anew
from all tallies, one range of content ids at a time, so late, changed and deleted files need no special handling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from raysample.core import manifests, storage
from raysample.core.config import Columns, LabelsConfig, SourceConfig
from raysample.core.errors import CorpusError
from raysample.core.map_fn import MapFn, threads
from raysample.data.corpus.ledger import if_quotes, otherwise, taken_for_missing
from raysample.data.labels.class_names import Declared, Spellings
from raysample.data.log import merge, ranges
from raysample.data.log.tally import FileTally, key_of, partition, tally_file
from raysample.data.schema import Part
from raysample.data.sources.inventory import OUTSIDE
from raysample.data.sources.resolve import Source, open_source

CONTENTS_MANIFEST = "contents.json"
FILES_FOLDER = "files"


@dataclass(frozen=True)
class Contents:
    """The unique contents of a log, or of its newest partitions, as they lie in folder `uri`.

    A content is a text or pair of texts with a label. Rows with the same content are its copies.

    Attributes:
        uri: the folder.
        source: the log, with an absolute path and the format settled.
        window: number of newest partitions in the window; None for all.
        files: the files in the window, by name.
        parts: Parquet files relative to `uri`, rising by content id; columns as in `log.merge.CONTENTS_SCHEMA`.
        counts: rows of the log `in`, `usable`, `quarantined`, `filtered`; `contents`; `conflicts` (texts with several
            labels) and `conflict_rows`, their copies.
        reasons: reason -> number of quarantined rows; they lie in `files/KEY/quarantine/`.
        labels: rows per label, the most frequent first.
        fingerprint: identity of contents, counts and groups; independent of the log's files and of the order in them.
        update: files that were `new`, `kept` and `gone` when this was made.
        left_out: reason -> number of rows that the configuration leaves out.
        inventory: the log's files, as in `Corpus`; those outside the window are left out.
        warnings: as in `Corpus`.

    >>> import raysample
    >>> from raysample.testing import tiny_corpus_files
    >>> found = raysample.compact(tiny_corpus_files("log", rows=60), "contents")
    >>> raysample.Contents.load("contents").fingerprint == found.fingerprint
    True
    """

    uri: str
    source: SourceConfig
    window: int | None
    files: tuple[FileTally, ...]
    parts: tuple[str, ...]
    counts: dict[str, int]
    reasons: dict[str, int]
    labels: dict[str, int]
    fingerprint: str
    update: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)
    inventory: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def grouped(self) -> bool:
        """Whether the rows of the log have groups."""
        return self.source.columns.group is not None

    @property
    def places(self) -> list[str]:
        """URIs of the parts."""
        return [storage.join(self.uri, name) for name in self.parts]

    def place(self, file: FileTally) -> str:
        """Return the folder of a file's tally and quarantine."""
        return storage.join(self.uri, FILES_FOLDER, file.key)

    def as_source(self) -> SourceConfig:
        """Return the contents as a source of labelled texts whose row ids are content ids.

        Its labels are hypotheses unless the log's are gold: feedback was applied when the contents were made.
        """
        pair = None if self.source.columns.text_pair is None else "text_pair"
        group = "group" if self.grouped else None
        columns = Columns(text="text", text_pair=pair, label="label", id="id", group=group)
        # Every label of a content is a class: rows with a missing label were quarantined during compaction.
        rule = self.source.labels
        labels = LabelsConfig(
            origin="gold" if rule.origin == "gold" else "hypothesis", missing=[], numeric_strings=rule.numeric_strings
        )
        place = storage.join(self.uri, self.parts[0].split("/")[0])
        return SourceConfig(path=place, format="parquet", columns=columns, labels=labels)

    def save(self) -> Contents:
        """Write the manifest, which completes the contents."""
        data = {**asdict(self), "source": self.source.to_dict()}
        del data["uri"]
        storage.write_json(storage.join(self.uri, CONTENTS_MANIFEST), {"noun": "Contents", **data})
        return self

    @staticmethod
    def load(uri: str) -> Contents:
        """Read the contents in folder `uri`; raises StorageError if the manifest is missing or damaged."""
        place = storage.join(uri, CONTENTS_MANIFEST)
        result = manifests.kind_of(Contents, place, uri=uri)
        manifests.check_parts(result.parts, place)
        return result


def compact_log(source: SourceConfig, uri: str, *, window: int | None = None, map_fn: MapFn = threads) -> Contents:
    """Update the contents in folder `uri` from a log: only new and changed files are read.

    Memory: the distinct contents of one file while it is tallied, and those of one range of ids while they are merged.
    Repeated row ids are found within a file, not across files.

    Args:
        source: the log: Parquet, JSONL or CSV files.
        uri: the folder; results of an earlier call there are reused.
        window: use only the newest `window` partitions: folders that hold files, by name, or files directly in the
            log's folder. Results of files outside the window are deleted from `uri`.
        map_fn: maps a function over files and ranges: threads by default, or `Executor.map`. The result is the same.

    Raises:
        CorpusError: there is nothing to read, a column is missing, too many rows are in quarantine, or none is usable.
    """
    settled = open_source(source)
    _check(settled.config, window)
    uri = storage.absolute(uri)
    before = (
        {file.key for file in Contents.load(uri).files}
        if storage.exists(storage.join(uri, CONTENTS_MANIFEST))
        else set()
    )
    parts = windowed(settled, window)
    place = storage.join(uri, FILES_FOLDER)
    files = tuple(map_fn(partial(tally_file, config=settled.config, folder=place), [part.uri for part in parts]))
    _notes(files, settled.config)
    _check_rows(files, settled.config, place)
    contents = _merged(Contents(uri, settled.config, window, files, (), {}, {}, {}, "", {}), map_fn)
    # A changed file has a new key: it counts as new, and its old tally as gone.
    keys = {file.key for file in files}
    update = {"new": len(keys - before), "kept": len(keys & before), "gone": len(before - keys)}
    beyond = [(part.uri, part.name) for part in settled.parts if part not in parts]
    inventory = settled.inventory.without(beyond, OUTSIDE).checked(len(files), settled.config.path)
    missing = taken_for_missing(contents.reasons, settled.config)
    warnings = (*((missing,) if missing else ()), *_notes(files, settled.config).warnings(contents.labels))
    made = replace(contents, update=update, inventory=inventory, warnings=warnings).save()
    _tidy(made)
    return made


def windowed(source: Source, window: int | None) -> list[Part]:
    """Return the files of a log that lie in its newest `window` partitions."""
    partitions = sorted({partition(part) for part in source.parts})
    newest = set(partitions if window is None else partitions[-window:])
    return [part for part in source.parts if partition(part) in newest]


def stale(contents: Contents) -> list[str]:
    """Return the names of files that changed or were deleted since the contents were made."""
    current = {part.name: part for part in open_source(contents.source).parts}
    files = [(file, current.get(file.name)) for file in contents.files]
    return [file.name for file, part in files if part is None or key_of(contents.source, part) != file.key]


def _check(config: SourceConfig, window: int | None) -> None:
    """Raise CorpusError for a source that is not a log of files, or an empty window."""
    if config.format in ("datasets", "hub") or config.limit is not None:
        raise CorpusError(
            f"{config.path!r} (format {config.format}, limit {config.limit}) is no log of files",
            "give Parquet, JSONL or CSV files, without a limit",
        )
    if window is not None and window < 1:
        raise CorpusError(f"a window of {window} partitions holds nothing", "give a window of 1 or more, or none")


def _check_rows(files: Sequence[FileTally], config: SourceConfig, place: str) -> None:
    """Raise CorpusError if too many rows are in quarantine or none is usable."""
    counts = _sum(file.counts for file in files)
    judged = counts["usable"] + counts["quarantined"]
    missing = taken_for_missing(_sum(file.reasons for file in files), config)
    if counts["quarantined"] > config.max_quarantined * judged:
        top = "; ".join(f"{reason}: {rows}" for reason, rows in _sum(file.reasons for file in files).most_common(5))
        raise CorpusError(
            f"{counts['quarantined']:,} of {judged:,} rows of {config.path!r} cannot be used, more than"
            f" max_quarantined={config.max_quarantined:g} allows ({top})",
            f"{otherwise(missing)}{if_quotes(_sum(file.reasons for file in files))}check the column names and the rows"
            f" listed below {place!r}, mend them, or raise max_quarantined",
        )
    if not counts["usable"]:
        why = "; ".join(f"{cause}: {rows}" for cause, rows in _sum(file.left_out for file in files).most_common())
        raise CorpusError(
            f"{config.path!r} has no usable row in the window{f' (left out: {why})' if why else ''}",
            f"{otherwise(missing)}check the path, where, labels and the window",
        )


def _notes(files: Sequence[FileTally], config: SourceConfig) -> Spellings:
    """Return the spellings of the classes in all files; raises CorpusError if their ClassLabels differ."""
    result, declared = Spellings(config.labels), Declared()
    for file in files:
        result.merge(file.spellings)
        for column, names in file.class_names.items():
            declared.add(column, None if names is None else tuple(names), file.name)
    return result


def _merged(contents: Contents, map_fn: MapFn) -> Contents:
    """Merge the tallies of all files into parts, one range of content ids at a time."""
    names = [file.key for file in contents.files]
    ranges_total = ranges.range_count(sum(file.tallied for file in contents.files))
    folder = f"contents-{storage.fingerprint([sorted(names), ranges_total])[:12]}"
    work = partial(
        merge.merge_range,
        files=names,
        folder=storage.join(contents.uri, FILES_FOLDER),
        target=storage.join(contents.uri, folder),
        of=ranges_total,
    )
    pieces: list[merge.Merged] = list(map_fn(work, range(ranges_total)))
    # Checked by separate counts: what the tallies counted as usable must come out of the merge.
    counts = dict(_sum(file.counts for file in contents.files))
    if sum(piece.rows for piece in pieces) != counts["usable"]:
        raise CorpusError(
            f"rows were lost: {counts['usable']:,} were tallied, {sum(piece.rows for piece in pieces):,} came out",
            "please report this; do not use the contents",
        )
    counts |= {name: sum(getattr(p, name) for p in pieces) for name in ("contents", "conflicts", "conflict_rows")}
    labels = dict(sorted(_sum(piece.labels for piece in pieces).items(), key=lambda item: (-item[1], item[0])))
    # Sums mod 2^64 make the fingerprint independent of files, ranges and order.
    total = sum(piece.digest for piece in pieces) % 2**64
    return replace(
        contents,
        parts=tuple(f"{folder}/{merge.range_part('', at)}" for at in range(ranges_total)),
        counts=counts,
        reasons=dict(_sum(file.reasons for file in contents.files).most_common()),
        labels=labels,
        left_out=dict(_sum(file.left_out for file in contents.files).most_common()),
        fingerprint=storage.fingerprint(["Contents", counts["contents"], f"{total:016x}"]),
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Return the sums of counters by key."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _tidy(contents: Contents) -> None:
    """Delete tallies of files outside the window and contents of earlier updates."""
    # Runs after the new manifest is complete, so an interruption leaves extra files but never a missing one.
    tallies, files = storage.join(contents.uri, FILES_FOLDER), {file.key for file in contents.files}
    for name in storage.folders(tallies):
        if name not in files:
            storage.remove(storage.join(tallies, name))
    for name in storage.folders(contents.uri):
        if name.startswith("contents-") and not contents.parts[0].startswith(f"{name}/"):
            storage.remove(storage.join(contents.uri, name))
