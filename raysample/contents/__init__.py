"""A log's unique contents with their counts, kept out of core; their scores, kept from day to day."""

from raysample.contents.applying import apply_to_contents
from raysample.contents.compaction import Contents, compact
from raysample.contents.expanding import expand

__all__ = ["Contents", "apply_to_contents", "compact", "expand"]
