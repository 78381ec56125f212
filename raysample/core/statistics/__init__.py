"""Statistics of scores by class and group: counted where a part is written, merged, and read instead of the table."""

from raysample.core.statistics.cells import TOKENS, Cells
from raysample.core.statistics.distribution import RELATIVE_WIDTH, Distribution
from raysample.core.statistics.files import read_statistics, write_statistics_file
from raysample.core.statistics.summary import MAX_GROUPS, Statistics, count_part, merge_statistics, nothing

__all__ = [
    "MAX_GROUPS",
    "RELATIVE_WIDTH",
    "TOKENS",
    "Cells",
    "Distribution",
    "Statistics",
    "count_part",
    "merge_statistics",
    "nothing",
    "read_statistics",
    "write_statistics_file",
]
