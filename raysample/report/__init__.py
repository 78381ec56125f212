"""The report of a run: one self-contained HTML page that answers whether a sample was worth keeping."""

from __future__ import annotations

from raysample.report.page import render_report, write_report
from raysample.report.table_sample import TableSample, collect_table_sample

__all__ = ["TableSample", "collect_table_sample", "render_report", "write_report"]
