"""Files by URI: JSON manifests and Parquet shards, written atomically, and fingerprints of content.

A path without a scheme is local. A local file is written under a temporary name and renamed, so that a reader never
sees a partial file; on object stores one PUT is already atomic and goes to the final name.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import math
import os
import posixpath
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from raysample.core.errors import StorageError
from raysample.core.extras import install_command

T = TypeVar("T")


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


def write_file(uri: str, write: Callable[[IO[bytes]], None], *, private: bool = False) -> None:
    """Write one file atomically; `write` receives the open binary stream. `private`: readable by its owner only."""
    fs, path = filesystem(uri)
    try:
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        if not is_local(uri):
            with fs.open(path, "wb") as stream:
                write(stream)
            return
        draft = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
        try:
            with Path(draft).open("wb") as stream:
                if private:
                    os.fchmod(stream.fileno(), 0o600)
                write(stream)
                # Without fsync a crash of the machine may leave an empty file under the final name.
                stream.flush()
                os.fsync(stream.fileno())
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {uri!r}: {error}", "check that the place is writable and has room") from error


def write_json(uri: str, value: Any, *, private: bool = False) -> None:
    """Write a JSON document atomically; `private`: readable by its owner only."""
    data = (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    write_file(uri, lambda stream: _write_bytes(stream, data), private=private)


def write_new(uri: str, value: Any) -> bool:
    """Write a JSON document unless one exists; return whether it was written.

    Atomic on stores with conditional writes; elsewhere two writers at once may both succeed.
    """
    fs, path = filesystem(uri)
    data = (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except Exception:  # noqa: BLE001 - drivers without conditional writes raise errors of many types
        if fs.exists(path):
            return False
        write_json(uri, value)
    return True


def _write_bytes(stream: IO[bytes], data: bytes) -> None:
    """Write bytes into a stream."""
    stream.write(data)


def write_text(uri: str, text: str, *, private: bool = False) -> None:
    """Write a UTF-8 text atomically; `private`: readable by its owner only."""
    write_file(uri, lambda stream: _write_bytes(stream, text.encode()), private=private)


def read_json(uri: str, *, foreign: bool = False) -> Any:
    """Read a JSON document; raises StorageError if it is missing, damaged, or not a regular file.

    `foreign`: written by another program, so NaN and infinite numbers are accepted.
    """
    data = _read_bytes(uri)
    try:
        text = data.decode("utf-8")
        if foreign:
            return json.loads(text)
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_bounded)
    except UnicodeDecodeError as error:
        raise StorageError(
            f"{uri!r} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start:,}",
            "restore it, or delete it and run the step again",
        ) from error
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it nests without end"
        raise StorageError(f"{uri!r} is not valid JSON: {reason}", "delete it and run the step again") from error


def _read_bytes(uri: str) -> bytes:
    """Return the content of a regular file; reading a pipe would never end."""
    check_regular(uri)
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as stream:
            data: bytes = stream.read()
            return data
    except FileNotFoundError as error:
        raise StorageError(f"{uri!r} does not exist", "run the step that writes it first, or check the path") from error
    except (OSError, MemoryError) as error:
        raise StorageError(f"cannot read {uri!r}: {error}", "check that it is a file, and the rights") from error


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


def _no_number(word: str) -> float:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    """Parse a float; refuse one that overflows to infinity."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} has no bound")
    return value


def _bounded(text: str) -> int:
    """Parse an integer; refuse one beyond 64 bits."""
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"the number {text[:40]} is larger than any that is written")
    return int(text)


def write_parquet(uri: str, table: pa.Table) -> None:
    """Write one Parquet file (zstd) atomically."""
    write_file(uri, lambda stream: pq.write_table(table, stream, compression="zstd"))


