"""The report of a run: one self-contained HTML page on whether the selected rows train as good a model.

Its functions are loaded on first use: matplotlib comes with the extra `report`, and tables need no figure.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysample.report.page import render_report, write_report
    from raysample.report.table_sample import TableSample, collect_table_sample

__all__ = ["TableSample", "collect_table_sample", "render_report", "write_report"]

_HOMES = {
    "TableSample": "raysample.report.table_sample",
    "collect_table_sample": "raysample.report.table_sample",
    "render_report": "raysample.report.page",
    "write_report": "raysample.report.page",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'raysample.report' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
