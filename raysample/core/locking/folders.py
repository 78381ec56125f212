"""The lock of a run's folder: one driver writes it, others wait or fail with the holder's name.

`lock.json` in the folder names the holder and carries its heartbeat. On a local or shared file system the kernel's lock
on `.lock` beside it decides: it ends with its process, and stays with a paused one. Elsewhere, as on object storage,
the file alone decides: it is created only if missing, and taken over if its heartbeat has stopped.
"""

from __future__ import annotations

import getpass
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from raysample.core import storage
from raysample.core.errors import StorageError
from raysample.core.locking.files import NO_LOCKS, try_lock, unlock
from raysample.core.locking.heartbeat import Heart
from raysample.core.locking.processes import dead, machine, me

LOCK_FILE, KERNEL_LOCK_FILE = "lock.json", ".lock"
BEAT_SECONDS = 10.0
# A holder on another machine is gone after this many missed heartbeats, or with a heartbeat this old by its clock.
STALE_BEATS, STALE_SECONDS = 6, 900.0
FOLDER_POLL_SECONDS = 1.0
NOTICE_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """The holder of a folder: user, host, process id, start and last heartbeat (seconds since 1970).

    `driver` identifies the process (`processes.me`); `token` identifies one hold of it.
    """

    user: str
    host: str
    pid: int
    driver: str
    token: str
    since: float
    beat: float

    @staticmethod
    def me() -> Holder:
        """Return this process as a holder from now on."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = str(os.getuid())
        return Holder(user, machine().partition("/")[0], os.getpid(), me(), uuid.uuid4().hex, time.time(), time.time())

    @staticmethod
    def from_json(stored: Any) -> Holder | None:
        """Return the holder in a lock file; None if it names none."""
        try:
            return Holder(
                *(str(stored["user"]), str(stored["host"]), int(stored["pid"])),
                *(str(stored["driver"]), str(stored["token"])),
                *(float(stored["since"]), float(stored["beat"])),
            )
        except (TypeError, KeyError, ValueError):
            return None

    def describe(self) -> str:
        """Describe the holder for a message."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.user} on {self.host}, process {self.pid}, since {since}"


@dataclass
class Lock:
    """A folder's lock held by this process. `gone`: earlier drivers that ended without releasing it."""

    folder: str
    holder: Holder
    gone: tuple[str, ...] = ()
    descriptor: int | None = field(default=None, repr=False)


@contextmanager
def held(folder: str, patience: float, say: Callable[[str], None] | None = None) -> Iterator[Lock]:
    """Hold a run's folder in the block.

    Args:
        folder: its URI; created if missing.
        patience: seconds to wait for another holder.
        say: receives the holder's description when waiting begins, and every minute.

    Raises:
        StorageError: another process still holds it when patience ends, or took it over because this heartbeat stopped.
    """
    lock = _taken(folder, patience, say or (lambda _: None))
    heart = Heart(lambda: _beat(lock), BEAT_SECONDS)
    try:
        heart.start()
        yield lock
    except KeyboardInterrupt:
        if heart.lost:
            raise StorageError(
                f"another driver took the run folder {folder!r} over, since this one gave no sign for too long",
                "run the same command again: what was finished is kept",
            ) from None
        raise
    finally:
        heart.stop()
        _give_back(lock, heart.lost)


def _taken(folder: str, patience: float, say: Callable[[str], None]) -> Lock:
    """Wait for the folder and return its lock; raises StorageError when patience ends."""
    began, last_notice = time.monotonic(), -NOTICE_SECONDS
    watch = HeartbeatWatch()
    while True:
        lock = _try_local(folder, watch) if storage.is_local(folder) else _try_anywhere(folder, watch)
        if lock is not None:
            return lock
        holder = lock_holder(folder)
        who = holder.describe() if holder else "another process"
        waited = time.monotonic() - began
        if waited >= patience:
            raise StorageError(
                f"the run folder {folder!r} is being written by {who}",
                "wait for it, or end it, and run the same command again; `lock_timeout` says how long to wait",
            )
        if waited - last_notice >= NOTICE_SECONDS:
            say(f"waiting for {who}: it writes {folder}")
            last_notice = waited
        time.sleep(min(FOLDER_POLL_SECONDS, max(0.05, patience - waited)))


