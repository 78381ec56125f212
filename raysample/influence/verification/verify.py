"""Draw a sample of a finished table, score it again, and store the verdict beside the table."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from raysample.core import manifests, storage
from raysample.core.errors import ConfigError, ProvenanceError
from raysample.core.progress import Reporter, SilentReporter
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.row_sampling import generator
from raysample.data.score_table import ScoreTable
from raysample.influence.scores import create_scores
from raysample.influence.scores.base import ScoresByColumn
from raysample.influence.shards import ScoreJob
from raysample.influence.verification.bounds import Check, Precision, compare_column
from raysample.influence.verification.slow_columns import CaptureTwin, CheckpointTwin, Twin
from raysample.version import __version__

RESULT = "verification.json"


TwinColumns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        table: key of the verified table (`made_by["key"]`); another key means another table.
        rows, seed: the sample.
        precision: precision of the stored scores.
        checks: one per column.
        left_out: columns predicted from landmarks: there is no exact value to compare them with.
        versions: versions of the libraries that computed both sides.
    """

    table: str
    rows: int
    seed: int
    precision: str
    checks: tuple[Check, ...]
    left_out: tuple[str, ...]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every column is within its bound."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        data = {**vars(self), "checks": [check.to_dict() for check in self.checks], "left_out": list(self.left_out)}
        return {**data, "passed": self.passed}

    def save(self, folder: str) -> str:
        """Write the result beside the manifest of the table in `folder`; return its URI."""
        uri = storage.join(folder, RESULT)
        storage.write_json(uri, self.to_dict())
        return uri

    @staticmethod
    def load(folder: str) -> Verification:
        """Read the result beside a table; raises StorageError if missing or damaged."""
        return manifests.kind_of(Verification, storage.join(folder, RESULT))


def verify_table(
    table: ScoreTable, job: ScoreJob, *, rows: int = 64, seed: int = 0, reporter: Reporter | None = None
) -> Verification:
    """Score a seeded sample of a table's rows again by the slow twin, compare, and store the result with the table.

    Args:
        table: a finished table.
        job: the job that scored it.
        rows: size of the sample; all rows if the table has fewer.
        seed: seed of the sample.
        reporter: receives progress; none by default.

    Raises:
        ProvenanceError: the table was made from another corpus or other checkpoints than those of the job.
        ConfigError: every column was predicted from landmarks, or the sample is empty.
    """
    corpus = Corpus.load(job.corpus)
    checkpoint_sets = [CheckpointSet.load(uri) for uri in job.checkpoint_sets]
    _check_origin(table, corpus, checkpoint_sets)
    predicted = () if job.config.landmarks is None else tuple(job.config.landmarks.scores)
    scores = {column: score for column, score in create_scores(job.config.scores).items() if column not in predicted}
    if not scores or rows < 1:
        raise ConfigError(
            f"there is nothing to verify in {rows} rows: {', '.join(predicted) or 'no column'} is predicted",
            "give --rows of 1 or more, and keep a score out of score.landmarks.scores",
        )
    sample, stored = draw(table, corpus, tuple(scores), rows, seed)
    again = score_again(job, corpus, checkpoint_sets, scores, sample, reporter or SilentReporter())
    precision: Precision = "float32" if job.config.source == "capture" else job.config.precision
    found = Verification(
        table=table.made_by["key"],
        rows=len(sample),
        seed=seed,
        precision=precision,
        checks=tuple(compare_column(c, scores[c], stored[c], again[c], precision) for c in scores),
        left_out=predicted,
        versions=_versions(),
    )
    found.save(table.uri)
    return found


def draw(
    table: ScoreTable, corpus: Corpus, columns: tuple[str, ...], rows: int, seed: int
) -> tuple[pa.Table, TwinColumns]:
    """Return a seeded sample of scored rows in the corpus's `CORPUS_SCHEMA`, and their stored scores in the same order.

    Raises:
        ProvenanceError: a row of the table is not in the corpus.
    """
    total = table.counts["scored"]
    random = generator(seed)
    chosen = np.sort(random.choice(total, min(rows, total), replace=False))
    parts, start = [], 0
    for part in table.read(columns):
        here = chosen[(chosen >= start) & (chosen < start + len(part))] - start
        parts.append(part.take(pa.array(here)))
        start += len(part)
    picked = pa.concat_tables(parts).combine_chunks()
    texts = _texts(corpus, picked["row_id"].combine_chunks())
    return texts, {column: picked[column].to_numpy().astype(np.float64) for column in columns}


