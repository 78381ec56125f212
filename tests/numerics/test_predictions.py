"""What logits say about labels: values from theory."""

from __future__ import annotations

import math

import torch

from raysample.numerics.predictions import correct, cross_entropies, error_norms, gold_logits, gold_probabilities

LOGITS = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3.0), -200.0, -200.0]])
LABELS = torch.tensor([2, 1])


def test_values_of_uniform_and_of_three_to_one_logits() -> None:
    # Row 1: p = (1/4, 3/4, 0, 0), so p_y = 3/4 and ‖p − y‖ = √(1/16 + 1/16).
    torch.testing.assert_close(gold_probabilities(LOGITS, LABELS), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(cross_entropies(LOGITS, LABELS), torch.tensor([math.log(4), -math.log(0.75)]))
    torch.testing.assert_close(error_norms(LOGITS, LABELS), torch.tensor([math.sqrt(3) / 2, math.sqrt(2) / 4]))
    torch.testing.assert_close(gold_logits(LOGITS, LABELS), torch.tensor([0.0, math.log(3.0)]))


def test_loss_stays_finite_where_the_probability_underflows() -> None:
    logits = torch.tensor([[300.0, 0.0]])
    assert float(gold_probabilities(logits, torch.tensor([1]))) == 0.0
    assert float(cross_entropies(logits, torch.tensor([1]))) == 300.0


def test_correct_takes_the_first_of_equal_logits_and_refuses_nan() -> None:
    logits = torch.tensor([[1.0, 1.0], [1.0, 1.0], [math.nan, 1.0], [math.inf, 1.0]])
    found = correct(logits, torch.tensor([0, 1, 1, 0]))
    assert found[:2].tolist() == [1.0, 0.0]
    assert found[2:].isnan().all()


def test_half_precision_is_widened_before_the_softmax() -> None:
    found = gold_probabilities(LOGITS.bfloat16(), LABELS)
    assert found.dtype == torch.float32
    assert gold_probabilities(LOGITS.double(), LABELS).dtype == torch.float64
