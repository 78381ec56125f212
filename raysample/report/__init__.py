"""The report of a run: one self-contained HTML page that answers whether a sample was worth keeping."""

from __future__ import annotations

from raysample.report.page import render, write
from raysample.report.table_sample import Looked, look

__all__ = ["Looked", "look", "render", "write"]
