"""ClassLabel names that `datasets` stores in the schema metadata of a Parquet file, with validation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raysample.core.errors import CorpusError
from raysample.data.readers.damage import first_line

KEY = b"huggingface"


def class_labels(metadata: Mapping[bytes, bytes] | None, uri: str) -> dict[str, tuple[str, ...]]:
    """Return column -> class names from a schema's metadata; raises CorpusError, naming the file, if it is damaged.

    Damaged metadata is an error, not ignored: the meaning of the integer labels would be a guess.
    """
    raw = (metadata or {}).get(KEY)
    if raw is None:
        return {}
    try:
        return _names(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"the `huggingface` metadata of {uri!r} is damaged: {first_line(error)}",
            "write the file again with datasets, or without the metadata (table.replace_schema_metadata(None))",
        ) from error


def _names(found: Any) -> dict[str, tuple[str, ...]]:
    """Return column -> class names from the parsed metadata; raises ValueError for another structure."""
    features: Any = found
    for key in ("info", "features"):
        if not isinstance(features, dict):
            raise ValueError(f"what should hold {key!r} is a {type(features).__name__}, not a mapping")
        features = features.get(key)
        if features is None:
            return {}
    if not isinstance(features, dict):
        raise ValueError(f"features is a {type(features).__name__}, not a mapping")
    return {
        column: _checked(column, feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def _checked(column: str, names: Any) -> tuple[str, ...]:
    """Return the class names of a column; raises ValueError if they are not distinct strings."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the ClassLabel names of {column!r} are no list of strings")
    if len(set(names)) != len(names):
        raise ValueError(f"the ClassLabel names of {column!r} hold a name twice")
    return tuple(names)
