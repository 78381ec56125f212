"""MLflow's database in one SQLite file, created atomically.

MLflow creates its tables in some sixty steps, in seconds. An interruption there leaves a file that no later run can
open, and two processes that create tables at once break each other. So the tables are created in a draft beside the
file, under a lock, and the complete draft is renamed. An incomplete file of another version or program is moved away.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from contextlib import suppress
from pathlib import Path

from raysample.core.errors import StorageError
from raysample.core.locking import exclusive
from raysample.tracking.mlflow import schema
from raysample.tracking.mlflow.schema import Schema

_LOG = logging.getLogger(__name__)

# Another program may be creating its tables right now: the file counts as abandoned once nothing changes for so long.
STILL_SECONDS = 5.0
# Maximum wait for the lock: a suspended driver must not block others, and two drafts do no harm.
LOCK_TIMEOUT_SECONDS = 60.0
UNLOCKED_DRAFT_SECONDS = 3600.0


def ensure(file: Path, artifact_root: str) -> None:
    """Create a database that is missing or incomplete; leave a complete one, or one with runs, unchanged.

    Args:
        file: path of the database.
        artifact_root: artifact folder of its default experiment.

    Raises:
        StorageError: the file is something else, has tables of another MLflow, or cannot be created.
    """
    if _judged(file) is Schema.WHOLE:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(f".{file.name}.lock")
        with exclusive(
            lock, lambda: _LOG.warning("waiting for another driver, which makes %s", file), LOCK_TIMEOUT_SECONDS
        ) as locked:
            _remove_drafts(file, locked)
            if _usable(file):
                return
            _make(file, artifact_root)
    except OSError as error:
        raise _cannot_make(file, error) from error


def _usable(file: Path) -> bool:
    """Return whether the file is complete; move an incomplete one away once it stops changing."""
    # Wait until an incomplete file stops changing: its creator may still be at work.
    state = _judged(file)
    while state is Schema.HALF_MADE and (left := _changed(file) + STILL_SECONDS - time.time()) > 0:
        time.sleep(min(left, STILL_SECONDS, 0.2))
        state = _judged(file)
    if state is Schema.HALF_MADE:
        _set_aside(file)
    return state is Schema.WHOLE


def _judged(file: Path) -> Schema:
    """Return the state of the file; raises StorageError if it is unreadable or has tables of another MLflow."""
    try:
        state = schema.inspect_schema(file)
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot read the MLflow database {str(file)!r}: {error}",
            "wait for the process that holds it, or move the file away or name another one (tracking.uri)",
        ) from error
    if state is Schema.OTHER:
        raise StorageError(
            f"the database {str(file)!r} is in use, and its tables are not those of the installed MLflow",
            f"keep a copy and run `mlflow db upgrade sqlite:///{file}`, or name another file (tracking.uri)",
        )
    return state


def _changed(file: Path) -> float:
    """Return when the database, or a file that SQLite keeps beside it, last changed; never later than now."""
    times = [part.stat().st_mtime for part in (file, *_beside(file)) if part.exists()]
    return min(max(times, default=0.0), time.time())


def _beside(file: Path) -> list[Path]:
    """Return the files that SQLite may keep beside a database."""
    return [file.with_name(file.name + ending) for ending in ("-journal", "-wal", "-shm")]


def _set_aside(file: Path) -> None:
    """Rename an incomplete database and the files beside it."""
    aside = f"{file.name}.half-made-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    for part in (file, *_beside(file)):
        with suppress(FileNotFoundError):
            part.rename(file.with_name(aside + part.name.removeprefix(file.name)))
    _LOG.warning("%s was half-made, without any run: it is made anew, and the old one is kept as %s", file, aside)


def _make(file: Path, artifact_root: str) -> None:
    """Create the tables in a draft and give the complete draft the file's name."""
    draft = file.with_name(f".{file.name}.draft-{uuid.uuid4().hex[:8]}")
    try:
        schema.create_schema(draft, artifact_root)
        if schema.inspect_schema(draft) is not Schema.WHOLE:
            raise StorageError(
                f"MLflow made no whole database at {str(file)!r}", "install an MLflow that raysample supports"
            )
        # Flush to disk before the rename, so that a crash cannot leave an empty file under the final name.
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        _give_name(draft, file)
    except StorageError:
        raise
    except Exception as error:  # SQLAlchemy, alembic and MLflow raise kinds of their own
        raise _cannot_make(file, error) from error
    finally:
        for part in (draft, *_beside(draft)):
            part.unlink(missing_ok=True)


def _give_name(draft: Path, file: Path) -> None:
    """Rename a draft, but never over a file that a process without the lock created in the meantime."""
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        if _judged(file) is not Schema.WHOLE:
            raise
    except OSError:  # a file system without hard links
        draft.rename(file)


def _remove_drafts(file: Path, locked: bool) -> None:
    """Remove drafts of killed processes: all if this process has the lock, else only old ones."""
    for draft in file.parent.glob(f".{file.name}.draft-*"):
        with suppress(OSError):
            if locked or time.time() - draft.stat().st_mtime > UNLOCKED_DRAFT_SECONDS:
                draft.unlink()


def _cannot_make(file: Path, error: Exception) -> StorageError:
    """Return the error for a database that cannot be created."""
    reason = str(error).partition("\n")[0]
    return StorageError(
        f"cannot make the MLflow database {str(file)!r}: {type(error).__name__}: {reason}",
        "check tracking.uri, and that the place is writable and has room, or go on without it: tracking.enabled=false",
    )
