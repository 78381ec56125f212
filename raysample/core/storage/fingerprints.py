"""Hashes of files and of JSON-able values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from raysample.core.storage.locations import check_regular, filesystem


def sha256(uri: str) -> str:
    """Return the sha256 (hex) of a file at a URI; raises StorageError if it is not a regular file."""
    check_regular(uri)
    fs, path = filesystem(uri)
    digest = hashlib.sha256()
    with fs.open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Return the sha256 (hex) of a JSON-able value in canonical form: the identity of configs and manifests."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A damaged manifest may hold a lone surrogate, which has no UTF-8 form.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a local file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
