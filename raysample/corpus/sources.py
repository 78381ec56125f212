"""Find what a SourceConfig names: its format, its files, the columns there."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from raysample import storage
from raysample.config import SourceConfig
from raysample.corpus.columnar import HUB, Datasets, Parquet
from raysample.corpus.formats import LINE_FORMATS, SUFFIXES, format_of, formats_of, of_format
from raysample.corpus.lines import Csv, JsonLines
from raysample.corpus.schema import Part, Reader
from raysample.errors import CorpusError

_FOLDER_MARKS = ("state.json", "dataset_dict.json", "dataset_info.json")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Source:
    """A found source: its config (absolute path, format settled) and its files in reading order."""

    config: SourceConfig
    reader: Reader
    parts: tuple[Part, ...]


def open_source(config: SourceConfig) -> Source:
    """Find the files of a source; raises CorpusError where there is nothing to read, or no telling how."""
    config = settled(config)
    reader = reader_of(config)
    if config.format in ("datasets", "hub"):
        return Source(config, reader, (part_of(config, config.path),))
    _refuse_split(config)
    parts = tuple(part_of(config, uri) for uri in _files(config.path, config.format))
    if not parts:
        raise CorpusError(
            f"{config.path!r} holds no {config.format} file ({', '.join(SUFFIXES[config.format])})",
            "check the path, or set the source's format",
        )
    return Source(config, reader, parts)


def settled(config: SourceConfig) -> SourceConfig:
    """Return the config with an absolute path and a definite format; raises CorpusError if there is nothing."""
    if config.path.startswith(HUB) or config.format == "hub":
        path = config.path if config.path.startswith(HUB) else HUB + config.path
        return config.model_copy(update={"path": path, "format": "hub"})
    path = storage.absolute(config.path)
    if not storage.exists(path):
        raise CorpusError(
            f"there is nothing at {config.path!r}",
            "check the path; a name on the Hugging Face hub is written hub:NAME",
        )
    form = config.format if config.format != "auto" else _guessed(path)
    return config.model_copy(update={"path": path, "format": form})


def reader_of(config: SourceConfig) -> Reader:
    """Return the reader of a settled config's format."""
    match config.format:
        case "parquet":
            return Parquet()
        case "jsonl":
            return JsonLines()
        case "csv":
            return Csv()
        case _:
            return Datasets(config.split)


def part_of(config: SourceConfig, uri: str) -> Part:
    """Return the part of a settled source that a file is: its name below the path, and what its folders spell."""
    if config.format in ("datasets", "hub"):
        return Part(uri, config.split or posixpath.basename(uri.removeprefix(HUB).rstrip("/")))
    root = config.path.rstrip("/")
    single = uri.rstrip("/") == root
    name = posixpath.basename(uri) if single else posixpath.relpath(uri, root)
    folders = [*_above(posixpath.dirname(root) if single else root), *name.split("/")[:-1]]
    return Part(uri, name, dict(_spelled(folder) for folder in folders if "=" in folder))


def _above(folder: str) -> list[str]:
    # a source may itself be one partition of a larger whole: .../date=2024-01-02
    found: list[str] = []
    while "=" in posixpath.basename(folder):
        folder, name = posixpath.split(folder)
        found.insert(0, name)
    return found


def _spelled(folder: str) -> tuple[str, str | None]:
    key, _, value = folder.partition("=")
    return unquote(key), None if value == _NO_VALUE else unquote(value)


def wanted(config: SourceConfig) -> dict[str, str]:
    """Return the columns that a source is asked for, each with the setting that names it."""
    roles = config.columns.plain()
    levels: list[str] = roles.pop("levels")
    named = {f"columns.{role}": name for role, name in roles.items() if name is not None}
    named |= {f"columns.levels.{name}": name for name in levels}
    named |= config.labels.columns()
    named |= {f"where.{name}": name for name in config.where}
    found: dict[str, str] = {}
    for setting, name in named.items():
        found.setdefault(name, setting)
    return found


def columns_of(config: SourceConfig, part: Part) -> list[str]:
    """Return the columns to read from a file: the wanted ones that its folders do not spell."""
    return [name for name in wanted(config) if name not in part.constants]


def has_rows(source: Source, part: Part) -> bool:
    """Tell whether a file may have rows; raises CorpusError, listing what is there, if a wanted column is missing.

    A file of lines without any column may still have rows: broken ones, which go to quarantine.
    Lines of JSON may leave out what users hardly ever do: the columns that `labels.feedback` names.
    """
    fields, rare = source.reader.fields(part), _rare(source.config)
    missing = [name for name in columns_of(source.config, part) if name not in {*fields, *rare}]
    if fields and missing:
        raise _lacking(source.config, part, fields, missing[0])
    return bool(fields) or source.config.format in LINE_FORMATS


def check_rare(source: Source) -> None:
    """Raise CorpusError, listing what is there, if no file has a column that a single one may lack."""
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
    if config.format != "jsonl":
        return set()
    return {name for name, setting in wanted(config).items() if setting.startswith("labels.feedback")}


def _lacking(config: SourceConfig, part: Part, fields: Sequence[str], column: str) -> CorpusError:
    there = ", ".join([*fields, *(key for key in part.constants if key not in fields)])
    return CorpusError(
        f"{part.uri!r} has no column {column!r}; it has {there}",
        f"name the right column in the source's {_setting(config, column)} instead of {column!r}",
    )


def _setting(config: SourceConfig, column: str) -> str:
    found = wanted(config)[column]
    return "columns.levels" if found.startswith("columns.levels.") else found


def _guessed(path: str) -> str:
    form = format_of(path)
    if form:
        return form
    if any(storage.exists(storage.join(path, mark)) for mark in _FOLDER_MARKS):
        return "datasets"
    forms = formats_of(storage.list_files(path))
    if len(forms) != 1:
        found = f"holds {' and '.join(forms)} files" if forms else "is in no format known by its suffix"
        raise CorpusError(
            f"{path!r} {found}", "set the source's format to one of parquet, jsonl, csv, datasets, or give one file"
        )
    return forms[0]


def _files(path: str, form: str) -> list[str]:
    files = storage.list_files(path)
    if files == [path]:
        return files
    return of_format(files, form)


def _refuse_split(config: SourceConfig) -> None:
    if config.split is not None:
        raise CorpusError(
            f"split={config.split!r} is set, but a {config.format} source has no splits",
            f"name the split's file or folder in path, or filter by a column: where: {{split: {config.split}}}",
        )
