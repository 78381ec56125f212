"""The tables of an MLflow database in one SQLite file: what is there, and making them. An importer of MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from enum import Enum
from functools import cache
from pathlib import Path

# MLflow's store is imported where it is used: for a server nobody needs it, and it warns when it is imported.
from raysample.tracking.mlflow.settings import silence_mlflow

BUSY_SECONDS = 20.0

KEPT = ("runs", "registered_models", "logged_models", "trace_info", "datasets", "evaluation_datasets")
"""Tables of what people put into MLflow; a row in one of them, and the file is not ours to replace."""


class Schema(Enum):
    """What a SQLite file holds of MLflow."""

    MISSING = "no file"
    WHOLE = "all tables, of this MLflow"
    HALF_MADE = "not all tables, and no run"
    OTHER = "something else: runs with the tables of another MLflow, or no MLflow at all"


def inspect_schema(file: Path) -> Schema:
    """Tell what a file holds, by its tables, their revision, and whether there are runs.

    Raises:
        sqlite3.Error: it is no SQLite database, it is damaged, or another process holds it for long.
    """
    if not file.exists():
        return Schema.MISSING
    expected, newest = _wanted()
    # `rw`: a transaction that was cut off is rolled back by the first who reads.
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", timeout=BUSY_SECONDS, uri=True)) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        revisions = _column(database, tables, "alembic_version", "version_num")
        if expected <= tables and revisions == [newest]:
            return Schema.WHOLE
        holds = any(_column(database, tables, table, "1") for table in KEPT)
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
    if table not in tables:
        return []
    return [str(value) for (value,) in database.execute(f"select {column} from {table} limit 2")]  # noqa: S608 - ours


def create_schema(file: Path, artifact_root: str) -> None:
    """Make a new database with all tables and MLflow's default experiment, and let go of it."""
    uri = f"sqlite:///{file}"
    with silence_mlflow():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    try:
        with silence_mlflow():
            SqlAlchemyStore(uri, artifact_root)
    finally:
        engine = SqlAlchemyStore._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()
