"""How good a fine-tuned classifier is on a test corpus: accuracy, macro-F1, per-class recall, log-loss, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Evaluation:
    """Test results of one model.

    `metrics` holds `accuracy`, `macro_f1`, `nll` (nats), `calibration_error` and `worst_class_recall`; `recall` is per
    class in label order, NaN where the test has no row of the class.
    """

    metrics: dict[str, float]
    recall: tuple[float, ...]


def evaluate(logits: FloatArray, labels: IntArray) -> Evaluation:
    """Compute all metrics from logits [N, C] and gold labels [N].

    Macro-F1 is the mean over the classes that occur in the gold labels or the predictions of 2TP / (2TP + FP + FN).
    """
    classes = logits.shape[1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    predicted = logits.argmax(axis=1)
    hits = np.bincount(labels[predicted == labels], minlength=classes).astype(np.float64)
    gold = np.bincount(labels, minlength=classes)
    guessed = np.bincount(predicted, minlength=classes)
    recall = np.divide(hits, gold, out=np.full(classes, np.nan), where=gold > 0)
    seen = (gold + guessed) > 0
    metrics = {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float((2 * hits[seen] / (gold + guessed)[seen]).mean()),
        "nll": float(-log_probs[np.arange(len(labels)), labels].mean()),
        "calibration_error": calibration_error(np.exp(log_probs.max(axis=1)), predicted == labels),
        "worst_class_recall": float(np.nanmin(recall)),
    }
    return Evaluation(metrics, tuple(float(value) for value in recall))


def tracked(metrics: dict[str, float]) -> dict[str, float]:
    """Return evaluation metrics under the names that they have in MLflow: `test_acc`, `test_macro_f1` and so on."""
    return {("test_acc" if name == "accuracy" else f"test_{name}"): value for name, value in metrics.items()}


def calibration_error(confidence: FloatArray, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error.

    Σ_b |B_b|/N · |accuracy(B_b) - confidence(B_b)| over equal-width bins of the confidence; range [0, 1].

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    where = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(where, weights=correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
