"""Descriptors of a row from one forward at the last checkpoint, as columns for a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from raysample.core.arrays import Float32Array, FloatArray, IntArray
from raysample.core.errors import ScoreError
from raysample.data.row_sampling import generator

MOST_CLASSES = 256
"""Up to this number each class has its own column; more classes are sketched in that many columns of random signs."""


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Cheap facts about n rows: logits [n, C], features [n, H] (the classifier's input), labels [n], tokens [n].

    `extra` holds further columns [n], such as cheaper scores that are known for all rows.
    """

    logits: Float32Array
    features: Float32Array
    labels: IntArray
    tokens: IntArray
    extra: Mapping[str, Float32Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[Any]) -> Descriptors:
        """Return some of the rows, in the given order."""
        extra = {name: values[rows] for name, values in self.extra.items()}
        return Descriptors(self.logits[rows], self.features[rows], self.labels[rows], self.tokens[rows], extra)

    @staticmethod
    def join(parts: Sequence[Descriptors]) -> Descriptors:
        """Concatenate parts with the same columns."""
        return Descriptors(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            {name: np.concatenate([part.extra[name] for part in parts]) for name in parts[0].extra},
        )

    def blocks(self) -> tuple[FloatArray, ...]:
        """Return the columns in groups of equal weight, float64 [n, ...]: answers, features, logits, extra.

        The class last.

        The class is one-hot, or its sketch for more than MOST_CLASSES classes.
        """
        codes = class_codes(self.logits.shape[1])
        extra = [np.asarray(self.extra[name], np.float64) for name in sorted(self.extra)]
        return (
            answers(self.logits, self.features, self.labels, self.tokens),
            self.features.astype(np.float64),
            self.logits.astype(np.float64) @ codes,
            np.stack(extra, 1) if extra else np.empty((len(self), 0)),
            codes[self.labels],
        )


def describe_rows(
    logits: npt.ArrayLike | torch.Tensor,
    features: npt.ArrayLike | torch.Tensor,
    labels: npt.ArrayLike | torch.Tensor,
    tokens: npt.ArrayLike | torch.Tensor,
    extra: Mapping[str, npt.ArrayLike] | None = None,
) -> Descriptors:
    """Return the descriptors of n rows, from one forward at the last checkpoint.

    Args:
        logits: [n, C].
        features: [n, H], the classifier's input (`Artifacts.features`).
        labels: [n], the gold classes.
        tokens: [n], real tokens per row.
        extra: further columns [n], signed and heavy-tailed ones too.

    Raises:
        ScoreError: the shapes do not fit each other, or a label is not among the classes.
    """
    found = Descriptors(
        _array(logits, np.float32),
        _array(features, np.float32),
        _array(labels, np.int64),
        _array(tokens, np.int64),
        {name: _array(values, np.float32) for name, values in (extra or {}).items()},
    )
    n = len(found.labels)
    shapes = {"labels": found.labels.shape, "tokens": found.tokens.shape}
    shapes |= {name: values.shape for name, values in found.extra.items()}
    fit = found.logits.ndim == found.features.ndim == 2 and len(found.logits) == len(found.features) == n
    if not fit or any(shape != (n,) for shape in shapes.values()):
        shapes |= {"logits": found.logits.shape, "features": found.features.shape}
        raise ScoreError(
            f"descriptors do not fit each other: {shapes}", "give logits [n, C], features [n, H], rest [n]"
        )
    if n and not 0 <= found.labels.min() <= found.labels.max() < found.logits.shape[1]:
        raise ScoreError(
            f"the labels lie between {found.labels.min()} and {found.labels.max()}, "
            f"and the logits know {found.logits.shape[1]} classes",
            "describe rows of the corpus that the model was fine-tuned on",
        )
    return found


def _array(values: Any, kind: Any) -> npt.NDArray[Any]:
    """Return values as a numpy array of a dtype; tensors are moved to the CPU."""
    if isinstance(values, torch.Tensor):
        values = values.detach().to(torch.float64 if values.is_floating_point() else torch.int64).cpu().numpy()
    return np.asarray(values).astype(kind)


def class_codes(classes: int) -> FloatArray:
    """Return the code of each class, [C, min(C, 256)]: one-hot, or fixed random signs divided by √256."""
    if classes <= MOST_CLASSES:
        return np.eye(classes)
    draw = generator(classes, MOST_CLASSES)
    signs: FloatArray = draw.choice([-1.0, 1.0], (classes, MOST_CLASSES)) / np.sqrt(MOST_CLASSES)
    return signs


def answers(logits: Float32Array, features: Float32Array, labels: IntArray, tokens: IntArray) -> FloatArray:
    """Return functions of the logits, [n, 10].

    Columns: z_y, margin z_y − max_{c≠y} z_c, loss −ln p_y, p_y, EL2N, entropy, log-odds of p_y, log-sum-exp of z, ln
    ‖h‖ and ln tokens. All finite for finite logits.
    """
    z = logits.astype(np.float64)
    rows = np.arange(len(z))
    gold, total = z[rows, labels], special.logsumexp(z, axis=1)
    others = z.copy()
    others[rows, labels] = -np.inf
    # With one class there is no other: a margin and log-odds of 0.
    best, rest = (others.max(1), special.logsumexp(others, axis=1)) if z.shape[1] > 1 else (gold, gold)
    p = np.exp(z - total[:, None])
    error = p.copy()
    error[rows, labels] -= 1
    columns = [
        *(gold, gold - best, total - gold, p[rows, labels], np.sqrt((error**2).sum(1)), special.entr(p).sum(1)),
        *(gold - rest, total, np.log(np.linalg.norm(features.astype(np.float64), axis=1) + 1e-12)),
        np.log(np.maximum(tokens, 1)),
    ]
    return np.stack(columns, 1)
