"""The tables of an MLflow database in one SQLite file: inspecting and creating them. Imports MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from functools import cache
from pathlib import Path

# MLflow's store is imported on use: a tracking server does not need it, and the import emits warnings.
from raysample.tracking.mlflow.settings import silence_mlflow

BUSY_SECONDS = 20.0

USER_TABLES = ("runs", "registered_models", "logged_models", "trace_info", "datasets", "evaluation_datasets")
"""Tables of user data: a file with a row in one of them is never replaced."""


class Schema(Enum):
    """Content of a SQLite file with respect to MLflow."""

    MISSING = "no file"
    WHOLE = "all tables, of this MLflow"
    HALF_MADE = "not all tables, and no run"
    OTHER = "something else: runs with the tables of another MLflow, or no MLflow at all"


def inspect_schema(file: Path) -> Schema:
    """Return the state of a file from its tables, their revision, and the existence of runs.

    Raises:
        sqlite3.Error: the file is no SQLite database, is damaged, or is locked by another process for long.
    """
    if not file.exists():
        return Schema.MISSING
    expected, newest = _wanted()
    # `rw` and not `ro`: the first reader rolls an interrupted transaction back.
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", timeout=BUSY_SECONDS, uri=True)) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        revisions = _column(database, tables, "alembic_version", "version_num")
        if expected <= tables and revisions == [newest]:
            return Schema.WHOLE
        holds = any(_column(database, tables, table, "1") for table in USER_TABLES)
        holds = holds or any(name != "Default" for name in _column(database, tables, "experiments", "name"))
        foreign = bool(tables) and not tables & {"experiments", "alembic_version"}
        return Schema.OTHER if holds or foreign else Schema.HALF_MADE


@cache
def _wanted() -> tuple[set[str], str]:
    """Return the tables and the revision of the installed MLflow."""
    with silence_mlflow():
        from mlflow.store.db import utils
        from mlflow.store.db.base_sql_model import Base

        return set(Base.metadata.tables), str(utils._get_latest_schema_revision())


def _column(database: sqlite3.Connection, tables: set[str], table: str, column: str) -> list[str]:
    """Return up to two values of a column; none if the table is missing."""
    if table not in tables:
        return []
    return [str(value) for (value,) in database.execute(f"select {column} from {table} limit 2")]  # noqa: S608 - ours


def create_schema(file: Path, artifact_root: str) -> None:
    """Create a database with all tables and MLflow's default experiment, and close it; it is not flushed to disk."""
    uri = f"sqlite:///{file}"
    with silence_mlflow():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    try:
        with silence_mlflow(), _unsynced(file):
            SqlAlchemyStore(uri, artifact_root)
    finally:
        engine = SqlAlchemyStore._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()


@contextmanager
def _unsynced(file: Path) -> Iterator[None]:
    """Let SQLite not wait for the disk after each of the sixty steps: the caller flushes the complete file once."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        """Set up a new connection."""
        if isinstance(connection, sqlite3.Connection):
            _, _, opened = connection.execute("pragma database_list").fetchone()
            if Path(opened).name == file.name:  # and not a connection that another thread makes meanwhile
                connection.execute("pragma synchronous = off")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)
