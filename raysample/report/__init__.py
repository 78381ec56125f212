"""The report of a run: one self-contained HTML page that answers whether a sample was worth keeping."""

from __future__ import annotations

from raysample.report.examples import example_rows
from raysample.report.page import render, write

__all__ = ["example_rows", "render", "write"]
