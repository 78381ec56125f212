"""URIs: which file system, which path in it, and what lies there."""

from __future__ import annotations

import posixpath
import stat
from pathlib import Path
from typing import Any

import fsspec

from raysample.core.errors import StorageError
from raysample.core.extras import install_command


def filesystem(uri: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URI and the path inside it; raises StorageError for an unknown scheme."""
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        driver = install_command("s3") if uri.startswith(("s3://", "s3a://")) else "install its fsspec driver"
        raise StorageError(f"cannot open {uri!r}: {error}", f"use a local path, or {driver}") from error
    return fs, path


def is_local(uri: str) -> bool:
    """Return whether a URI is on this machine's file system."""
    return "://" not in uri or uri.startswith(("file://", "local://"))


def absolute(uri: str) -> str:
    """Return a local path as an absolute one (Ray workers have another working directory); other URIs unchanged."""
    return str(Path(uri.removeprefix("file://")).absolute()) if is_local(uri) else uri


def join(uri: str, *parts: str) -> str:
    """Join path parts to a URI."""
    return posixpath.join(uri, *parts)


def exists(uri: str) -> bool:
    """Return whether a file or folder exists; raises StorageError if the store cannot be reached."""
    fs, path = filesystem(uri)
    try:
        return bool(fs.exists(path))
    except Exception as error:
        raise StorageError(f"cannot reach {uri!r}: {error}", "check the address, the network and the rights") from error


def list_files(uri: str, suffix: str = "") -> list[str]:
    """List all files below a URI (or the file itself), sorted, without hidden and temporary ones."""
    fs, path = filesystem(uri)
    if fs.isfile(path):
        return [uri]
    found = []
    for name in fs.find(path):
        inner = posixpath.relpath(name, path.rstrip("/"))
        if name.endswith(suffix) and not any(part.startswith((".", "_")) for part in inner.split("/")):
            found.append(join(uri.rstrip("/"), inner))
    return sorted(found)


def folders(uri: str) -> list[str]:
    """List the names of the folders directly below a URI, sorted; empty if the URI does not exist."""
    fs, path = filesystem(uri)
    if not fs.isdir(path):
        return []
    found = fs.ls(path, detail=True)
    return sorted(posixpath.basename(item["name"].rstrip("/")) for item in found if item["type"] == "directory")


def remove(uri: str) -> None:
    """Delete a file or folder if it exists."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def check_regular(uri: str) -> None:
    """Raise StorageError unless a local path is a regular file (no folder, pipe or loop of links)."""
    if not is_local(uri):
        return
    try:
        mode = Path(filesystem(uri)[1]).stat().st_mode
    except FileNotFoundError as error:
        raise StorageError(f"{uri!r} does not exist", "run the step that writes it first, or check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StorageError(f"cannot read {uri!r}: {error}", "check the path and the rights") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StorageError(f"{uri!r} was expected to be a file, and is {what}", "remove it and run the step again")


def is_special_file(path: Path) -> bool:
    """Tell whether a local path is a pipe, a socket or a device: opening one may block forever; False if missing."""
    try:
        mode = path.stat().st_mode
    except OSError:  # missing, or a broken link: reported when it is opened
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
