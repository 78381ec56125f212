from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from raysample.evaluation import calibration_error, evaluate


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    found = evaluate(logits, labels)
    predicted = logits.argmax(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found.metrics["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found.metrics["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.metrics["nll"] == pytest.approx(log_loss(labels, probabilities))
    assert found.recall == pytest.approx(recall_score(labels, predicted, average=None))
    assert found.metrics["worst_class_recall"] == pytest.approx(min(found.recall))


def test_a_class_without_test_rows_has_no_recall_and_does_not_count() -> None:
    logits = np.eye(3)[[0, 1, 1]] * 9
    found = evaluate(logits, np.array([0, 1, 1]))
    assert math.isnan(found.recall[2])
    assert found.metrics["macro_f1"] == 1.0
    assert found.metrics["worst_class_recall"] == 1.0


def test_uniform_logits_have_the_log_loss_of_the_class_count() -> None:
    assert evaluate(np.zeros((5, 7)), np.arange(5)).metrics["nll"] == pytest.approx(math.log(7))


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # All rows sure to 0.9 and three of four right: one bin, |0.75 - 0.9|.
    assert calibration_error(np.full(4, 0.9), np.array([True, True, True, False])) == pytest.approx(0.15)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0.0
