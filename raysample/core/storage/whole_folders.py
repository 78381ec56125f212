"""Whole folders: copied to this machine, or written and replaced at once."""

from __future__ import annotations

import atexit
import errno
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from raysample.core.errors import StorageError
from raysample.core.storage.locations import absolute, filesystem, is_local

T = TypeVar("T")

# Errors that a retry cannot mend: a full disk, missing rights, a missing path. All others may be transient.
LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR}
WAITS = (0.2, 1.0, 5.0)


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
