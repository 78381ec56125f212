"""MLflow's database is made whole or not at all, whatever stopped the one that made it before."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from raysample.core.errors import StorageError
from raysample.tracking.mlflow import database, schema
from raysample.tracking.mlflow import tracker as tracking
from raysample.tracking.mlflow.schema import Schema, inspect_schema

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mlflow.db"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> list[Path]:
    """Make databases by copying one: the tables take seconds. The drafts are written down."""
    drafts: list[Path] = []

    def make(draft: Path, artifact_root: str) -> None:
        drafts.append(draft)
        shutil.copy(empty_store, draft)
        with closing(sqlite3.connect(draft)) as store, store:
            store.execute("delete from experiments where name <> 'Default'")

    monkeypatch.setattr(schema, "create_schema", make)
    return drafts


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as store, store:
        for statement in statements:
            store.execute(statement)


def empty(file: Path, store: Path) -> None:
    file.touch()


def first_tables(file: Path, store: Path) -> None:
    change(file, "create table experiments (experiment_id integer, name text)", "create table runs (run_uuid text)")


def halfway(file: Path, store: Path) -> None:
    shutil.copy(store, file)
    change(file, "delete from experiments where name <> 'Default'", "update alembic_version set version_num = 'old'")


def without_revision(file: Path, store: Path) -> None:
    halfway(file, store)
    change(file, "delete from alembic_version")


def cut_off(file: Path, store: Path) -> None:
    """Leave what a killed process leaves: a transaction half written, and its journal."""
    first_tables(file, store)
    script = """if True:
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("pragma cache_size = 1")
        connection.execute("begin")
        connection.execute("create table metrics (value text)")
        connection.executemany("insert into metrics values (?)", [("v" * 900,)] * 500)
        os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", script, str(file)]).returncode == 9
    assert file.with_name("mlflow.db-journal").exists()


def old(file: Path) -> None:
    """Say that the file, and what lies beside it, was last changed long ago."""
    for part in file.parent.glob(f"{file.name}*"):
        os.utime(part, (1e9, 1e9))


@pytest.mark.parametrize("leave", [empty, first_tables, halfway, without_revision, cut_off])
def test_a_half_made_database_is_kept_under_another_name_and_made_anew(
    leave: Callable[[Path, Path], None],
    file: Path,
    empty_store: Path,
    made: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave(file, empty_store)
    old(file)
    monkeypatch.setattr(database, "STILL_SECONDS", 0.01)  # rolling a transaction back changes the file
    database.ensure(file, str(tmp_path))
    assert inspect_schema(file) is Schema.WHOLE
    assert len(made) == 1
    assert len([one for one in tmp_path.glob("mlflow.db.half-made-*") if "journal" not in one.name]) == 1
    assert not list(tmp_path.glob("*.draft-*"))
    assert not file.with_name("mlflow.db-journal").exists()


def test_one_that_another_program_is_making_is_waited_for(
    file: Path, empty_store: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first_tables(file, empty_store)
    monkeypatch.setattr(database.time, "sleep", lambda _: shutil.copy(empty_store, file))
    database.ensure(file, str(tmp_path))
    assert made == []
    assert inspect_schema(file) is Schema.WHOLE


RUN = "insert into runs (run_uuid, experiment_id) values ('r', 0)"
MODEL = "insert into registered_models (name, workspace) values ('m', 'default')"
STUDY = "insert into experiments (experiment_id, name, workspace) values (7, 'study', 'default')"


@pytest.mark.parametrize("holds", [RUN, MODEL, STUDY])
def test_what_people_put_into_a_database_is_never_touched(
    holds: str, file: Path, empty_store: Path, made: list[Path], tmp_path: Path
) -> None:
    halfway(file, empty_store)
    change(file, holds)
    old(file)
    before = file.read_bytes()
    with pytest.raises(StorageError, match=r"run `mlflow db upgrade sqlite:///.*mlflow\.db`"):
        database.ensure(file, str(tmp_path))
    assert file.read_bytes() == before
    assert made == []


def text(file: Path) -> None:
    file.write_text("this is a letter, and no database at all\n" * 99)


def other_program(file: Path) -> None:
    change(file, "create table orders (id integer)", "insert into orders values (1)")


def damaged(file: Path) -> None:
    change(file, "create table runs (run_uuid text)", f"insert into runs values ('{'r' * 90_000}')")
    file.write_bytes(file.read_bytes()[:5_000])


@pytest.mark.parametrize("leave", [text, other_program, damaged])
def test_a_file_that_is_something_else_is_refused_by_name(
    leave: Callable[[Path], None], file: Path, made: list[Path], tmp_path: Path
) -> None:
    leave(file)
    before = file.read_bytes()
    with pytest.raises(StorageError, match=r"mlflow\.db'.*\n  -> .*another (one|file) \(tracking\.uri\)"):
        database.ensure(file, str(tmp_path))
    assert file.read_bytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), OSError(28, "No space left on device")])