def write_parquet_pieces(uri: str, schema: pa.Schema, pieces: Iterable[pa.Table]) -> None:
    """Write one Parquet file (zstd) atomically from tables that need not fit in memory together, one row group each."""

    def write(stream: IO[bytes]) -> None:
        with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            for piece in pieces:
                writer.write_table(piece)

    write_file(uri, write)


def read_parquet(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file; raises StorageError if it is missing or damaged, or lacks a column."""
    check_regular(uri)
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as stream:
            table = pq.read_table(stream, columns=columns)
            table.validate(full=True)
    except FileNotFoundError as error:
        raise StorageError(f"{uri!r} does not exist", "run the step that writes it first, or check the path") from error
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError) as error:
        raise StorageError(
            f"{uri!r} is not a whole Parquet file: {error}", "delete it and run the step again"
        ) from error
    missing = [name for name in columns or () if name not in table.column_names]
    if missing:
        raise StorageError(f"{uri!r} lacks the column {missing[0]!r}", "delete it and run the step again")
    return table


def remove(uri: str) -> None:
    """Delete a file or folder if it exists."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def localise(uri: str) -> str:
    """Return a local folder with the content of `uri`: itself if local, else a copy that is deleted at process exit."""
    if is_local(uri):
        return absolute(uri)
    fs, path = filesystem(uri)
    target = tempfile.mkdtemp(prefix="raysample-copy-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    fs.get(path.rstrip("/") + "/", target, recursive=True)
    return target


@contextmanager
def whole_folder(uri: str, last: str) -> Iterator[Path]:
    """Yield an empty local folder to write into; at the end it replaces the folder at `uri`.

    Locally it is renamed; on object stores its files are uploaded, with `last`, which marks it as complete, after all
    others.
    """
    fs, path = filesystem(uri)
    with tempfile.TemporaryDirectory(prefix="raysample-folder-") as scratch:
        draft = Path(scratch) / "draft"
        if is_local(uri):
            draft = Path(path).with_name(f".{Path(path).name}.tmp-{uuid.uuid4().hex[:8]}")
        try:
            patiently(lambda: draft.mkdir(parents=True, exist_ok=True))
            yield draft
            patiently(lambda: _rename(draft, Path(path)) if is_local(uri) else _put(draft, fs, path, last))
        except OSError as error:
            raise StorageError(
                f"cannot write the folder {uri!r}: {error}", "check that the place is writable and has room"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _rename(draft: Path, path: Path) -> None:
    """Replace a local folder by a draft."""
    # A reader may see no folder for a moment, but never a partial one.
    if path.exists():
        shutil.rmtree(path)
    draft.replace(path)


def _put(draft: Path, fs: Any, path: str, last: str) -> None:
    """Upload the files of a draft, `last` at the end."""
    if fs.exists(path):
        fs.rm(path, recursive=True)
    names = sorted(p.relative_to(draft).as_posix() for p in draft.rglob("*") if p.is_file())
    # `last` marks the folder as complete: an interrupted upload leaves a folder without it.
    for name in sorted(names, key=lambda name: (name == last, name)):
        fs.put_file(str(draft / name), f"{path.rstrip('/')}/{name}")


# Errors that a retry cannot mend: a full disk, missing rights, a missing path. All others may be transient.
LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR}
WAITS = (0.2, 1.0, 5.0)


def patiently(work: Callable[[], T]) -> T:
    """Run some work on storage; retry up to three times after errors that may be transient."""
    for wait in WAITS:
        try:
            return work()
        except OSError as error:
            if error.errno in LASTING:
                raise
            time.sleep(wait)
    return work()


def sha256(uri: str) -> str:
    """Return the sha256 (hex) of a file at a URI; raises StorageError if it is not a regular file."""
    check_regular(uri)
    fs, path = filesystem(uri)
    digest = hashlib.sha256()
    with fs.open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Return the sha256 (hex) of a JSON-able value in canonical form: the identity of configs and manifests."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A damaged manifest may hold a lone surrogate, which has no UTF-8 form.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a local file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
