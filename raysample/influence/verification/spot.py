"""Score a few rows of a new table again by the slow twin: cheap enough to run after every scoring."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from raysample.core.errors import ProvenanceError, ScoreError
from raysample.core.progress import SilentReporter
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.row_sampling import generator
from raysample.data.score_table import ScoreTable
from raysample.data.score_table_layout import part_name
from raysample.influence.scores import Score, create_scores
from raysample.influence.scores.base import ScoresByColumn
from raysample.influence.shards import ScoreJob
from raysample.influence.verification.bounds import DIFFERING, RELATIVE
from raysample.influence.verification.verify import TwinColumns, score_again

MIN_ROWS = 4
COST_SHARE = 0.02
"""Largest share of the cost of scoring, unless MIN_ROWS rows cost more."""
SLOWNESS = 25
"""Cost of a row for the slow twin, in rows of a mini-batch."""
SPOT_SHARDS = 2
"""Parts that rows are drawn from: each is read completely."""
COARSE = 0.25
"""Bound of the median relative difference in bfloat16, whose single values may differ in their second digit."""
ROUNDING = 20
"""Tolerance in multiples of the twin's own rounding (float32 against float64): mini-batches round differently."""


@dataclass(frozen=True)
class Spot:
    """The result of a spot check.

    Attributes:
        rows: rows compared. seconds: its cost.
        differences: column -> the largest difference relative to max(|score|, median |score|); for scores that count,
            the share of rows that differ.
        wrong: column -> description of the values out of bounds.
    """

    rows: int
    seconds: float
    differences: dict[str, float]
    wrong: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data for the manifest of a table."""
        return {"rows": self.rows, "seconds": self.seconds, "differences": self.differences}


def affordable(wanted: int, rows: int) -> int:
    """Return how many of `wanted` rows to verify after `rows` rows were scored: COST_SHARE of the scoring cost."""
    return min(wanted, rows, max(MIN_ROWS, int(COST_SHARE * rows / SLOWNESS)))


def verifiable(job: ScoreJob) -> ScoresByColumn:
    """Return the columns that a twin can compute again: neither captured logits nor predicted columns."""
    if job.config.source == "capture":
        return {}
    predicted = () if job.config.landmarks is None else tuple(job.config.landmarks.scores)
    return {column: score for column, score in create_scores(job.config.scores).items() if column not in predicted}


def spot_check(table: ScoreTable, job: ScoreJob, rows: int, seed: int = 0) -> Spot:
    """Score some rows of a table again, one at a time in float64, and compare; nothing is written.

    Args:
        table: with existing parts; its manifest is not needed.
        job: the job that scored it.
        rows: number of rows.
        seed: seed of the sample.

    Raises:
        ProvenanceError: a row of the table is not in the corpus.
    """
    began = time.perf_counter()
    corpus, checkpoint_sets = Corpus.load(job.corpus), [CheckpointSet.load(uri) for uri in job.checkpoint_sets]
    scores = verifiable(job)
    sample, stored = _drawn(table, corpus, tuple(scores), rows, seed)
    again = score_again(job, corpus, checkpoint_sets, scores, sample, SilentReporter())
    wrong = _wrong(job, scores, sample, stored, again, None)
    if wrong:
        # It may be rounding: for rows that the model is sure of, the float32 gradient is mostly rounding noise.
        few = {column: scores[column] for column in wrong}
        rounded = score_again(job, corpus, checkpoint_sets, few, sample, SilentReporter(), torch.float32)
        wrong = _wrong(job, few, sample, stored, again, rounded)
    differences = {column: _difference(scores[column], stored[column], again[column]) for column in scores}
    return Spot(len(sample), round(time.perf_counter() - began, 3), differences, wrong)


def check_spot(spot: Spot, table: ScoreTable) -> None:
    """Raise ScoreError, naming scores and rows, if a value is out of bounds."""
    if spot.wrong:
        problems = "; ".join(f"{column}: {problem}" for column, problem in spot.wrong.items())
        raise ScoreError(
            f"the scores in {table.uri!r} are not those of the slow twin, which scored {spot.rows} rows again one by "
            f"one: {problems}",
            "do not use them; score with score.method: loop, and please report the model. (score.verify_rows: 0 leaves "
            "this check out; raysample verify compares more rows of a finished table.)",
        )


def _drawn(
    table: ScoreTable, corpus: Corpus, columns: tuple[str, ...], rows: int, seed: int
) -> tuple[pa.Table, TwinColumns]:
    """Return rows from SPOT_SHARDS parts, in the corpus's schema, and their stored scores in the same order."""
    random = generator(seed, 0x5907)
    shards = {part_name(shard): shard.index for shard in corpus.shards}
    left, texts, picked = rows, list[pa.Table](), list[pa.Table]()
    order = random.permutation(len(table.parts)).tolist()
    for at, place in enumerate(order):
        (part,) = table.read(columns, parts=[table.parts[place]])
        enough = -(-left // 2) if at == 0 and SPOT_SHARDS > 1 and len(order) > 1 else left
        chosen = part.take(pa.array(np.sort(random.permutation(len(part))[:enough])))
        if len(chosen):
            picked.append(chosen)
            texts.append(_texts(corpus, shards[table.parts[place].rpartition("/")[2]], chosen["row_id"]))
        left -= len(chosen)
        if left <= 0:
            break
    both = pa.concat_tables(picked)
    return pa.concat_tables(texts), {column: both[column].to_numpy().astype(np.float64) for column in columns}


def _texts(corpus: Corpus, shard: int, ids: pa.ChunkedArray) -> pa.Table:
    """Return the rows of one shard with the given ids, in their order."""
    rows = corpus.read(shard)
    places = pc.index_in(ids, value_set=rows["row_id"].combine_chunks())
    if places.null_count:
        raise ProvenanceError("sampled rows of the table are not in the corpus", "score again")
    return rows.take(places)


def _wrong(
    job: ScoreJob,
    scores: ScoresByColumn,
    sample: pa.Table,
    stored: TwinColumns,
    again: TwinColumns,
    rounded: TwinColumns | None,
) -> dict[str, str]:
    """Return column -> description of the values out of bounds.

    `rounded` are the twin's values in float32, if known.
    """
    found = {}
    for column, score in scores.items():
        here, there = stored[column], again[column]
        borne = np.zeros(len(here)) if rounded is None else ROUNDING * np.abs(rounded[column] - there)
        bad, bound = _out_of_bounds(score, here, there, borne, job.config.precision)
        if len(bad):
            row = int(bad[0])
            found[column] = (
                f"{len(bad)} of {len(here)} rows out of bounds ({bound}), for example row "
                f"{sample['row_id'][row].as_py()!r}: stored {here[row]:.6g}, again {there[row]:.6g}"
            )
    return found


def _out_of_bounds(
    score: Score[Any], here: NDArray[np.float64], there: NDArray[np.float64], borne: NDArray[np.float64], precision: str
) -> tuple[NDArray[np.int64], str]:
    """Return the positions of rows out of bounds, and a description of the bound."""
    away = np.where(np.isfinite(there), np.abs(here - there), np.inf)
    if precision == "bfloat16":
        relative = away / _scale(there)
        wide = np.median(relative) > COARSE
        return np.flatnonzero(relative > COARSE) if wide else np.empty(0, np.int64), f"median at most {COARSE:g}"
    if score.discrete:
        differ = np.flatnonzero(away > 1e-6)
        most = max(1, int(DIFFERING * len(here)))  # one row may be on an edge
        return differ if len(differ) > most else differ[:0], f"at most {most} may differ"
    return np.flatnonzero(away > RELATIVE * _scale(there) + borne), f"relative difference at most {RELATIVE:g}"


def _difference(score: Score[Any], here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
    """Return the largest relative difference, or the share of rows that differ for scores that count."""
    away = np.abs(here - there)
    return float((away > 1e-6).mean()) if score.discrete else float((away / _scale(there)).max())


def _scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return max(|value|, median |value|) per row, positive."""
    size = np.abs(values)
    usual = float(np.median(size)) or float(size.max()) or 1.0
    return np.maximum(size, usual)
