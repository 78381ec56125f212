"""Selections as artifacts of a tracked run: the files that `apply` needs, which hold ids and no texts."""

from __future__ import annotations

from raysample.core import storage
from raysample.selection import Selection
from raysample.selection.result import KEPT, KEPT_FOLDER, SELECTION_MANIFEST
from raysample.tracking import Tracker

STORED_ROWS = 5_000_000
"""Maximum number of kept row ids that are stored with a tracked run: about 100 MB."""


def store_selection(run: Tracker, selection: Selection) -> None:
    """Store the files that `apply` needs with the run; above STORED_ROWS kept rows only the manifest."""
    name = selection.uri.rstrip("/").rpartition("/")[2]
    run.artifact(storage.join(selection.uri, SELECTION_MANIFEST), f"selections/{name}")
    if selection.counts[KEPT] <= STORED_ROWS and storage.is_local(selection.uri):
        run.artifact(storage.join(selection.uri, KEPT_FOLDER), f"selections/{name}")
