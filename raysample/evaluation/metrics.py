"""Evaluation metrics from logits and gold labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysample.core.arrays import AnyIntArray, FloatArray, IntArray, Mask
from raysample.core.errors import TrainingError
from raysample.core.statistics import MAX_GROUPS
from raysample.evaluation.intervals import Intervals
from raysample.evaluation.predictions import Predictions
from raysample.evaluation.rarity import (
    NEW_TEXT,
    RARE_CLASS,
    RARE_CONTENT,
    REPEATED_CONTENT,
    rare_classes,
    rare_contents,
)
from raysample.evaluation.resampling import replicated
from raysample.evaluation.result import Evaluation, GroupRecall
from raysample.evaluation.totals import TestRows, bins, cells, measured

REPLICATES = 1_000


def evaluate(
    logits: FloatArray,
    labels: IntArray,
    groups: NDArray[np.object_] | Sequence[str | None] | None = None,
    counts: AnyIntArray | None = None,
    train_counts: AnyIntArray | Sequence[int] | None = None,
    *,
    new_texts: Mask | None = None,
    clusters: NDArray[Any] | None = None,
    replicates: int = REPLICATES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Compute all metrics from logits [N, C] and gold labels [N], with intervals from a bootstrap over the rows.

    * `accuracy`: share of the rows whose largest logit is that of their label.
    * `macro_f1`: mean over the classes that occur in the gold labels or the predictions of 2TP / (2TP + FP + FN).
    * `nll`: mean −ln p(label), nats. `calibration_error`: see `calibration_error`.
    * recall of a class: TP / (TP + FN); `worst_class_recall` is the smallest one.
    * recall of a group: share of its rows that are predicted correctly; `group_recall` is the mean over the groups,
      `worst_group_recall` the smallest one. Rows without a group are ignored.
    * `rare_class_accuracy`: accuracy over the rows of rare classes (`rare_classes`); `rare_class_recall`: mean recall
      of the rare classes that the test has rows of.
    * `rare_content_accuracy`: accuracy over the rows whose content was seen once (`rare_contents`),
      `repeated_content_accuracy` over the others.
    * `new_text_accuracy`, `new_text_macro_f1`, `new_text_worst_class_recall`: the same over the rows of `new_texts`.

    Shares and means get percentile intervals over `replicates` resamples, the calibration error `reflected`, a share of
    exactly 0 or 1 `wilson`. The worst of several recalls gets none: a resample's worst recall is lower on average.

    Args:
        logits: any real numbers whose softmax is the prediction. labels: gold classes.
        groups: group of each row [N], None for a row without one; with more than 1,000 groups none is reported.
        counts, train_counts: how often each row's content was seen [N], and training rows of each class [C].
        new_texts: whether no training row has a row's text, or nearly [N]; None if unknown.
        clusters: cluster of each row [N], for rows that are not independent: whole clusters are drawn; None draws rows.
        replicates, seed, confidence: of the bootstrap; 0 replicates compute no intervals.

    Raises:
        TrainingError: logits are not finite.
    """
    _check(logits)
    tested, names, counted = _tested(logits, labels, groups, counts, train_counts, new_texts)
    layout = cells(tested)
    point = measured(layout.totals(np.ones((len(labels), 1))), tested)
    units = None if clusters is None else pd.factorize(clusters, use_na_sentinel=False)[0].astype(np.int64)
    drawn = replicated(layout, tested, units, replicates, seed) if replicates else None
    intervals = Intervals(tested, point, drawn, units, confidence)
    return Evaluation(
        {name: float(values[0]) for name, values in point.metrics.items() if not np.isnan(values[0])},
        tuple(point.recall[:, 0].tolist()),
        intervals.of_metrics(),
        tuple(intervals.of_recall()),
        tuple(np.bincount(tested.gold, minlength=tested.classes).tolist()),
        _group_recalls(tested, names, point.group_recall[:, 0], intervals),
        counted,
        tuple(np.flatnonzero(tested.rare).tolist()),
        confidence,
        Predictions(tested.gold, tested.predicted, tested.group if tested.groups else None, units, dict(tested.masks)),
    )


def _group_recalls(
    tested: TestRows, names: Sequence[str], recalls: FloatArray, intervals: Intervals
) -> tuple[GroupRecall, ...]:
    """Return the recall of each group with its rows and interval."""
    sizes = np.bincount(tested.group[tested.group >= 0], minlength=len(names)).tolist()
    bounds = intervals.of_groups()
    return tuple(GroupRecall(*each) for each in zip(names, sizes, recalls.tolist(), bounds, strict=True))


def _check(logits: FloatArray) -> None:
    """Raise TrainingError if logits are not finite."""
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise TrainingError(
            f"the model's logits are not finite on {bad:,} of {len(logits):,} test rows",
            "lower fine_tune.learning_rate or use precision float32",
        )


def _tested(
    logits: FloatArray,
    labels: IntArray,
    groups: Any,
    counts: AnyIntArray | None,
    train_counts: Any,
    new_texts: Mask | None,
) -> tuple[TestRows, list[str], dict[str, int]]:
    """Return the test rows as the metrics need them, the groups' names, and counts of rows, groups and rare rows."""
    rows, classes = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rare = np.zeros(classes, np.bool_) if train_counts is None else rare_classes(np.asarray(train_counts))
    once = None if counts is None else rare_contents(counts)
    masks: dict[str, Mask] = {RARE_CLASS: rare[labels]} if rare[labels].any() else {}
    masks |= {} if once is None else {RARE_CONTENT: once, REPEATED_CONTENT: ~once}
    # Where all rows are new, or none is, there is nothing to tell apart; their number is told in any case.
    masks |= {NEW_TEXT: new_texts} if new_texts is not None and 0 < new_texts.sum() < rows else {}
    group, names, many = _grouped(groups, rows)
    tested = TestRows(
        classes=classes,
        gold=np.asarray(labels, np.int64),
        predicted=logits.argmax(axis=1).astype(np.int64),
        nll=-log_probs[np.arange(rows), labels],
        confidence=np.exp(log_probs.max(axis=1)),
        masks=masks,
        rare=rare,
        group=group,
        groups=len(names),
    )
    counted = {"rows": rows, "groups": many, "rare_classes": int(rare.sum())}
    counted |= {} if new_texts is None else {f"{NEW_TEXT}_rows": int(new_texts.sum())}
    return (
        tested,
        names,
        counted | {f"{name}_rows": int(masks[name].sum()) for name in (RARE_CLASS, RARE_CONTENT) if name in masks},
    )


def _grouped(groups: Any, rows: int) -> tuple[IntArray, list[str], int]:
    """Return the group index of each row (−1 for none), the groups' names, and the number of groups.

    With more than MAX_GROUPS groups no row gets an index and there are no names.
    """
    nowhere = np.full(rows, -1, np.int64)
    if groups is None:
        return nowhere, [], 0
    codes, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
    if len(names) > MAX_GROUPS:
        return nowhere, [], len(names)
    return codes.astype(np.int64), [str(name) for name in names], len(names)


def calibration_error(confidence: FloatArray, correct: Mask) -> float:
    """Return the expected calibration error.

    Σ_b |B_b|/N · |accuracy(B_b) - confidence(B_b)| over 15 equal-width bins of the confidence; range [0, 1]. It is
    biased upwards on few rows, where chance alone makes gaps in every bin.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    gaps = np.bincount(bins(confidence), weights=correct.astype(np.float64) - confidence)
    return float(np.abs(gaps).sum() / len(confidence))
