"""What logits say about labels: values from theory."""

from __future__ import annotations

import math

import torch

from raysample.core.numerics.predictions import (
    correct,
    cross_entropies,
    entropies,
    error_norms,
    gold_logits,
    gold_probabilities,
    last_layer_norms,
    log_probabilities,
    logit_margins,
    probability_margins,
)

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


def test_entropies_margins_and_last_layer_norms() -> None:
    # Row 0: uniform over 4, so H = ln 4 and no class is ahead. Row 1: p = (1/4, 3/4): H = ln 4 − ¾ ln 3, ahead by ½
    # and by ln 3 in logits. With ‖h‖² = 3 the norm is 2 ‖p − y‖.
    torch.testing.assert_close(entropies(LOGITS), torch.tensor([math.log(4), math.log(4) - 0.75 * math.log(3)]))
    torch.testing.assert_close(probability_margins(LOGITS, LABELS), torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(logit_margins(LOGITS, LABELS), torch.tensor([0.0, math.log(3)]))
    norms = last_layer_norms(LOGITS, LABELS, torch.ones(2, 3))
    torch.testing.assert_close(norms, 2 * error_norms(LOGITS, LABELS))
    torch.testing.assert_close(log_probabilities(LOGITS).exp().sum(1), torch.ones(2))


def test_margins_of_logits_that_are_not_finite_are_no_numbers() -> None:
    logits = torch.tensor([[1.0, 0.0, -math.inf], [math.nan, 0.0, 1.0], [math.inf, 0.0, 1.0]])
    for margins in (logit_margins, probability_margins):
        assert margins(logits, torch.tensor([0, 1, 0])).isnan().all()
    assert entropies(logits).isnan().all()
