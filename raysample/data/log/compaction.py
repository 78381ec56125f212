"""`compact`: a log to its unique contents. What is written is a function of the files that count, whatever came before.

Each file is tallied once, and found again as long as it does not change. The contents are merged anew from the tallies,
range by range of their ids: a file that came late, changed or went away needs no care of its own.
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

MANIFEST = "contents.json"
FILES = "files"


@dataclass(frozen=True)
class Contents:
    """The unique contents of a log, or of its newest partitions, as they lie in folder `uri`.

    A content is what a row says: its text or pair of texts, and its label. Rows with the same are its copies.

    Attributes:
        uri: the folder.
        source: the log, with an absolute path and the format settled.
        window: how many of the newest partitions count; None for all.
        files: those that count, by name.
        parts: Parquet files relative to `uri`, rising by content id; columns as in `contents.merging.SCHEMA`.
        counts: rows of the log `in`, `usable`, `quarantined`, `filtered`; `contents`; `conflicts` (texts with several
            labels) and `conflict_rows`, their copies.
        reasons: reason -> rows set aside for it; they lie in `files/KEY/quarantine/`.
        labels: rows per label, the most frequent first.
        fingerprint: identity of contents, counts and groups; independent of the log's files and of the order in them.
        update: files that were `new`, `kept` and `gone` when this was made.
        left_out: cause -> rows left out for it, because the configuration says so.
        inventory: the log's files, as in `Corpus`; those outside the window are left out.
        warnings: as in `Corpus`.
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
        return storage.join(self.uri, FILES, file.key)

    def as_source(self) -> SourceConfig:
        """Return the contents as a source of labelled texts, whose ids are content ids.

        Its labels are hypotheses unless the log's are gold: feedback was heeded when the contents were made.
        """
        pair = None if self.source.columns.text_pair is None else "text_pair"
        group = "group" if self.grouped else None
        columns = Columns(text="text", text_pair=pair, label="label", id="id", group=group)
        # a label that is here is a class: what is missing was set aside when the contents were made
        rule = self.source.labels
        labels = LabelsConfig(
            origin="gold" if rule.origin == "gold" else "hypothesis", missing=[], numeric_strings=rule.numeric_strings
        )
        place = storage.join(self.uri, self.parts[0].split("/")[0])
        return SourceConfig(path=place, format="parquet", columns=columns, labels=labels)

    def save(self) -> Contents:
        """Write the manifest, which makes the contents complete."""
        data = {**asdict(self), "source": self.source.to_dict()}
        del data["uri"]
        storage.write_json(storage.join(self.uri, MANIFEST), {"noun": "Contents", **data})
        return self

    @staticmethod
    def load(uri: str) -> Contents:
        """Read the contents that lie in folder `uri`; raises StorageError if none were completed there."""
        return manifests.kind_of(Contents, storage.join(uri, MANIFEST), uri=uri)


def compact_log(source: SourceConfig, uri: str, *, window: int | None = None, spread: MapFn = threads) -> Contents:
    """Bring the contents in folder `uri` up to date with a log: only files that are new or changed are read.

    A file's distinct contents are held in memory while it is tallied, and those of a range of ids while they are
    merged. Row ids are compared within a file.

    Args:
        source: the log: Parquet, JSONL or CSV files.
        uri: the folder; what an earlier call left there is used.
        window: count the newest so many partitions alone (folders that hold files, by name; or files beside others in
            the log's own folder). What left the window is deleted from `uri`.
        spread: maps the work over files and ranges; with threads here, or `Engine.map`. The result is the same.

    Raises:
        CorpusError: nothing to read, a column is missing, too many rows in quarantine, no usable row.
    """
    found = open_source(source)
    _check(found.config, window)
    uri = storage.absolute(uri)
    before = {file.key for file in Contents.load(uri).files} if storage.exists(storage.join(uri, MANIFEST)) else set()
    parts = windowed(found, window)
    place = storage.join(uri, FILES)
    files = tuple(spread(partial(tally_file, config=found.config, folder=place), [part.uri for part in parts]))
    _notes(files, found.config)
    _check_rows(files, found.config, place)
    contents = _merged(Contents(uri, found.config, window, files, (), {}, {}, {}, "", {}), spread)
    keys = {file.key for file in files}
    update = {"new": len(keys - before), "kept": len(keys & before), "gone": len(before - keys)}
    beyond = [(part.uri, part.name) for part in found.parts if part not in parts]
    inventory = found.inventory.without(beyond, OUTSIDE).checked(len(files), found.config.path)
    missing = taken_for_missing(contents.reasons, found.config)
    warnings = (*((missing,) if missing else ()), *_notes(files, found.config).warnings(contents.labels))
    made = replace(contents, update=update, inventory=inventory, warnings=warnings).save()
    _tidy(made)
    return made


