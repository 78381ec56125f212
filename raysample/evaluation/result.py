"""Results of an evaluation: metrics, recalls and intervals, to and from JSON, and as tracker metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raysample.core.manifests import checked
from raysample.evaluation.predictions import Predictions

NAN = float("nan")
Bounds = tuple[float, float]
"""The lower and the upper end of an interval."""


@dataclass(frozen=True)
class GroupRecall:
    """One group of the test: its rows, the share of them predicted correctly, and that share's interval."""

    name: str
    rows: int
    recall: float
    bounds: Bounds


@dataclass(frozen=True)
class Evaluation:
    """Test results of one model. Metrics that could not be measured are absent from `metrics`, and NaN in `recall`.

    Attributes:
        metrics: `accuracy`, `macro_f1`, `nll` (nats), `calibration_error`, `worst_class_recall`. If the test has such
            rows: `rare_class_accuracy` and `rare_class_recall`, `rare_content_accuracy` and
            `repeated_content_accuracy`, `new_text_accuracy`, `new_text_macro_f1` and
            `new_text_worst_class_recall`; if the rows have groups: `group_recall` (mean over them) and
            `worst_group_recall`. `evaluate` defines them.
        recall: per class in label order, NaN where the test has no row of the class.
        intervals: metric -> its bounds; none for the worst of several recalls, which resampling biases downwards.
        recall_bounds: per class, NaN where `recall` is; empty if no intervals were computed.
        class_rows: test rows per class.
        groups: by name; empty without groups, or with more than `evaluate` reports.
        counts: sample sizes: test `rows`, `groups`, `rare_classes`, `rare_class_rows`, `rare_content_rows`,
            `new_text_rows`.
        rare: indices of the rare classes.
        confidence: of all intervals.
        predictions: the predictions on all rows; None if not kept.
    """

    metrics: dict[str, float]
    recall: tuple[float, ...]
    intervals: dict[str, Bounds] = field(default_factory=dict)
    recall_bounds: tuple[Bounds, ...] = ()
    class_rows: tuple[int, ...] = ()
    groups: tuple[GroupRecall, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    rare: tuple[int, ...] = ()
    confidence: float = 0.95
    predictions: Predictions | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, NaN as null, without the predictions (they have a file of their own)."""
        return {
            "metrics": self.metrics,
            "recall": [_null(value) for value in self.recall],
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "recall_bounds": [_nulls(bounds) for bounds in self.recall_bounds],
            "class_rows": list(self.class_rows),
            "groups": [
                {"name": g.name, "rows": g.rows, "recall": g.recall, "bounds": _nulls(g.bounds)} for g in self.groups
            ],
            "counts": self.counts,
            "rare": list(self.rare),
            "confidence": self.confidence,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Evaluation:
        """Return an evaluation from the data of `to_dict`, without predictions."""
        return Evaluation(
            checked(dict[str, float], data["metrics"]),
            tuple(_nan(value) for value in data["recall"]),
            {name: _bounds(bounds) for name, bounds in data["intervals"].items()},
            tuple(_bounds(bounds) for bounds in data["recall_bounds"]),
            checked(tuple[int, ...], data["class_rows"]),
            tuple(
                GroupRecall(str(g["name"]), checked(int, g["rows"]), checked(float, g["recall"]), _bounds(g["bounds"]))
                for g in data["groups"]
            ),
            checked(dict[str, int], data["counts"]),
            checked(tuple[int, ...], data["rare"]),
            checked(float, data["confidence"]),
        )

    def describe(self, metric: str) -> str:
        """Return a metric as text for terminals: `0.8123 [0.791, 0.830]`, without brackets if it has no interval.

        Raises:
            KeyError: the metric was not measured.
        """
        value = f"{self.metrics[metric]:.4f}"
        low, high = self.intervals.get(metric, (NAN, NAN))
        return value if math.isnan(low) else f"{value} [{low:.3f}, {high:.3f}]"


def tracked(
    metrics: Mapping[str, float], intervals: Mapping[str, Bounds] | None = None, corpus: str = "test"
) -> dict[str, float]:
    """Return metrics on a corpus under their MLflow names: `test_acc`, `test_macro_f1` and so on.

    The ends of an interval are named `test_acc_low` and `test_acc_high`.
    """
    names = {name: f"{corpus}_acc" if name == "accuracy" else f"{corpus}_{name}" for name in metrics}
    result = {names[name]: value for name, value in metrics.items()}
    for name, (low, high) in (intervals or {}).items():
        result |= {f"{names[name]}_low": low, f"{names[name]}_high": high}
    return result


def _null(value: float) -> float | None:
    """Return a number with None for NaN."""
    return None if math.isnan(value) else value


def _nulls(bounds: Bounds) -> list[float | None]:
    """Return bounds with None for NaN."""
    return [_null(value) for value in bounds]


def _nan(value: float | None) -> float:
    """Return a number with NaN for None."""
    return NAN if value is None else float(value)


def _bounds(values: Any) -> Bounds:
    """Return bounds from JSON data."""
    low, high = values
    return _nan(low), _nan(high)
