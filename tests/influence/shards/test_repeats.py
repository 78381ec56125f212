"""Rows with the same tokens and label are visited once; every one of them gets the score."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysample
from raysample import testing
from raysample.core.config import SourceConfig
from raysample.data.corpus import Corpus, describe_source
from raysample.testing import LABELS

pytestmark = pytest.mark.slow

TEXTS = [f"{words}" for words in ("the pond", "a moon", "the old moss", "a pond the moon", "old old", "the moon")]


def corpus(folder: Path, rows: list[tuple[str, str]]) -> Corpus:
    folder.mkdir()
    texts, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "rows.parquet")
    source = SourceConfig(path=str(folder / "rows.parquet"))
    return describe_source(source, str(folder / "corpus"), labels=LABELS, shard_rows=1000)


def test_repeats_are_visited_once(tmp_path: Path, visited: list[int]) -> None:
    trace = testing.tiny_checkpoints(tmp_path / "run", 3)
    distinct = [(text, LABELS[at % len(LABELS)]) for at, text in enumerate(TEXTS)]
    distinct.append((TEXTS[0], LABELS[1]))  # the same text with another label is another example
    place = np.random.default_rng(0).integers(0, len(distinct), 60)
    place[: len(distinct)] = np.arange(len(distinct))
    scores = ["vog", "grand", "el2n", "forgetting"]
    once = raysample.score(trace, corpus(tmp_path / "once", distinct), scores, str(tmp_path / "a"), max_length=16)
    many = corpus(tmp_path / "many", [distinct[at] for at in place])
    table = raysample.score(trace, many, scores, str(tmp_path / "b"), max_length=16)
    assert visited == [len(distinct), len(distinct)]
    for name in scores:
        found = table.to_pandas()[name].to_numpy()
        assert np.array_equal(found, found[: len(distinct)][place])
        assert np.allclose(found, once.to_pandas()[name].to_numpy()[place], rtol=1e-5, atol=1e-6)
    assert table.counts == {"in": 60, "scored": 60, "quarantined": 0}


def test_a_score_that_knows_rows_apart_visits_all(tmp_path: Path, visited: list[int]) -> None:
    trace = testing.tiny_checkpoints(tmp_path / "run", 2)
    rows = [(text, LABELS[at % len(LABELS)]) for at, text in enumerate(TEXTS * 3)]
    asked = [{"name": "knn_label_disagreement", "neighbours": 2, "rows": 10}]
    raysample.score(trace, corpus(tmp_path / "c", rows), asked, str(tmp_path / "a"), max_length=16)
    assert visited == [18]
