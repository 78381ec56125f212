"""A lock between the processes of a machine (and of those that share its file system): one file, one holder.

The kernel releases the lock when its holder ends, however it ends, so a lock never outlives a process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_POLL_SECONDS = 0.2

# Errors of file systems without locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_open = set[int]()
"""Descriptors of held locks. A forked child closes its copies: it must not keep a lock whose holder is dead."""


def _forget() -> None:
    """Close the copies of lock descriptors in a forked child."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_forget)


def try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if another process holds it.

    Raises:
        OSError: the file cannot be created, or the file system has no locks (`NO_LOCKS`).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last holder may have removed the file meanwhile: a lock on a removed file excludes nobody.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            _open.add(descriptor)
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def unlock(descriptor: int) -> None:
    """Release a lock."""
    if descriptor in _open:
        _open.discard(descriptor)
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None] | None = None, patience: float = 10.0) -> Iterator[bool]:
    """Hold the lock of a file in the block; wait for it, but not for ever: its holder may be paused. The file stays.

    Args:
        path: the file.
        waiting: called once if another process holds the lock.
        patience: seconds to wait.

    Yields:
        Whether the lock is held: not on a file system without locks, and not after patience ended.
    """
    descriptor, end = None, time.monotonic() + patience
    try:
        while (descriptor := try_lock(path)) is None and time.monotonic() < end:
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(LOCK_POLL_SECONDS)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            unlock(descriptor)
