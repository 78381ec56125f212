"""The probe's table: known scores are those of all rows at once, suspects are as confident learning defines them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import storage
from raysample.core.config import SourceConfig
from raysample.core.errors import ProvenanceError
from raysample.data.corpus import Corpus, describe_source
from raysample.data.identity import hash_row_ids
from raysample.data.score_table import ScoreTable
from raysample.selection.probe.fitting import probe_rows
from raysample.selection.probe.probe_scores import out_of_fold, probe_scores
from raysample.selection.probe.probe_table import KnownScores, suspects_of, word_counts, write_probe_table
from raysample.selection.race.race_sample import race_sample
from raysample.selection.text_features.feature_files import FeatureFiles, write_features
from tests.workflow.test_prune import rows_of

COLUMNS = ("nearest_similarity", "out_of_fold_confidence", "probe_aum", "probe_el2n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, FeatureFiles]:
    folder = tmp_path_factory.mktemp("table")
    storage.write_parquet(str(folder / "rows.parquet"), pa.Table.from_pandas(rows_of(300), preserve_index=False))
    source = SourceConfig.model_validate({"path": str(folder / "rows.parquet"), "columns": {"id": "id"}})
    corpus = describe_source(source, str(folder / "corpus"), shard_rows=100)
    return corpus, write_features(corpus, str(folder / "features"))


def test_the_table_has_the_scores_of_all_rows_at_once(made: tuple[Corpus, FeatureFiles], tmp_path: Path) -> None:
    corpus, features = made
    sample = race_sample(corpus, features)
    table, agreement = write_probe_table(corpus, features, sample, str(tmp_path), COLUMNS, seed=3)
    rows = sample.ordered(3)
    probed = probe_rows(rows.vectors, rows.labels, rows.classes)
    expected = probe_scores(probed, rows.vectors, 3)
    place = {name: i for i, name in enumerate(rows.row_id)}
    found = ScoreTable.load(str(tmp_path)).to_pandas()
    order = [place[name] for name in found["row_id"]]
    for name in COLUMNS:
        assert np.array_equal(found[name].to_numpy(), expected[name][order])
    assert found["tokens"].tolist() == [5] * 300  # four words and a sign
    again = write_probe_table(corpus, features, sample, str(tmp_path), COLUMNS, seed=3)
    assert again == (table, agreement)


def test_suspects_are_those_of_confident_learning(made: tuple[Corpus, FeatureFiles], tmp_path: Path) -> None:
    corpus, features = made
    sample = race_sample(corpus, features)
    table, agreement = write_probe_table(corpus, features, sample, str(tmp_path), COLUMNS[1:2])
    rows = sample.ordered(0)
    seen = out_of_fold(probe_rows(rows.vectors, rows.labels, rows.classes))
    # The slow way: t_j, the mean confidence of the rows labelled j, class by class; then row by row.
    least = [np.mean([c for c, y in zip(seen.confidence, rows.labels, strict=True) if y == j]) for j in range(3)]
    expected = {
        name
        for name, label, predicted, sure in zip(
            rows.row_id, rows.labels, seen.predicted, seen.predicted_confidence, strict=True
        )
        if predicted != label and sure >= least[predicted]
    }
    found = {name for part in table.parts for name in suspects_of(table, part)["row_id"].to_pylist()}
    assert found == expected
    assert (agreement.rows, agreement.suspects) == (300, len(expected))
    assert agreement.agreeing == int((seen.predicted == rows.labels).sum())


def test_rows_that_are_not_known_are_refused(made: tuple[Corpus, FeatureFiles]) -> None:
    corpus, features = made
    known = KnownScores.of(race_sample(corpus, features), COLUMNS[1:2], 0, "cpu")
    nothing = np.zeros((1, 1))
    with pytest.raises(ProvenanceError, match="not scored"):
        known.score(nothing, np.zeros(1, np.int64), hash_row_ids(["somebody else"]), COLUMNS[1:2])


def test_words_are_counted_over_both_texts() -> None:
    rows = pa.table({"text": ["play it, now!", "", "?!"], "text_pair": ["der Bär", None, "x_1"]})
    assert word_counts(rows).to_pylist() == [5, 0, 1]
