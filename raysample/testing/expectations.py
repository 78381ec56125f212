"""What a contract says where a class breaks it."""

from __future__ import annotations


def expect(kept: bool, promise: str) -> None:
    """Raise AssertionError, with the promise in words, where it is not kept."""
    if not kept:
        raise AssertionError(promise)
