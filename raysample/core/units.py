"""Amounts as text."""

from __future__ import annotations


def format_bytes(count: float) -> str:
    """Return a number of bytes as text, in decimal units.

    >>> format_bytes(999), format_bytes(1_180_000), format_bytes(2.5e12)
    ('999 B', '1.18 MB', '2.5 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:,.3g} TB"
