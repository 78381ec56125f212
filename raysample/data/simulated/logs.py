"""What a log has in place of annotation: a simulated production model's hypothesis, its confidence, what users did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.arrays import FloatArray

LOG_NOTE = (
    "The training days are logs: nobody annotated them. `hypothesis` is what a simulated production model said, right "
    "with the probability in `confidence`; `outcome` is what the simulated user did then, and `correction` the intent "
    "that was meant where the user said it again."
)
# User behaviour after a right and after a wrong answer; the remaining probability leaves no trace in the log.
AFTER_RIGHT = {"completed": 0.45, "thumbs_up": 0.05, "abandoned": 0.05}
AFTER_WRONG = {"completed": 0.05, "rephrased": 0.35, "abandoned": 0.30}


def doubt(wrong: float, sure: Any, rng: np.random.Generator) -> FloatArray:
    """Return the production model's chance of being wrong about each row, [rows], 0 where it is `sure` to be right.

    For the others w (k + 1) u^k with uniform u, whose mean is w, the share of wrong labels; k = 4 for w up to 0.2, less
    above, so that no chance exceeds 1. The model is wrong with just this chance: its confidence is calibrated.
    """
    power = min(4.0, 1 / wrong - 1) if wrong else 0.0
    return np.where(sure, 0.0, wrong * (power + 1) * rng.random(len(sure)) ** power)


def log_columns(
    meant: pa.StringArray, right: Any, confidence: FloatArray, sure: Any, rng: np.random.Generator
) -> dict[str, pa.Array]:
    """Return the columns of a log other than the hypothesis.

    Args:
        meant: the true intents.
        right: [rows] whether the hypothesis equals the true intent.
        confidence: [rows] of the production model.
        sure: [rows] whether users always complete, so that the label stands.
        rng: random generator.
    """
    dice = rng.random(len(meant))
    outcome = np.where(right, _drawn(AFTER_RIGHT, dice), _drawn(AFTER_WRONG, dice))
    outcome[sure] = "completed"
    again = pa.array(outcome == "rephrased")
    return {
        "confidence": pa.array(confidence.astype(np.float32)),
        "outcome": pa.array(outcome, pa.string()),
        "correction": pc.if_else(again, meant, pa.scalar(None, pa.string())),
    }


def _drawn(shares: Mapping[str, float], dice: FloatArray) -> Any:
    """Return an outcome for each uniform number, drawn with the given probabilities; None for the remainder of 1."""
    words = np.array([*shares, None], dtype=object)
    return words[np.searchsorted(np.cumsum(list(shares.values())), dice, side="right")]
