"""The layout of a score table's folder: the names and places of its parts and of everything beside them.

::

    scores.json  statistics.parquet     the manifest and the merged statistics (`ScoreTable`)
    parts-<sources>/                    one folder for everything the numbers depend on beside the rows
        part-<shard>.parquet            scored rows
        quarantine-<shard>.parquet      rows without finite scores, if there are any
        _statistics/part-<shard>.parquet
        landmarks/                      the regression that landmark scores are predicted with
    references/  targets/<name>/        what scores need from elsewhere
"""

from __future__ import annotations

from raysample.core import storage
from raysample.data.corpus import Shard

PARTS_PREFIX = "parts-"


def parts_name(sources: str) -> str:
    """Return the name of the folder of parts for the fingerprint of what their numbers depend on."""
    return f"{PARTS_PREFIX}{sources[:12]}"


def part_name(shard: Shard) -> str:
    """Return the file name of a shard's part."""
    return f"part-{shard.name}.parquet"


def part_uri(folder: str, shard: Shard) -> str:
    """Return the URI of a shard's part in the folder of the parts."""
    return storage.join(folder, part_name(shard))


def quarantine_uri(folder: str, shard: Shard) -> str:
    """Return the URI of a shard's quarantine file, which exists only if the shard has bad rows."""
    return quarantine_of(part_uri(folder, shard))


def quarantine_of(part: str) -> str:
    """Return the path of the quarantined rows of a part; takes URIs and names in a table."""
    folder, _, name = part.rpartition("/")
    return storage.join(folder, name.replace("part-", "quarantine-", 1))


def statistics_uri(folder: str, shard: Shard) -> str:
    """Return the URI of the statistics of a shard's part.

    Data set readers skip folders that start with an underscore, so the statistics do not appear as rows.
    """
    return statistics_of(part_uri(folder, shard))


def statistics_of(part: str) -> str:
    """Return the path of the statistics of a part; takes URIs and names in a table."""
    folder, _, name = part.rpartition("/")
    return storage.join(folder, "_statistics", name)


def landmarks_folder(folder: str) -> str:
    """Return the folder of the landmark regression in the folder of the parts."""
    return storage.join(folder, "landmarks")


def references_folder(table: str) -> str:
    """Return the folder of the references in the folder of a table."""
    return storage.join(table, "references")


def target_folder(table: str, name: str) -> str:
    """Return the folder in which a target's Corpus is described, in the folder of a table."""
    return storage.join(table, "targets", name)
