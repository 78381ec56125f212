"""Names, values and addresses in MLflow's form, and texts without credentials. Pure; imports no mlflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from raysample.core import storage
from raysample.core.errors import StorageError
from raysample.core.redaction import MASK, is_masked, redacted
from raysample.core.redaction import redact as redact
from raysample.tracking import Value

PARAM_CHARACTERS = 6000
TAG_CHARACTERS = 5000
NAME_CHARACTERS = 250


def mlflow_name(name: str) -> str:
    """Return a name of at most 250 characters that MLflow allows (letters, digits, `_-. :/`)."""
    return re.sub(r"[^/\w.\- :]", "_", name).strip("/")[:NAME_CHARACTERS] or "_"


def params_of(params: Mapping[str, Value]) -> dict[str, str]:
    """Return params as strings of at most 6000 characters, without credentials."""
    return {mlflow_name(name): str(redacted(value, name))[:PARAM_CHARACTERS] for name, value in params.items()}


def tags_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags as strings of at most 5000 characters, without credentials."""
    return {mlflow_name(name): str(redacted(value, name))[:TAG_CHARACTERS] for name, value in tags.items()}


def dataset_source(uri: str) -> tuple[str, dict[str, str]]:
    """Return a data set's address in MLflow's form: (source type, source), without credentials."""
    uri = redact(uri)
    if uri.startswith("hub:"):
        return "hugging_face", {"path": uri.removeprefix("hub:")}
    if uri.startswith(("http://", "https://")):
        return "http", {"url": uri}
    return ("local" if storage.is_local(uri) else uri.partition("://")[0]), {"uri": storage.absolute(uri)}


def store_uri(uri: str) -> str:
    """Return a tracking URI with an absolute sqlite file; a plain `*.db` path becomes one.

    Raises:
        StorageError: the URI is a folder, which MLflow 3 refuses to write to; or its credentials were removed.

    """
    if is_masked(uri):
        raise StorageError(
            f"the tracking URI {uri!r} has no credentials any more: it comes from a stored configuration",
            "give the whole one: tracking.uri=..., or MLFLOW_TRACKING_URI",
        )
    if "://" not in uri and Path(uri).suffix in (".db", ".sqlite", ".sqlite3"):
        return f"sqlite:///{Path(uri).absolute()}"
    if uri.startswith("databricks"):  # not a folder but the name of a profile
        return uri
    if not uri.startswith("sqlite:") and (storage.is_local(uri) or uri.startswith("file:")):
        raise StorageError(
            f"the tracking URI {uri!r} is a folder, which MLflow 3 no longer writes to",
            "name a database file such as runs/mlflow.db, or the http(s) address of a server",
        )
    file = sqlite_file(uri)
    return uri if file is None else f"sqlite:///{file}"


SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc")


def check_uri(uri: str) -> None:
    """Raise StorageError for a tracking URI that MLflow can never use, without connecting to it."""
    scheme, _, rest = store_uri(uri).partition("://")
    if not uri.startswith("databricks") and scheme.partition("+")[0] not in SCHEMES:
        raise StorageError(
            f"MLflow knows no tracking URI like {redact(uri)!r}",
            "check tracking.uri: an http(s) address, a database file such as runs/mlflow.db, or a database's URI",
        )
    if scheme in ("http", "https") and not rest.partition("/")[0].rpartition("@")[2]:
        raise StorageError(f"the tracking URI {redact(uri)!r} names no host", "check tracking.uri: http://HOST:PORT")


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute file of an sqlite URI, None for other stores."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def how_to_open(uri: str, experiment_id: str) -> str:
    """Return the command or address that opens an experiment, without credentials."""
    if uri.startswith(("http://", "https://")):
        return f"{redact(uri).replace(f'{MASK}@', '').rstrip('/')}/#/experiments/{experiment_id}"
    return f"mlflow ui --backend-store-uri {redact(uri)}"