def _texts(corpus: Corpus, ids: pa.Array) -> pa.Table:
    """Return the corpus rows of some ids, in the order of the ids; reads shard by shard."""
    found = []
    for shard in corpus.shards:
        rows = corpus.read(shard.index)
        found.append(rows.filter(pc.is_in(rows["row_id"], value_set=ids)))
    there = pa.concat_tables(found)
    places = pc.index_in(ids, value_set=there["row_id"].combine_chunks())
    if places.null_count:
        raise ProvenanceError(
            f"{places.null_count} of {len(ids)} sampled rows of the table are not in the corpus {corpus.uri!r}",
            "verify with the corpus that was scored, or score again",
        )
    return there.take(places)


def rescore(twin: Twin, scores: ScoresByColumn, rows: int, on_visit: Callable[[], None]) -> TwinColumns:
    """Fold scores over the visits of a twin, row by row: column -> float64 [rows].

    Args:
        twin: the source of artifacts.
        scores: column -> score.
        rows: number of rows.
        on_visit: called after every visit.
    """
    used = {column: frozenset(score.select(twin.checkpoints)) for column, score in scores.items()}
    states = [{column: score.init() for column, score in scores.items()} for _ in range(rows)]
    for k in sorted(frozenset[int]().union(*used.values())):
        here = {column: score for column, score in scores.items() if k in used[column]}
        visit = twin.at(k, here)
        for row, state in enumerate(states):
            seen = visit(row)
            state.update({c: score.fold(state[c], seen, twin.checkpoints[k]) for c, score in here.items()})
            on_visit()
    return {c: np.array([float(score.value(state[c])) for state in states]) for c, score in scores.items()}


def score_again(
    job: ScoreJob,
    corpus: Corpus,
    checkpoint_sets: Sequence[CheckpointSet],
    scores: ScoresByColumn,
    sample: pa.Table,
    reporter: Reporter,
    dtype: torch.dtype = torch.float64,
) -> TwinColumns:
    """Return the slow twin's scores of the sample, averaged over the runs, computed in precision `dtype`."""
    twins: list[Twin] = [
        CaptureTwin(corpus, checkpoint_set, sample)
        if job.config.source == "capture"
        else CheckpointTwin(job, checkpoint_set, sample, scores, reporter.say, dtype)
        for checkpoint_set in checkpoint_sets
    ]
    visits = len(sample) * sum(len({k for s in scores.values() for k in s.select(t.checkpoints)}) for t in twins)
    done = 0
    with reporter.bar("verify", visits, "visits") as bar:

        def on_visit() -> None:
            """Move the bar by one visit."""
            nonlocal done
            done += 1
            bar.to(done)

        runs = [rescore(twin, scores, len(sample), on_visit) for twin in twins]
    return {column: np.mean([run[column] for run in runs], axis=0) for column in scores}


def _check_origin(table: ScoreTable, corpus: Corpus, checkpoint_sets: Sequence[CheckpointSet]) -> None:
    """Raise ProvenanceError unless the table was made from this corpus and these checkpoints."""
    prints = [checkpoint_set.fingerprint for checkpoint_set in checkpoint_sets]
    known = prints[0] if len(prints) == 1 else storage.fingerprint(prints)
    for what, stored, given in (
        ("corpus", table.corpus, corpus.fingerprint),
        ("checkpoints", table.checkpoints, known),
    ):
        if stored != given:
            raise ProvenanceError(
                f"the score table {table.uri!r} was made from other {what} than the given",
                f"verify it with the {what} that it was made from, or score again",
            )


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide numbers."""
    names = ("torch", "transformers", "numpy")
    return {"raysample": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}
