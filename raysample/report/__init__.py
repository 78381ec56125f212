"""The report of a run: one self-contained HTML page that answers whether a sample was worth keeping."""

from __future__ import annotations

from raysample.report.looking import Looked, look
from raysample.report.page import render, write

__all__ = ["Looked", "look", "render", "write"]
