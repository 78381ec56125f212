"""Checks before any verdict: models that learnt nothing, and arms that lost a class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from raysample.core.arrays import IntArray
from raysample.evaluation.arms import FULL, ArmCell
from raysample.evaluation.differences import difference
from raysample.evaluation.objectives import estimates
from raysample.evaluation.predictions import Predictions

LEARNT = 0.98
"""A model with a test log-loss of at least this part of the class shares' entropy has learnt nothing."""
SANITY_CONFIDENCE = 0.95
MIN_TEST_ROWS = 5
"""Smallest number of test rows of a class that is reported as lost."""


def doubts(
    runs: Mapping[ArmCell, Predictions], losses: Mapping[ArmCell, float], labels: Sequence[str]
) -> tuple[str, ...]:
    """Return sentences on what makes the verdicts of a comparison doubtful; empty if nothing does.

    * A constant predictor: a model that predicts one class for every test row.
    * No better than the majority class: neither accuracy nor mean recall lies above that of always predicting the
      test's most frequent class, by one-sided tests at 5 % over the test rows.
    * An untrained full model: the same, and its log-loss is not below that of the class shares.
    * A lost class: no run of an arm is correct on any of its rows, while the runs on all data are on some.

    Args:
        runs: predictions of the retrainings.
        losses: test log-losses of the retrainings, nats.
        labels: class names.
    """
    arms = dict.fromkeys((arm, fraction) for arm, fraction, _ in runs)
    full = [run for (arm, _, _), run in runs.items() if arm == FULL]
    sentences = list[str]()
    for arm, fraction in arms:
        ours = {cell: run for cell, run in runs.items() if cell[:2] == (arm, fraction)}
        name = "the model trained on all data" if arm == FULL else f"{arm} at {fraction:.0%}"
        loss = float(np.mean([losses.get(cell, math.nan) for cell in ours]))
        sentences += model_doubts(name, list(ours.values()), loss if arm == FULL else math.nan, labels)
        lost = [] if arm == FULL or not full else _lost(list(ours.values()), full)
        if lost:
            of = "it" if len(lost) == 1 else "them"
            sentences.append(
                f"{name} lost {_listed(lost, labels)}: right on no test row of {of}, where all data is on some"
            )
    return tuple(sentences)


def model_doubts(
    name: str, runs: Sequence[Predictions], loss: float, labels: Sequence[str], corpus: str = "test"
) -> list[str]:
    """Return sentences that say whether the models of one arm learnt nothing.

    Args:
        name: name of the models in the sentences.
        runs: their predictions.
        labels: class names.
        loss: mean log-loss, nats, of models that may be called untrained; NaN for others.
        corpus: name of the corpus that the predictions are about.
    """
    gold = runs[0].gold
    shares = np.bincount(gold) / len(gold)
    if (shares > 0).sum() < 2:
        return [f"the {corpus} has rows of one class alone ({labels[int(gold[0])]}): it cannot tell models apart"]
    constant = [run for run in runs if (run.predicted == run.predicted[0]).all()]
    majority = int(shares.argmax())
    prior = float(special.entr(shares).sum())
    remarks = list[str]()
    if constant:
        said = ", ".join(dict.fromkeys(labels[int(run.predicted[0])] for run in constant))
        often = "" if len(constant) == len(runs) else f" in {len(constant)} of {len(runs)} seeds"
        remarks.append(f"{name} is a constant predictor: it says {said} of every {corpus} row{often}")
    if _above(runs, majority):
        return remarks
    always = f"always saying {labels[majority]} (accuracy {100 * shares[majority]:.1f} %)"
    if loss >= LEARNT * prior:
        blind = f"its log-loss of {loss:.3f} is that of the class shares ({prior:.3f}) or worse"
        remarks.append(f"{name} is untrained: {blind}, and it is no better than {always}")
    else:
        accuracy = float(np.mean([(run.gold == run.predicted).mean() for run in runs]))
        remarks.append(f"{name} is no better than the majority class: accuracy {100 * accuracy:.1f} %, {always}")
    return remarks


def _above(runs: Sequence[Predictions], majority: int) -> bool:
    """Return whether the test rows show that the models are better than always predicting one class.

    Either the accuracy lies above that of the majority class, or the mean recall above 1 / number of classes, that of
    any prediction that ignores the row: a model that finds half of a class with 1 % of the rows has learnt something,
    too.
    """
    gold = runs[0].gold
    z = float(special.ndtri(SANITY_CONFIDENCE))
    constant = [Predictions(gold, np.full(len(gold), majority, np.int64))] * len(runs)
    estimate = difference(estimates("accuracy", runs), estimates("accuracy", constant))
    if float(estimate.mean) > z * math.sqrt(float(estimate.rows)):
        return True
    # Mean recall against chance: variance over rows within each class, with the floor of `objectives`.
    hits = np.mean([run.gold == run.predicted for run in runs], axis=0)
    rows = np.bincount(gold)
    present = rows > 0
    first, second = (np.bincount(gold, weights=hits**power)[present] / rows[present] for power in (1, 2))
    variance = ((second - first**2) / rows[present] + 1 / (rows[present] + 2) ** 2).sum() / present.sum() ** 2
    return bool(first.mean() - 1 / present.sum() > z * math.sqrt(variance))


def _lost(ours: Sequence[Predictions], full: Sequence[Predictions]) -> list[int]:
    """Return the classes on which no run of an arm is correct, but some run on all data is."""
    rows = np.bincount(ours[0].gold)
    right, before = (_right(runs, len(rows)) for runs in (ours, full))
    return [int(c) for c in np.flatnonzero((rows >= MIN_TEST_ROWS) & (right == 0) & (before > 0))]


def _right(runs: Sequence[Predictions], classes: int) -> IntArray:
    """Return the number of correct predictions per class over all runs, [C]."""
    hits = [np.bincount(run.gold[run.gold == run.predicted], minlength=classes) for run in runs]
    return np.asarray(np.sum(hits, axis=0))


def _listed(classes: Sequence[int], labels: Sequence[str]) -> str:
    """Return up to three class names as text."""
    names = ", ".join(labels[c] for c in classes[:3])
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    return f"{'a class' if len(classes) == 1 else f'{len(classes)} classes'} ({names}{more})"
