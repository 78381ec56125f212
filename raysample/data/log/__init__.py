"""Unique contents of a traffic log with their counts, merged out of core, and their scores expanded to rows."""

from raysample.data.log.compaction import Contents, compact_log
from raysample.data.log.expansion import expand_log

__all__ = ["Contents", "compact_log", "expand_log"]
