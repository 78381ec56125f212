"""Resolve a SourceConfig: its format, its files and the columns to read."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from raysample.core import storage
from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.readers.columnar import DATASETS_FOLDER_ADVICE, HUB, Datasets, Parquet
from raysample.data.readers.csv import Separated
from raysample.data.readers.damage import check_regular_source, naming_file
from raysample.data.readers.formats import LINE_FORMATS, format_of, formats_of
from raysample.data.readers.json import JsonLines
from raysample.data.schema import Part, Reader
from raysample.data.sources.inventory import Inventory, of_datasets, of_files
from raysample.data.sources.listing import Entry, entries, is_folder

_FOLDER_MARKS = ("state.json", "dataset_dict.json", "dataset_info.json")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Source:
    """A resolved source: its config (absolute path, known format), its files in reading order and their inventory."""

    config: SourceConfig
    reader: Reader
    parts: tuple[Part, ...]
    inventory: Inventory = field(default_factory=Inventory)

    @property
    def by_file(self) -> bool:
        """Whether each part is one file; a `datasets` folder is one part."""
        return self.config.format != "datasets"


def open_source(config: SourceConfig) -> Source:
    """Find the files of a source; raises CorpusError if nothing is there to read or the format is unclear."""
    if config.path.startswith(HUB) or config.format == "hub":
        path = config.path if config.path.startswith(HUB) else HUB + config.path
        config = config.model_copy(update={"path": path, "format": "hub"})
        return Source(config, reader_of(config), (part_of(config, path),), Inventory(1, (path,)))
    path = storage.absolute(config.path)
    _check_there(config.path, path)
    found = entries(path) if is_folder(path) else [Entry(posixpath.basename(path), path, "file")]
    form = config.format if config.format != "auto" else _guessed(path, found)
    config = config.model_copy(update={"path": path, "format": form})
    if config.format == "datasets":
        with naming_file(path, DATASETS_FOLDER_ADVICE):
            inventory = of_datasets(path, config.split)
        return Source(config, reader_of(config), (part_of(config, path),), inventory)
    _refuse_split(config)
    inventory = of_files(path, form, found) if is_folder(path) else Inventory(1, (path,))
    return Source(config, reader_of(config), tuple(part_of(config, uri) for uri in inventory.read), inventory)


def _check_there(given: str, path: str) -> None:
    """Raise CorpusError if a path does not exist or is a pipe, socket or device."""
    if not storage.exists(path):
        raise CorpusError(
            f"there is nothing at {given!r}",
            "check the path (a link may lead nowhere); a name on the Hugging Face hub is written hub:NAME",
        )
    check_regular_source(path)


def reader_of(config: SourceConfig) -> Reader:
    """Return the reader for a resolved config's format."""
    match config.format:
        case "parquet":
            return Parquet(config.limits)
        case "jsonl":
            return JsonLines(config.limits)
        case "csv":
            return Separated(config.limits, config.quoting, config.delimiter, config.escape)
        case _:
            return Datasets(config.split, config.limits)


def part_of(config: SourceConfig, uri: str) -> Part:
    """Return a file of a resolved source as a Part: its name below the path, and its `key=value` folders."""
    if config.format in ("datasets", "hub"):
        return Part(uri, config.split or posixpath.basename(uri.removeprefix(HUB).rstrip("/")))
    root = config.path.rstrip("/")
    single = uri.rstrip("/") == root
    name = posixpath.basename(uri) if single else posixpath.relpath(uri, root)
    folders = [*_above(posixpath.dirname(root) if single else root), *name.split("/")[:-1]]
    return Part(uri, name, dict(_spelled(folder) for folder in folders if "=" in folder))


def _above(folder: str) -> list[str]:
    """Return the `key=value` folders directly above a folder."""
    # A source may itself be one partition of a larger data set: .../date=2024-01-02
    result: list[str] = []
    while "=" in posixpath.basename(folder):
        folder, name = posixpath.split(folder)
        result.insert(0, name)
    return result


def _spelled(folder: str) -> tuple[str, str | None]:
    """Return key and value of a `key=value` folder; None for Hive's default partition."""
    key, _, value = folder.partition("=")
    return unquote(key), None if value == _NO_VALUE else unquote(value)