def lock_holder(folder: str) -> Holder | None:
    """Return the holder in a folder's lock file; None if it is missing or unreadable."""
    try:
        return Holder.from_json(storage.read_json(storage.join(folder, LOCK_FILE)))
    except (StorageError, OSError, ValueError):
        return None


class HeartbeatWatch:
    """Watches heartbeats by the local clock: clocks of other machines may differ."""

    def __init__(self) -> None:
        self._seen: tuple[str, float] | None = None
        self._at = 0.0

    def stopped(self, holder: Holder) -> bool:
        """Return whether a holder is gone: dead on this machine, or without a heartbeat for too long."""
        if holder.driver.startswith(f"{machine()}:"):
            return dead(holder.driver)
        if time.time() - holder.beat > STALE_SECONDS:
            return True
        if self._seen != (holder.driver, holder.beat):
            self._seen, self._at = (holder.driver, holder.beat), time.monotonic()
        return time.monotonic() - self._at > STALE_BEATS * BEAT_SECONDS


def _try_local(folder: str, watch: HeartbeatWatch) -> Lock | None:
    """Try to take a folder by the kernel's lock; None if it is held."""
    place = Path(storage.absolute(folder))
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = try_lock(place / KERNEL_LOCK_FILE)
        return None if descriptor is None else _entered(folder, watch, descriptor)
    except FileNotFoundError:  # the holder before removed the folder, which was empty
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            return _try_anywhere(folder, watch)
        raise StorageError(
            f"cannot lock the run folder {folder!r}: {error}", "check that the place is writable and has room"
        ) from error


def _entered(folder: str, watch: HeartbeatWatch, descriptor: int) -> Lock | None:
    """Write the holder file, unless a live holder on another machine exists, whose kernel locks are invisible here."""
    try:
        before, now = lock_holder(folder), Holder.me()
        # A live holder on this machine would still hold the kernel's lock.
        elsewhere = before is not None and not before.driver.startswith(f"{machine()}:")
        if before is None or not elsewhere or watch.stopped(before):
            _write(folder, now)
            return Lock(folder, now, () if before is None else (before.driver,), descriptor)
    except BaseException:
        unlock(descriptor)
        raise
    unlock(descriptor)
    return None


def _try_anywhere(folder: str, watch: HeartbeatWatch) -> Lock | None:
    """Try to take a folder by its lock file alone; None if it is held."""
    before, now = lock_holder(folder), Holder.me()
    if before is not None:
        if not watch.stopped(before):
            return None
        storage.remove(storage.join(folder, LOCK_FILE))
    if not storage.write_new(storage.join(folder, LOCK_FILE), asdict(now)):
        return None
    # On a store without conditional writes both of two simultaneous writers succeed: the last one holds the lock.
    found = lock_holder(folder)
    if found is None or found.token != now.token:
        return None
    return Lock(folder, now, () if before is None else (before.driver,))


def _write(folder: str, holder: Holder) -> None:
    """Write the lock file."""
    storage.write_json(storage.join(folder, LOCK_FILE), asdict(holder))


def _beat(lock: Lock) -> bool:
    """Renew the heartbeat; return whether the folder is still held. A storage error does not lose the lock."""
    try:
        found = lock_holder(lock.folder)
        if found is not None and found.token != lock.holder.token:
            return False
        _write(lock.folder, replace(lock.holder, beat=time.time()))
    except (StorageError, OSError):
        pass
    return True


def _give_back(lock: Lock, lost: bool) -> None:
    """Release the lock: remove the holder file, and the folder if it was created for the lock alone."""
    with suppress(StorageError, OSError):
        if not lost:
            storage.remove(storage.join(lock.folder, LOCK_FILE))
    if lock.descriptor is not None:
        place = Path(storage.absolute(lock.folder))
        with suppress(OSError):
            (place / KERNEL_LOCK_FILE).unlink(missing_ok=True)
        unlock(lock.descriptor)
        with suppress(OSError):
            place.rmdir()
