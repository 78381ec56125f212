"""The report of a run: one self-contained HTML page on whether the selected rows train as good a model.

Its functions are loaded on first use: matplotlib comes with the extra `report`, and tables need no figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysample.core.lazy import lazy_names

if TYPE_CHECKING:
    from raysample.report.page import render_report, write_report
    from raysample.report.table_sample import TableSample, collect_table_sample

__all__ = ["TableSample", "collect_table_sample", "render_report", "write_report"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "raysample.report.page": ("render_report", "write_report"),
        "raysample.report.table_sample": ("TableSample", "collect_table_sample"),
    },
)
