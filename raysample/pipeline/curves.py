"""The curve of a fine-tuning, told to the tracker."""

from __future__ import annotations

from raysample import storage
from raysample.tracking import Tracker
from raysample.training import Curve

# A tracker takes about ten milliseconds for each.
POINTS = 100


def tell_curve(run: Tracker, uri: str) -> None:
    """Tell the mean loss and the learning rate of up to 100 stretches of a run."""
    for step, loss, rate in Curve.of(storage.read_parquet(uri)).means(POINTS):
        run.metrics({"train_loss": loss, "learning_rate": rate}, step=step)
