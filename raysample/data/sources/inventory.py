"""Inventory of a source: every file is counted as read, or as left out with a reason."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raysample.core import storage
from raysample.core.errors import CorpusError
from raysample.data.readers import dataset_folders
from raysample.data.readers.formats import LINE_FORMATS, SUFFIXES, format_of, of_format
from raysample.data.sources.listing import Entry, entries, is_folder

HIDDEN = "name begins with a dot or an underscore"
LINKED_FOLDER = "symlinked folder, not followed"
SPECIAL = "pipe, socket or device"
NOWHERE = "link that leads nowhere"
JSON_BESIDE_DATA = ".json beside files whose suffix tells the format"
UNKNOWN = "unknown suffix"
COMPRESSED = "compression that is not read"
UNLISTED = "not listed in state.json"
OTHER_SPLIT = "of another split"
OUTSIDE = "outside the window"
"""Why a file is left out."""

NAMED = 1_000
"""Number of file names kept per reason; all files are counted."""

_COMPRESSIONS = (".zip", ".lz4", ".snappy", ".sz", ".br", ".7z", ".rar", ".tar", ".tgz", ".lzma", ".lzo", ".z")
_COMPRESSED = (*_COMPRESSIONS, ".gz", ".gzip", ".bz2", ".zst", ".zstd", ".xz")
_INFO, _SPLITS = "dataset_info.json", "dataset_dict.json"


@dataclass(frozen=True)
class Inventory:
    """The files of a source.

    Attributes:
        found: number of files below the source's path.
        read: addresses of the files that are read, in reading order.
        left_out: name and reason of every other file.
    """

    found: int = 0
    read: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def without(self, files: Iterable[tuple[str, str]], reason: str) -> Inventory:
        """Return the inventory with some files, given as (address, name), moved from `read` to `left_out`."""
        names = dict(files)
        read = tuple(uri for uri in self.read if uri not in names)
        return Inventory(self.found, read, (*self.left_out, *((name, reason) for name in names.values())))

    def checked(self, read: int, path: str) -> dict[str, Any]:
        """Return the inventory as JSON-able data; raises CorpusError if files were lost between listing and reading.

        Args:
            read: number of files actually read. path: of the source.
        """
        if read != len(self.read) or self.found != read + len(self.left_out):
            raise CorpusError(
                f"files of {path!r} were lost: {self.found:,} were found, {read:,} were read (of {len(self.read):,} to"
                f" be read) and {len(self.left_out):,} left out",
                "please report this; do not use the corpus",
            )
        counts = {"in": self.found, "read": read, "left_out": len(self.left_out)}
        return {"files": counts, "left_out": self.reasons()}

    def reasons(self) -> dict[str, Any]:
        """Return reason -> number of `files` left out, and the first `NAMED` of their `names`."""
        names: dict[str, list[str]] = {}
        for name, reason in sorted(self.left_out):
            names.setdefault(reason, []).append(name)
        order = sorted(names, key=lambda reason: (-len(names[reason]), reason))
        return {why: {"files": len(names[why]), "names": [*map(_shown, names[why][:NAMED])]} for why in order}


def inventory_remarks(inventory: dict[str, Any], shown: int = 3) -> list[str]:
    """Return lines for the terminal about an inventory (from `checked`), one per reason."""
    lines = []
    for reason, entry in inventory.get("left_out", {}).items():
        names = ", ".join(entry["names"][:shown]) + (", ..." if entry["files"] > shown else "")
        lines.append(f"{entry['files']:,} of {inventory['files']['in']:,} files left out: {reason} ({names})")
    return lines


def of_files(path: str, form: str, listed: Sequence[Entry]) -> Inventory:
    """Return the inventory of a folder whose files are read as one format, sorted by address.

    Raises:
        CorpusError: a file to be read is a pipe, socket, device or broken link.
    """
    visible = [entry for entry in listed if not entry.hidden and entry.kind != "linked folder"]
    chosen = set(of_format([entry.uri for entry in visible], form))
    for entry in (one for one in visible if one.uri in chosen):
        if entry.kind != "file":
            raise _unreadable(entry)
        _check_name(entry)
    left_out = tuple((entry.name, _reason(entry, form)) for entry in listed if entry.uri not in chosen)
    inventory = Inventory(len(listed), tuple(entry.uri for entry in listed if entry.uri in chosen), left_out)
    if not chosen:
        why = "; ".join(inventory_remarks(inventory.checked(0, path)))
        raise CorpusError(
            f"{path!r} holds no {form} file ({', '.join(SUFFIXES[form])}){f': {why}' if why else ''}",
            "check the path, or set the source's format",
        )
    return inventory


def of_datasets(path: str, split: str | None) -> Inventory:
    """Return the inventory of a `save_to_disk` folder: its data files and metadata are read.

    Raises:
        ValueError: the folder holds a pipe or device, or a bad state file (`dataset_folders.check_dataset_folder`).
    """
    dataset_folders.check_dataset_folder(path)
    present = entries(path) if is_folder(path) else []
    names = {entry.name for entry in present}
    several = _SPLITS in names and dataset_folders.DATASET_STATE not in names
    folder = f"{split}/" if several and split else ""
    state = folder + dataset_folders.DATASET_STATE
    listed = set(_listed(storage.join(path, state))) if state in names else set[str]()
    read = {folder + name for name in listed} | {state, folder + _INFO} | ({_SPLITS} if several else set())
    left_out = tuple((entry.name, _unread(entry, folder)) for entry in present if entry.name not in read)
    return Inventory(len(present), tuple(entry.uri for entry in present if entry.name in read), left_out)


def _listed(state: str) -> list[str]:
    """Return the data files that a `state.json` lists."""
    return dataset_folders.names_in(storage.read_json(state))


def _unread(entry: Entry, folder: str) -> str:
    """Return the reason why a file of a `save_to_disk` folder is left out."""
    if entry.kind == "linked folder":
        return LINKED_FOLDER
    if folder and not entry.name.startswith(folder):
        return OTHER_SPLIT
    return UNLISTED


def _reason(entry: Entry, form: str) -> str:
    """Return the reason why a file is left out of a folder read as `form`."""
    if entry.hidden:
        return HIDDEN
    if entry.kind != "file":
        return {"linked folder": LINKED_FOLDER, "special": SPECIAL, "nowhere": NOWHERE}[entry.kind]
    other = format_of(entry.name)
    if other == form:
        return JSON_BESIDE_DATA
    if other is not None:
        return f"{other} file beside those read as {form}"
    return _of_suffix(posixpath.basename(entry.name).lower())


def _of_suffix(name: str) -> str:
    """Return the reason for a file with an unknown suffix or an unsupported compression."""
    stem = next((name.removesuffix(suffix) for suffix in _COMPRESSED if name.endswith(suffix)), None)
    if stem is not None:
        form = format_of(stem) or ""
        suffix = name.removeprefix(stem)
        return f"{COMPRESSED} ({suffix}{f' of {form}' if form and form not in LINE_FORMATS else ''})"
    suffix = posixpath.splitext(name)[1]
    return f"{UNKNOWN} ({suffix})" if suffix else f"{UNKNOWN} (none)"


def _shown(name: str) -> str:
    """Return a file's name with escapes for invalid UTF-8 and for terminal control characters."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def _check_name(entry: Entry) -> None:
    """Raise CorpusError for a file name that is not UTF-8: no JSON manifest could hold it."""
    try:
        entry.uri.encode()
    except UnicodeEncodeError:
        raise CorpusError(
            f"the name of the file {_shown(entry.name)!r} is not UTF-8, so that no manifest can hold it",
            "rename it, or leave it out of the folder",
        ) from None


def _unreadable(entry: Entry) -> CorpusError:
    """Return the error for a file to be read that is not a regular file."""
    if entry.kind == "nowhere":
        return CorpusError(
            f"{entry.uri!r} is a link that leads nowhere", "restore what it points to, or leave it out of the folder"
        )
    return CorpusError(
        f"{entry.uri!r} is a pipe, socket or device, not a file",
        "write the rows to a regular file, or leave it out of the folder",
    )
