"""A log's unique contents with their counts, kept out of core; their scores, kept from day to day."""

from raysample.data.log.compaction import Contents, compact
from raysample.data.log.expansion import expand

__all__ = ["Contents", "compact", "expand"]
