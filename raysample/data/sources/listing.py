"""List what lies below a source's path, by kind: no file is opened, no link to a folder is followed."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from raysample.core import storage
from raysample.data.readers.damage import naming_file

FileKind = Literal["file", "linked folder", "special", "nowhere"]
"""A regular file (or a link to one); a link to a folder; a pipe, socket or device; a broken link."""


@dataclass(frozen=True)
class Entry:
    """One entry below a source's path: its name relative to it, its address, and its kind."""

    name: str
    uri: str
    kind: FileKind

    @property
    def hidden(self) -> bool:
        """Whether the name, or a folder in it, begins with a dot or an underscore."""
        return any(part.startswith((".", "_")) for part in self.name.split("/"))


def entries(uri: str) -> list[Entry]:
    """List everything below a folder except folders, sorted by name; raises CorpusError if it cannot be listed."""
    root = uri.rstrip("/")
    with naming_file(uri, "give this user the right to read it, or leave the folder out"):
        listed = _local(root) if storage.is_local(uri) else _remote(uri)
        return sorted((Entry(name, storage.join(root, name), kind) for name, kind in listed), key=lambda one: one.uri)


def is_folder(uri: str) -> bool:
    """Return whether a URI names a folder or a link to one."""
    fs, path = storage.filesystem(uri)
    return bool(fs.isdir(path))


def _remote(uri: str) -> Iterator[tuple[str, FileKind]]:
    """Yield the names below a folder of an object store, all of kind `file`."""
    fs, path = storage.filesystem(uri)
    for name in fs.find(path):
        yield posixpath.relpath(name, path.rstrip("/")), "file"


def _local(root: str, below: str = "") -> Iterator[tuple[str, FileKind]]:
    """Yield the names below a local folder with their kinds, depth first."""
    with os.scandir(posixpath.join(root, below)) as found:
        for entry in found:
            name = posixpath.join(below, entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield from _local(root, name)
            else:
                yield name, _kind(entry)


def _kind(entry: os.DirEntry[str]) -> FileKind:
    """Return the kind of a directory entry that is not a folder."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # a broken link, or one that points to itself
        return "nowhere"
    if stat.S_ISDIR(mode):
        return "linked folder"
    return "file" if stat.S_ISREG(mode) else "special"
