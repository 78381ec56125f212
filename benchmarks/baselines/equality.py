"""What is told of accuracies after training: equal within noise, or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from harness.outcome import target
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from baselines.accuracy import LEAST, MARGIN, Pairs, Trial, interval


def equal(trials: Mapping[str, tuple[Trial, Pairs]]) -> dict[str, dict[str, Any]]:
    """Return what is claimed of the accuracies.

    For each set: the mean difference is within its noise (the 95 % interval has 0 in it), or below LEAST. Over all
    sets, since noise alone must not be enough: the 90 % interval lies within ±MARGIN, which is a test of equivalence at
    5 % (two one-sided tests). And the models have learnt something.
    """
    claims = {}
    for name, (trial, pairs) in trials.items():
        mean, half = interval(pairs.differences, 0.95)
        claims[f"{name}: |mean difference|"] = target(abs(mean), "<=", round(max(LEAST, half), 4))
        least = min(pairs.ours + pairs.trainer) / trial.commonest
        claims[f"{name}: lowest accuracy / share of the largest class"] = target(least, ">=", 1.5)
    mean, half = interval([one for _, pairs in trials.values() for one in pairs.differences], 0.90)
    return claims | {"all: largest difference in the 90 % interval": target(abs(mean) + half, "<=", MARGIN)}


def show(trials: Mapping[str, tuple[Trial, Pairs]], console: Console) -> None:
    """Print one line per set."""
    table = Table(title="accuracy", caption="difference: raysample - Trainer, with its 95 % interval", box=SIMPLE)
    for heading in ("set", "rows", "test", "raysample", "Trainer", "difference", "seconds", "Trainer's"):
        table.add_column(heading, justify="left" if heading == "set" else "right", no_wrap=True)
    for name, (trial, pairs) in trials.items():
        mean, half = interval(pairs.differences, 0.95)
        means = (f"{np.mean(values):.4f}" for values in (pairs.ours, pairs.trainer))
        took = (f"{seconds:.0f}" for seconds in pairs.seconds.values())
        table.add_row(name, f"{trial.train.rows:,}", f"{trial.test.rows:,}", *means, f"{mean:+.4f} ± {half:.4f}", *took)
    console.print(table)


def plain(trial: Trial, pairs: Pairs) -> dict[str, Any]:
    """Return the figures of one set as plain data."""
    mean, half = interval(pairs.differences, 0.95)
    return {
        "rows": trial.train.rows,
        "test_rows": trial.test.rows,
        "classes": len(trial.train.labels),
        "largest_class": round(trial.commonest, 4),
        "accuracy": {"raysample": pairs.ours, "trainer": pairs.trainer},
        "difference": {"mean": mean, "half_of_95_percent_interval": half if np.isfinite(half) else None},
        "seconds": {name: round(seconds, 1) for name, seconds in pairs.seconds.items()},
    }
