"""A ScoreTable of the probe's scores, and the rows whose labels the probe contradicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import manifests, storage
from raysample.core.arrays import WordArray
from raysample.core.errors import ProvenanceError
from raysample.core.map_fn import MapFn, threads
from raysample.data.corpus import Corpus
from raysample.data.identity import group_codes, hash_row_ids
from raysample.data.score_table import GROUP_CODE_COLUMN, GROUP_COLUMN, SCORES_MANIFEST, ScoreTable, table_schema
from raysample.data.score_table_layout import part_name, parts_name
from raysample.selection.probe.fitting import probe_rows
from raysample.selection.probe.probe_scorer import ProbeScorer
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS, OutOfFold, Scores, out_of_fold, probe_scores
from raysample.selection.race.race_rows import RaceRows
from raysample.selection.text_features.feature_files import FeatureFiles
from raysample.version import __version__

SUSPECTS_FOLDER, AGREEMENT_FILE = "suspects", "agreement.json"
SUSPECTS_SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("label", pa.int32()),
        ("confidence", pa.float32()),
        ("predicted", pa.int32()),
        ("predicted_confidence", pa.float32()),
    ]
)


@dataclass(frozen=True)
class LabelAgreement:
    """How the probe's predictions, out of fold, agree with the given labels.

    Attributes:
        rows: number of rows.
        agreeing: rows whose given label is the predicted class.
        suspects: rows whose label the probe contradicts with confidence.
    """

    rows: int
    agreeing: int
    suspects: int

    @property
    def share(self) -> float:
        """Share of the rows whose label the probe predicts."""
        return self.agreeing / self.rows


class RowScorer(Protocol):
    """Scores rows by their features: `ProbeScorer`, or `KnownScores` where all rows are known beforehand."""

    def score(
        self,
        vectors: npt.NDArray[np.floating],
        labels: npt.NDArray[np.integer],
        identity: WordArray,
        names: Sequence[str],
    ) -> tuple[Scores, OutOfFold]:
        """Return the scores of rows by name, [N] each, and their predictions."""
        ...


@dataclass(frozen=True, eq=False)
class KnownScores:
    """Scores of all rows, found by the hashes of their ids, rising, [N]."""

    identity: WordArray
    scores: Scores
    found: OutOfFold

    @staticmethod
    def of(rows: RaceRows, names: Sequence[str], seed: int, device: str) -> KnownScores:
        """Compute the scores of all rows at once, in the order of their seeded hashes."""
        rows = rows.ordered(seed)
        probed = probe_rows(rows.vectors, rows.labels, rows.classes, device)
        scores, found = probe_scores(probed, rows.vectors, seed, names), out_of_fold(probed, seed)
        identity = hash_row_ids(rows.row_id)
        order = np.argsort(identity)
        return KnownScores(identity[order], {name: each[order] for name, each in scores.items()}, found.take(order))

    def score(
        self,
        vectors: npt.NDArray[np.floating],
        labels: npt.NDArray[np.integer],
        identity: WordArray,
        names: Sequence[str],
    ) -> tuple[Scores, OutOfFold]:
        """Return the scores of some of the rows; raises ProvenanceError for rows that are not known."""
        del vectors, labels
        place = np.minimum(np.searchsorted(self.identity, identity), len(self.identity) - 1)
        if (self.identity[place] != identity).any():
            raise ProvenanceError("there are rows that were not scored", "score the rows that the scores are of")
        return {name: self.scores[name][place] for name in names}, self.found.take(place)


def class_confidence(rows: RaceRows, found: OutOfFold) -> npt.NDArray[np.float32]:
    """Return t_j, the mean out-of-fold confidence of the rows labelled j, [C]; infinite for classes without rows.

    Source: Northcutt et al. 2021, arXiv 1911.00068, equation 2.
    """
    counts = np.bincount(rows.labels, minlength=rows.classes)
    sums = np.bincount(rows.labels, weights=found.confidence, minlength=rows.classes)
    means = np.full(rows.classes, np.inf, np.float32)
    np.divide(sums, counts, out=means, where=counts > 0, casting="same_kind")
    return means


@dataclass(frozen=True, eq=False)
class ProbeTableJob:
    """What a worker needs to score a shard; picklable.

    Attributes:
        corpus: URI of the corpus. features: its features.
        folder: where parts are written. columns: the scores.
        scorer: the fitted probes, or known scores.
        least: t_j, `class_confidence`: a row is a suspect if the predicted class is another one and at least so sure.
    """

    corpus: str
    features: FeatureFiles
    folder: str
    columns: tuple[str, ...]
    scorer: RowScorer
    least: npt.NDArray[np.float32]

    def write(self, index: int) -> LabelAgreement:
        """Score a shard and write its part and its suspects; return how its labels agree with the predictions."""
        corpus = Corpus.load(self.corpus)
        rows, name = corpus.read(index), part_name(corpus.shards[index])
        vectors = self.features.read(index, rows["row_id"])
        labels, identity = rows["label"].to_numpy(), hash_row_ids(rows["row_id"])
        scores, found = self.scorer.score(vectors, labels, identity, self.columns)
        columns: dict[str, Any] = {
            "row_id": rows["row_id"],
            "label": rows["label"],
            "tokens": word_counts(rows),
            **scores,
        }
        if corpus.grouped:
            columns |= {GROUP_COLUMN: rows["group"], GROUP_CODE_COLUMN: group_codes(rows["group"])}
        schema = table_schema(self.columns, corpus.grouped)
        storage.write_parquet(
            storage.join(self.folder, name), pa.table({each: columns[each] for each in schema.names}).cast(schema)
        )
        wrong = found.predicted != labels
        places = np.flatnonzero(wrong & (found.predicted_confidence >= self.least[found.predicted]))
        suspects = {
            "row_id": rows["row_id"].take(pa.array(places)),
            "label": rows["label"].take(pa.array(places)),
            "confidence": found.confidence[places],
            "predicted": found.predicted[places],
            "predicted_confidence": found.predicted_confidence[places],
        }
        storage.write_parquet(
            storage.join(self.folder, SUSPECTS_FOLDER, name), pa.table(suspects).cast(SUSPECTS_SCHEMA)
        )
        return LabelAgreement(len(rows), int((~wrong).sum()), len(places))


def word_counts(rows: pa.Table) -> pa.ChunkedArray:
    """Return the number of words of each row's texts, [N] int32: the length that budgets in tokens count."""
    count = pc.count_substring_regex(rows["text"], r"[\p{L}\p{N}_]+")
    pair = pc.count_substring_regex(pc.fill_null(rows["text_pair"], ""), r"[\p{L}\p{N}_]+")
    return pc.add(count, pair).cast(pa.int32())


