"""A log's unique contents with their counts, kept out of core; their scores, kept from day to day."""

from raysample.data.log.compaction import Contents, compact_log
from raysample.data.log.expansion import expand_log

__all__ = ["Contents", "compact_log", "expand_log"]