def test_what_stops_the_making_leaves_nothing(
    error: BaseException, file: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    working = schema.create_schema

    def stopped(draft: Path, artifact_root: str) -> None:
        first_tables(draft, draft)
        raise error

    monkeypatch.setattr(schema, "create_schema", stopped)
    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)) as caught:
        database.ensure(file, str(tmp_path))
    assert isinstance(error, KeyboardInterrupt | SystemExit) or "has room" in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == [".mlflow.db.lock"]
    monkeypatch.setattr(schema, "create_schema", working)
    database.ensure(file, str(tmp_path))
    assert inspect_schema(file) is Schema.WHOLE


def test_drafts_of_killed_drivers_are_removed_by_the_next_one(file: Path, made: list[Path], tmp_path: Path) -> None:
    for name in (".mlflow.db.draft-0a1b2c3d", ".mlflow.db.draft-0a1b2c3d-journal", ".mlflow.db.draft-99887766"):
        (tmp_path / name).write_bytes(b"SQLite format 3")
    (tmp_path / ".other.db.draft-0a1b2c3d").touch()
    database.ensure(file, str(tmp_path))
    assert inspect_schema(file) is Schema.WHOLE
    assert [one.name for one in tmp_path.glob(".*.draft-*")] == [".other.db.draft-0a1b2c3d"]


def test_several_first_drivers_make_one_database(
    file: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside, go, make = threading.Event(), threading.Event(), schema.create_schema

    def slow(draft: Path, artifact_root: str) -> None:
        inside.set()
        assert go.wait(60)
        make(draft, artifact_root)

    monkeypatch.setattr(schema, "create_schema", slow)
    drivers = [threading.Thread(target=database.ensure, args=(file, str(tmp_path))) for _ in range(3)]
    for driver in drivers:
        driver.start()
    assert inside.wait(60)
    end = time.monotonic() + 60
    while caplog.text.count("waiting for another driver") < 2 and time.monotonic() < end:
        time.sleep(0.01)
    go.set()
    for driver in drivers:
        driver.join(60)
    assert len(made) == 1
    assert inspect_schema(file) is Schema.WHOLE


def test_a_paused_driver_holds_nobody_up(
    file: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_SECONDS", 0.0)
    with database.exclusive(tmp_path / ".mlflow.db.lock") as locked:
        assert locked
        database.ensure(file, str(tmp_path))
    assert inspect_schema(file) is Schema.WHOLE


def test_the_steps_of_the_making_do_not_wait_for_the_disk_and_runs_do(file: Path, tmp_path: Path) -> None:
    waits: dict[str, set[int]] = {"draft": set(), "database": set()}

    def look(connection: sqlite3.Connection, _record: object) -> None:
        _, _, path = connection.execute("pragma database_list").fetchone()
        kind = "database" if path == str(file) else "draft"
        waits[kind].update(connection.execute("pragma synchronous").fetchone())

    event.listen(Engine, "checkin", look)
    try:
        tracking.open(str(file), "study")
    finally:
        event.remove(Engine, "checkin", look)
    assert waits == {"draft": {0}, "database": {2}}
