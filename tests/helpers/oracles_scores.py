"""Slow twins of every score's fold: numpy in float64, one example at a time, everything stored, no state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.helpers import oracles

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """All that was seen of one example at K checkpoints, and what stands beside it.

    logits [K, C], features [K, H], norms [K], grads [K, T, D] at its real tokens, dots [K, M], rates [K],
    null [K, C]; of a sample of other rows at each checkpoint: others [K, R, H], their labels and keys [R],
    centres [K, k, H], medians [K, C, H].
    """

    label: int
    key: int
    logits: Floats
    features: Floats
    norms: Floats
    grads: Floats
    dots: Floats
    rates: Floats
    null: Floats
    others: Floats
    other_labels: NDArray[np.int64]
    other_keys: NDArray[np.int64]
    centres: Floats
    medians: Floats

    @property
    def p(self) -> Floats:
        return np.asarray(oracles.softmax(self.logits))

    @property
    def gold(self) -> Floats:
        return np.asarray(self.p[:, self.label])

    @property
    def right(self) -> list[int]:
        return [int(int(z.argmax()) == self.label) for z in self.logits]


def norm(values: Any) -> float:
    return math.sqrt(sum(float(v) ** 2 for v in values))


def cosine(a: Floats, b: Floats) -> float:
    return float(a @ b) / (norm(a) * norm(b))


def el2n(p: Floats, label: int) -> float:
    return norm([q - (c == label) for c, q in enumerate(p)])


def ahead(values: Floats, label: int) -> float:
    return float(values[label] - max(v for c, v in enumerate(values) if c != label))


def windows(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    size = min(size, len(values))
    return [values[start : start + size] for start in range(len(values) - size + 1)]


def last_layer(e: Example, k: int) -> float:
    """Form the gradient of the last layer, weight and bias, and measure it."""
    error = e.p[k] - np.eye(len(e.p[k]))[e.label]
    return norm([*np.outer(error, e.features[k]).ravel(), *error])


def tdds(p: Floats, window: int) -> float:
    found = []
    for some in windows(list(p), window):
        changes = [sum(abs(b[c] * (math.log(b[c]) - math.log(a[c]))) for c in range(len(a))) for a, b in pairwise(some)]
        found.append(norm([change - sum(changes) / len(changes) for change in changes]))
    return sum(0.9 * 0.1 ** (len(found) - 1 - w) * r for w, r in enumerate(found))


def disagreement(e: Example, k: int, count: int) -> float:
    near = sorted(
        (-cosine(e.features[k], other), int(key), int(label))
        for other, key, label in zip(e.others[k], e.other_keys, e.other_labels, strict=True)
        if key != e.key
    )
    return sum(label != e.label for _, _, label in near[:count]) / count


def mean(values: Any) -> float:
    values = list(values)
    return float(sum(values) / len(values))


def over_checkpoints(one: Callable[[Example, int], float]) -> Callable[[Example], float]:
    return lambda e: mean(one(e, k) for k in range(len(e.logits)))


SCORES: dict[str, Callable[[Example], float]] = {
    "vog": lambda e: float(np.var(e.grads, axis=0).mean()),
    "grand": lambda e: mean(e.norms),
    "grand_last": over_checkpoints(last_layer),
    "tracin_self": lambda e: sum(rate * length**2 for rate, length in zip(e.rates, e.norms, strict=True)),
    "tracin_target": lambda e: mean(sum(e.rates[k] * e.dots[k, m] for k in range(len(e.rates))) for m in (0, 1)),
    "influence": lambda e: mean(e.dots.ravel()),
    "el2n": over_checkpoints(lambda e, k: el2n(e.p[k], e.label)),
    "loss": lambda e: mean(-math.log(p) for p in e.gold),
    "entropy": lambda e: mean(-sum(q * math.log(q) for q in p) for p in e.p),
    "margin": over_checkpoints(lambda e, k: ahead(e.p[k], e.label)),
    "confidence": lambda e: mean(e.gold),
    "variability": lambda e: math.sqrt(mean((e.gold - mean(e.gold)) ** 2)),
    "correctness": lambda e: float(sum(e.right)),
    "forgetting": lambda e: float(oracles.forgetting([[hit] for hit in e.right])[0]),
    "aum": over_checkpoints(lambda e, k: ahead(e.logits[k], e.label)),
    "pvi": over_checkpoints(lambda e, k: math.log2(e.gold[k]) - e.null[k, e.label] / math.log(2)),
    "dyn_unc": lambda e: mean(float(np.std(w, ddof=1)) for w in windows(e.gold, 5)),
    "tdds": lambda e: tdds(e.p, 5),
    "dual": lambda e: mean(float(np.std(w, ddof=1)) * (1 - mean(w)) for w in windows(e.gold, 5)),
    "prototype": over_checkpoints(lambda e, k: min(1 - cosine(e.features[k], c) for c in e.centres[k])),
    "moderate": over_checkpoints(lambda e, k: norm(e.features[k] - e.medians[k, e.label])),
    "knn_label_disagreement": over_checkpoints(lambda e, k: disagreement(e, k, 10)),
}
"""Each score at its default options, over the checkpoints of its window, for one example."""
