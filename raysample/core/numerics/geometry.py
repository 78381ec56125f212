"""Directions and nearest neighbours of feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def unit(vectors: Tensor) -> Tensor:
    """Return vectors [N, H] scaled to length 1; a vector of zeros stays one, at cosine 0 to every other.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return functional.normalize(vectors, dim=1)


def nearest(features: Tensor, keys: Tensor, others: Tensor, other_keys: Tensor, count: int) -> Tensor:
    """Return the positions in `others` of the `count` nearest vectors by cosine, nearest first, [B, count].

    A row is not its own neighbour (equal keys are excluded). Cosines are computed in float64 and compared in float32,
    so that copies of a vector are equally near whatever the shape of the product; ties are ordered by key, so the order
    of `others` does not matter. A vector that is not finite is never a neighbour.

    Args:
        features: [B, H]. keys: [B] int64.
        others: [R, H]. other_keys: [R] int64, all different.
        count: number of neighbours, less than R.
    """
    order = other_keys.argsort()
    cosines = (unit(features.double()) @ unit(others[order].double()).T).float().nan_to_num(-torch.inf)
    cosines = cosines.masked_fill(keys[:, None] == other_keys[order], -torch.inf)
    return order[cosines.sort(dim=1, descending=True, stable=True).indices[:, :count]]