def requested_columns(config: SourceConfig) -> dict[str, str]:
    """Return the columns that a source must have -> the setting that names each of them."""
    roles = config.columns.to_dict()
    levels: list[str] = roles.pop("levels")
    named = {f"columns.{role}": name for role, name in roles.items() if name is not None}
    named |= {f"columns.levels.{name}": name for name in levels}
    named |= config.labels.columns()
    named |= {f"where.{name}": name for name in config.where}
    result: dict[str, str] = {}
    for setting, name in named.items():
        result.setdefault(name, setting)
    return result


def columns_to_read(config: SourceConfig, part: Part) -> list[str]:
    """Return the columns to read from a file: the requested ones that are no partition folders."""
    return [name for name in requested_columns(config) if name not in part.constants]


def has_rows(source: Source, part: Part) -> bool:
    """Return whether a file may have rows; raises CorpusError, listing its columns, if a column is missing.

    A file of a line format without any column may still have rows: broken ones, which go to quarantine. JSON lines may
    lack columns of `labels.feedback`: users give some kinds of feedback rarely.
    """
    fields, rare = source.reader.fields(part), _rare(source.config)
    missing = [name for name in columns_to_read(source.config, part) if name not in {*fields, *rare}]
    of_lines = source.config.format in LINE_FORMATS
    if missing and (fields or not of_lines):
        raise _lacking(source.config, part, fields, missing[0])
    return bool(fields) or of_lines


def lacking(source: Source, part: Part) -> list[CorpusError]:
    """Return an error for each requested column that a file lacks; none for a file without any column."""
    fields, rare = source.reader.fields(part), _rare(source.config)
    missing = [name for name in columns_to_read(source.config, part) if name not in {*fields, *rare}]
    return [_lacking(source.config, part, fields, name) for name in missing] if fields else []


def check_rare(source: Source) -> None:
    """Raise CorpusError, listing columns, if no file of the source has a feedback column."""
    unseen, last = _rare(source.config), None
    for part in source.parts if unseen else ():
        if fields := source.reader.fields(part):
            unseen -= {*fields, *part.constants}
            last = part, fields
        if not unseen:
            return
    if unseen and last is not None:
        raise _lacking(source.config, *last, min(unseen))


def _rare(config: SourceConfig) -> set[str]:
    """Return the columns that a single JSON-lines file may lack: those that `labels.feedback` names."""
    if config.format != "jsonl":
        return set()
    return {name for name, setting in requested_columns(config).items() if setting.startswith("labels.feedback")}


def _lacking(config: SourceConfig, part: Part, fields: Sequence[str], column: str) -> CorpusError:
    """Return the error for a missing column, with the columns of the file and the setting to change."""
    present = ", ".join([*fields, *(key for key in part.constants if key not in fields)]) or "none"
    return CorpusError(
        f"{part.uri!r} has no column {column!r}; it has {present}",
        f"name the right column in the source's {_setting(config, column)} instead of {column!r}",
    )


def _setting(config: SourceConfig, column: str) -> str:
    """Return the setting that names a column."""
    found = requested_columns(config)[column]
    return "columns.levels" if found.startswith("columns.levels.") else found


def _guessed(path: str, found: Sequence[Entry]) -> str:
    """Return the format of a path from suffixes and marker files; raises CorpusError if it is ambiguous."""
    form = format_of(path)
    if form:
        return form
    if any(entry.name in _FOLDER_MARKS for entry in found):
        return "datasets"
    forms = formats_of(entry.uri for entry in found if not entry.hidden and entry.kind != "linked folder")
    if len(forms) != 1:
        what = f"holds {' and '.join(forms)} files" if forms else "is in no format known by its suffix"
        raise CorpusError(
            f"{path!r} {what}", "set the source's format to one of parquet, jsonl, csv, datasets, or give one file"
        )
    return forms[0]


def _refuse_split(config: SourceConfig) -> None:
    """Raise CorpusError if `split` is set for a format without splits."""
    if config.split is not None:
        raise CorpusError(
            f"split={config.split!r} is set, but a {config.format} source has no splits",
            f"name the split's file or folder in path, or filter by a column: where: {{split: {config.split}}}",
        )
