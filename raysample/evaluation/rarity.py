"""Rare classes, by their share of the training rows, rare contents, by their number of copies, and new texts."""

from __future__ import annotations

import numpy as np

from raysample.core.arrays import AnyIntArray, Mask

RARE_CLASS, RARE_CONTENT, REPEATED_CONTENT = "rare_class", "rare_content", "repeated_content"
NEW_TEXT = "new_text"
TAILS = (RARE_CLASS, RARE_CONTENT, REPEATED_CONTENT, NEW_TEXT)
"""Masks of test rows with metrics of their own."""
RARE_SHARE = 0.1
"""Rare classes hold at most this share of the training rows together."""


def rare_classes(counts: AnyIntArray, share: float = RARE_SHARE) -> Mask:
    """Return which classes are rare, [C] bool, from the number of training rows of each class, [C].

    Rare are the smallest classes that together hold at most `share` of all rows, if they also have at most half the
    mean class size. Classes of equal size are rare together or not at all, so the order of classes does not matter. No
    class is rare if all have about the same size; a class without any training row always is.
    """
    total, present = int(counts.sum()), int((counts > 0).sum())
    if not total:
        return np.zeros(len(counts), np.bool_)
    sizes, place = np.unique(counts, return_inverse=True)
    held = np.cumsum(np.bincount(place, weights=counts))
    small = (held <= share * total) & (2 * sizes * present <= total)
    result: Mask = small[place] | (counts == 0)
    return result


def rare_contents(counts: AnyIntArray) -> Mask | None:
    """Return which rows have a rare content, [N] bool, one with a single copy, from the number of copies, [N].

    None if all contents have one copy, or none has: there is no tail then.
    """
    once: Mask = np.asarray(counts) <= 1
    return None if once.all() or not once.any() else once
