"""Write the peak memory of sampling each table: `python -m tests.helpers.table_sample_memory TABLE …`.

The first table warms up what is made once.
"""

from __future__ import annotations

import json
import os
import sys
import tracemalloc

from raysample.data.score_table import ScoreTable
from raysample.report import collect_table_sample


def main(tables: list[str]) -> None:
    """Trace the looks at all tables but the first, with which is made what is made once, and end while still tracing.

    Python before 3.12.9 may crash where tracing stops beside Arrow's threads (gh-128679), hence a process of its own.
    """
    first, *others = [ScoreTable.load(table) for table in tables]
    collect_table_sample(first, 8)
    tracemalloc.start()
    peaks = list[int]()
    for table in others:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        collect_table_sample(table, 8, sample=1_000)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    sys.stdout.write(json.dumps(peaks))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