def write_probe_table(
    corpus: Corpus,
    features: FeatureFiles,
    sample: RaceRows,
    uri: str,
    columns: Sequence[str],
    *,
    seed: int = 0,
    device: str = "cpu",
    map_fn: MapFn = threads,
) -> tuple[ScoreTable, LabelAgreement]:
    """Write the probe's scores of all rows as a ScoreTable, unless it is there; return it and the labels' agreement.

    If the sample holds all rows, the scores are those of `probe_scores`; else those of a `ProbeScorer`.

    Args:
        corpus, features: the rows.
        sample: the rows of the race.
        uri: folder of the table.
        columns: the scores.
        seed: seed of folds and orders.
        device: where probes are fitted.
        map_fn: maps a function over shards.
    """
    made_by = {"features": features.source, "pooling": features.pooling, "dimension": features.dimension}
    made_by |= {"sample": len(sample), "seed": seed, "raysample": __version__, "key": features.key}
    place = storage.join(uri, AGREEMENT_FILE)
    known = _finished(corpus, uri, columns, made_by)
    if known is not None:
        return known, manifests.kind_of(LabelAgreement, place)
    scorer, least = _fitted(corpus, sample, columns, seed, device)
    folder = parts_name(storage.fingerprint([made_by, list(columns)]))
    job = ProbeTableJob(corpus.uri, features, storage.join(uri, folder), tuple(columns), scorer, least)
    done = list(map_fn(job.write, range(len(corpus.shards))))
    found = LabelAgreement(*(sum(getattr(one, name) for one in done) for name in ("rows", "agreeing", "suspects")))
    storage.write_json(place, asdict(found))
    table = ScoreTable(
        uri,
        tuple(f"{folder}/{part_name(shard)}" for shard in corpus.shards),
        {name: {"score": name, "higher_is": PROBE_HIGHER_IS[name]} for name in columns},
        corpus.labels,
        corpus.fingerprint,
        features.key,
        {"in": found.rows, "scored": found.rows, "quarantined": 0},
        made_by,
        grouped=corpus.grouped,
    ).save()
    return table, found


def _finished(corpus: Corpus, uri: str, columns: Sequence[str], made_by: Mapping[str, Any]) -> ScoreTable | None:
    """Return the table in a folder if it is what would be written there, None otherwise."""
    if not storage.exists(storage.join(uri, SCORES_MANIFEST)):
        return None
    found = ScoreTable.load(uri)
    same = found.corpus == corpus.fingerprint and found.made_by == made_by and found.columns == tuple(columns)
    return found if same else None


def _fitted(
    corpus: Corpus, sample: RaceRows, columns: Sequence[str], seed: int, device: str
) -> tuple[RowScorer, npt.NDArray[np.float32]]:
    """Return what scores the rows of a corpus, and the class confidences of the sample."""
    if len(sample) == corpus.rows:
        known = KnownScores.of(sample, columns, seed, device)
        return known, class_confidence(sample, known.found.take(_places(known, sample)))
    rows = sample.ordered(seed)
    probed, identity = probe_rows(rows.vectors, rows.labels, rows.classes, device), hash_row_ids(rows.row_id)
    scorer = ProbeScorer.of(probed, identity, seed)
    return scorer, class_confidence(rows, scorer.score(rows.vectors, rows.labels, identity, ())[1])


def suspects_of(table: ScoreTable, part: str) -> pa.Table:
    """Return the suspects among the rows of a part, in SUSPECTS_SCHEMA."""
    folder, _, name = part.rpartition("/")
    return storage.read_parquet(storage.join(table.uri, folder, SUSPECTS_FOLDER, name), SUSPECTS_SCHEMA.names)


def _places(known: KnownScores, rows: RaceRows) -> npt.NDArray[np.int64]:
    """Return where the rows are among the known scores."""
    return np.searchsorted(known.identity, hash_row_ids(rows.row_id))
