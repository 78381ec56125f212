"""What choosing cost, compared with one training on all rows."""

from __future__ import annotations

from functools import partial

from raysample.data.row_sampling import sample_corpus
from raysample.models.sentence_vectors import seconds_per_text
from raysample.selection.race.decision import CostOfChoice
from raysample.selection.race.pilot_evidence import PilotResult
from raysample.workflow.choice import Chooser

MEASURED_ROWS = 256
"""Rows whose forward is timed, where there is no pilot."""
_FORWARDS = 3
"""A training step on a row takes as long as so many forwards: the backward is two."""


def cost_of_choice(chooser: Chooser, pilot: PilotResult | None, epochs: int) -> CostOfChoice | None:
    """Return what features, races and pilot cost, compared with a training; None without an encoder to train.

    A training on all rows takes as long for each row as the trainings of the pilot did; without a pilot it is estimated
    by the forward of some rows. Features count as one forward of every row, whether or not this call computed them.
    """
    encoder, rows = chooser.settings.encoder, chooser.corpus.rows
    if encoder is None:
        return None
    tuned = pilot is not None and pilot.seconds_per_row > 0
    sample = sample_corpus(chooser.corpus, MEASURED_ROWS, chooser.settings.seed)
    texts = [f"{row['text']} {row['text_pair'] or ''}" for row in sample.select(["text", "text_pair"]).to_pylist()]
    forward = next(iter(chooser.context.executor.on_devices([partial(seconds_per_text, encoder, texts)])))
    per_row = pilot.seconds_per_row if pilot is not None and tuned else _FORWARDS * forward
    measured = "trainings of the pilot" if tuned else f"forwards of {len(texts)} rows, a step counted as {_FORWARDS}"
    choosing = forward * rows + chooser.race_seconds + (0.0 if pilot is None else pilot.seconds)
    return CostOfChoice(round(choosing, 3), round(per_row * rows * epochs, 3), epochs, measured)
