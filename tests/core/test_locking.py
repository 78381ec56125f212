"""A run's folder has one writer: others wait or are told who it is; who is gone is succeeded, who is paused is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raysample.core import storage
from raysample.core.errors import StorageError
from raysample.core.locking import Holder, exclusive, folders, held
from raysample.core.locking.processes import dead, lives, machine, me, started

DRIVER = """
import os, signal, sys
from raysample.core.locking import held

with held(sys.argv[1], 0):
    if sys.argv[2:] and (child := os.fork()) == 0:
        signal.pause()
    print(child if sys.argv[2:] else 0, flush=True)
    signal.pause()
"""
"""Holds a folder until it is killed; with a further word it leaves a child that lives on."""


@contextmanager
def driver(folder: str, *more: str) -> Iterator[tuple[int, int]]:
    """Run another process that holds the folder; yield its id and that of the child that it left."""
    # Not forked: this process may hold Ray's threads.
    process = subprocess.Popen([sys.executable, "-c", DRIVER, folder, *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def stop(child: int, how: signal.Signals) -> None:
    os.kill(child, how)
    os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a run folder on a disk, and one on a store that knows no kernel's locks."""
    return str(tmp_path / "run") if request.param == "local" else f"memory://locks/{tmp_path.name}"


def sign(folder: str, **other: Any) -> Holder:
    """Leave the lock of a driver on another machine."""
    values = {"user": "ada", "host": "far", "pid": 7, "driver": "far/boot/1:7:7", "token": "t"}
    values |= {"since": time.time(), "beat": time.time()}
    storage.write_json(storage.join(folder, folders.LOCK_FILE), {**values, **other})
    holder = folders.lock_holder(folder)
    assert holder is not None
    return holder


def be_taken_over(folder: str) -> None:
    sign(folder)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.02)


def test_another_driver_is_told_who_holds_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    with driver(folder) as (child, _):
        problem = rf"written by .* on .*, process {child}, since 20.*"
        with pytest.raises(StorageError, match=problem) as caught, held(folder, 0):
            pass
        assert "lock_timeout" in caught.value.advice


def test_a_second_driver_waits_and_says_so(folder: str) -> None:
    said, order = list[str](), list[str]()
    waiting = threading.Event()

    def second() -> None:
        with held(folder, 60, lambda text: (said.append(text), waiting.set())):
            order.append("second")

    with held(folder, 0):
        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(60)
        order.append("first")
    other.join(60)
    assert order == ["first", "second"]
    assert f"process {os.getpid()}" in said[0]


def test_nothing_is_left_behind(folder: str) -> None:
    with held(folder, 0):
        assert folders.lock_holder(folder) is not None
    assert not storage.exists(storage.join(folder, folders.LOCK_FILE))
    assert not storage.exists(folder) or not storage.list_files(folder)


def test_folders_of_other_names_are_free(folder: str) -> None:
    with held(folder, 0), held(f"{folder}-b", 0), held(f"{folder}-c", 0):
        pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_driver_is_succeeded_at_once(how: signal.Signals, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    with driver(folder) as (child, _):
        word = f"{machine()}:{child}:{started(child)}"
        stop(child, how)
        with held(folder, 0) as lock:
            assert lock.gone == (word,)


def test_a_paused_driver_is_not_succeeded(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    with driver(folder) as (child, _):
        stop(child, signal.SIGSTOP)
        file = tmp_path / "run" / folders.LOCK_FILE
        file.write_text(json.dumps({**json.loads(file.read_text()), "beat": 0.0}))
        with pytest.raises(StorageError, match=f"process {child}"), held(folder, 0.2):
            pass


def test_a_child_that_outlives_a_killed_driver_holds_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    with driver(folder, "and a child") as (parent, orphan):
        stop(parent, signal.SIGKILL)
        try:
            with held(folder, 0):
                pass
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_a_driver_of_another_machine_with_a_heartbeat_is_respected(folder: str) -> None:
    sign(folder)
    with pytest.raises(StorageError, match="ada on far, process 7"), held(folder, 0):
        pass
    assert folders.lock_holder(folder) is not None


def test_one_without_a_heartbeat_for_long_is_succeeded(folder: str) -> None:
    sign(folder, beat=time.time() - folders.STALE_SECONDS - 1)
    with held(folder, 0) as lock:
        assert lock.gone == ("far/boot/1:7:7",)


def test_one_whose_heartbeat_stands_still_is_succeeded_whatever_its_clock_says(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(folder, beat=time.time() + 9e6)
    monkeypatch.setattr(folders, "BEAT_SECONDS", 0.01)
    with held(folder, 60) as lock:
        assert lock.gone == ("far/boot/1:7:7",)


def test_a_heartbeat_that_moves_keeps_the_folder(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    watch = folders.HeartbeatWatch()
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(folders.time, "monotonic", lambda: next(clock))
    assert not any(watch.stopped(sign(folder, beat=time.time() + beat)) for beat in range(5))
    last = sign(folder)
    assert [watch.stopped(last) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"user": 3}', "\x00\x00"])
def test_a_damaged_lock_holds_nobody_up(damage: str, tmp_path: Path) -> None:
    (tmp_path / folders.LOCK_FILE).write_text(damage)
    with held(str(tmp_path), 0):
        pass


def test_who_was_taken_for_dead_stops(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "BEAT_SECONDS", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(StorageError, match="took the run folder") as caught, held(folder, 0):
            be_taken_over(folder)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "run the same command again" in caught.value.advice
    holder = folders.lock_holder(folder)
    assert holder is not None
    assert holder.user == "ada", "the lock of the other is left alone"


def test_the_heartbeat_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "BEAT_SECONDS", 0.02)
    with held(str(tmp_path), 0):
        first, end = folders.lock_holder(str(tmp_path)), time.monotonic() + 60
        assert first is not None
        while time.monotonic() < end and (now := folders.lock_holder(str(tmp_path))) and now.beat == first.beat:
            time.sleep(0.01)
        assert now is not None
        assert now.beat > first.beat
        assert now.token == first.token


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="has room"), held(str(tmp_path / "file" / "run"), 0):
        pass


def test_a_file_system_without_locks_goes_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folders, "try_lock", none)
    told = pytest.raises(StorageError, match=f"process {os.getpid()}")
    with held(str(tmp_path), 0), told, held(str(tmp_path), 0):
        pass


def test_processes_are_told_apart() -> None:
    assert lives(os.getpid(), started(os.getpid()))
    assert not lives(os.getpid(), "1"), "the id was given to another process since"
    assert not dead(me())
    assert not dead("elsewhere/boot/1:1:1")
    assert not dead("nonsense")
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert dead(f"{machine()}:{child.pid}:"), "a dead process whose parent has not looked yet"
    child.wait()
    assert dead(f"{machine()}:{child.pid}:1")


def test_patience_with_a_file_ends(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock") as first, exclusive(tmp_path / "lock", patience=0) as second:
        assert (first, second) == (True, False)
    with exclusive(tmp_path / "lock", patience=0) as again:
        assert again
