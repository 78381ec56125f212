"""Scores of a part of the rows that are computed on this part alone, so that the other rows can judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysample.core.arrays import IntArray
from raysample.data.identity import hash_row_ids
from raysample.selection.probe.fitting import ProbeRows
from raysample.selection.probe.probe_scorer import ProbeScorer
from raysample.selection.probe.probe_scores import Scores, probe_scores
from raysample.selection.race.race_rows import RaceRows


def nested_scores(
    rows: RaceRows, part: ProbeRows, places: IntArray, names: Sequence[str], seed: int, sampled: bool
) -> Scores:
    """Return scores of some rows by name, [len(places)] each, computed on these rows alone.

    Args:
        rows: all rows. part: those at `places`, as the probe sees them.
        names: the scores. seed: of folds and orders.
        sampled: whether the rows are a sample of more; then the scores are those of a `ProbeScorer`.
    """
    if not names:
        return {}
    vectors = rows.vectors[places]
    if not sampled:
        return probe_scores(part, vectors, seed, names)
    identity = hash_row_ids(np.asarray(rows.row_id, dtype=object)[places])
    return ProbeScorer.of(part, identity, seed).score(vectors, rows.labels[places], identity, names)[0]