def windowed(source: Source, window: int | None) -> list[Part]:
    """Return the files of a log that count, those of its newest partitions."""
    names = sorted({partition(part) for part in source.parts})
    newest = set(names if window is None else names[-window:])
    return [part for part in source.parts if partition(part) in newest]


def stale(contents: Contents) -> list[str]:
    """Return the names of files that changed or went away since the contents were made."""
    there = {part.name: part for part in open_source(contents.source).parts}
    files = [(file, there.get(file.name)) for file in contents.files]
    return [file.name for file, part in files if part is None or key_of(contents.source, part) != file.key]


def _check(config: SourceConfig, window: int | None) -> None:
    if config.format in ("datasets", "hub") or config.limit is not None:
        raise CorpusError(
            f"{config.path!r} (format {config.format}, limit {config.limit}) is no log of files",
            "give Parquet, JSONL or CSV files, without a limit",
        )
    if window is not None and window < 1:
        raise CorpusError(f"a window of {window} partitions holds nothing", "give a window of 1 or more, or none")


def _check_rows(files: Sequence[FileTally], config: SourceConfig, place: str) -> None:
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
    """Return how the files spell the classes; raises CorpusError if their ClassLabels differ."""
    found, declared = Spellings(config.labels), Declared()
    for file in files:
        found.merge(file.spellings)
        for column, names in file.class_names.items():
            declared.add(column, None if names is None else tuple(names), file.name)
    return found


def _merged(contents: Contents, spread: MapFn) -> Contents:
    """Merge the tallies of all files into parts."""
    names = [file.key for file in contents.files]
    of = ranges.range_count(sum(file.tallied for file in contents.files))
    folder = f"contents-{storage.fingerprint([sorted(names), of])[:12]}"
    work = partial(
        merge.merge_range,
        files=names,
        folder=storage.join(contents.uri, FILES),
        target=storage.join(contents.uri, folder),
        of=of,
    )
    told: list[merge.Merged] = list(spread(work, range(of)))
    counts = dict(_sum(file.counts for file in contents.files))
    if sum(piece.rows for piece in told) != counts["usable"]:
        raise CorpusError(
            f"rows were lost: {counts['usable']:,} were tallied, {sum(piece.rows for piece in told):,} came out",
            "please report this; do not use the contents",
        )
    counts |= {name: sum(getattr(p, name) for p in told) for name in ("contents", "conflicts", "conflict_rows")}
    labels = dict(sorted(_sum(piece.labels for piece in told).items(), key=lambda item: (-item[1], item[0])))
    total = sum(piece.digest for piece in told) % 2**64
    return replace(
        contents,
        parts=tuple(f"{folder}/{merge.range_part('', at)}" for at in range(of)),
        counts=counts,
        reasons=dict(_sum(file.reasons for file in contents.files).most_common()),
        labels=labels,
        left_out=dict(_sum(file.left_out for file in contents.files).most_common()),
        fingerprint=storage.fingerprint(["Contents", counts["contents"], f"{total:016x}"]),
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _tidy(contents: Contents) -> None:
    """Delete what no longer counts: tallies of other files, contents of an earlier update."""
    tallies, files = storage.join(contents.uri, FILES), {file.key for file in contents.files}
    for name in storage.folders(tallies):
        if name not in files:
            storage.remove(storage.join(tallies, name))
    for name in storage.folders(contents.uri):
        if name.startswith("contents-") and not contents.parts[0].startswith(f"{name}/"):
            storage.remove(storage.join(contents.uri, name))
