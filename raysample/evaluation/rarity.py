"""What counts as rare: classes by their share of the training rows, contents by how often they were seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Counts = NDArray[np.integer[Any]]

CLASSES, CONTENTS, REPEATED = TAILS = "rare_class", "rare_content", "repeated_content"
SHARE = 0.1
"""Rare classes hold at most this share of the training rows together."""


def rare_classes(counts: Counts, share: float = SHARE) -> Mask:
    """Tell which classes are rare, [C], by the training rows of each class, [C].

    Of the classes from the smallest on, as many as hold at most `share` of all rows together, and of these the ones
    with at most half as many rows as a class has on average. Classes of one size are rare together or not at all, so
    the order of the classes decides nothing. Where classes are about equally large none is rare; a class without any
    training row always is.
    """
    total, present = int(counts.sum()), int((counts > 0).sum())
    if not total:
        return np.zeros(len(counts), np.bool_)
    sizes, place = np.unique(counts, return_inverse=True)
    held = np.cumsum(np.bincount(place, weights=counts))
    small = (held <= share * total) & (2 * sizes * present <= total)
    found: Mask = small[place] | (counts == 0)
    return found


def rare_contents(counts: Counts) -> Mask | None:
    """Tell which rows have a rare content, [N], by how often each row's content was seen, [N]: those seen once.

    None where all contents were seen once, or none was: there is no tail to tell from the head then.
    """
    once: Mask = np.asarray(counts) <= 1
    return None if once.all() or not once.any() else once
