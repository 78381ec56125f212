"""Features lie in files by shard, are made once, and are those of the texts whoever makes them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import storage
from raysample.core.config import ModelConfig, SourceConfig
from raysample.core.errors import ProvenanceError, StorageError
from raysample.data.corpus import Corpus, describe_source
from raysample.selection.text_features import feature_files
from raysample.selection.text_features.feature_files import FeatureFiles, write_features
from raysample.selection.text_features.text_features import encoder_features, ngram_features
from raysample.testing import tiny_corpus_files
from tests.helpers.model_folders import saved

ROWS = 60


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return corpus_of(tiny_corpus_files(tmp_path / "rows", rows=ROWS, files=2), tmp_path / "corpus")


def corpus_of(path: str, folder: Path, **columns: str) -> Corpus:
    source = SourceConfig.model_validate({"path": path, "columns": {"id": "id", **columns}})
    return describe_source(source, str(folder), shard_rows=25)


def texts_and_vectors(corpus: Corpus, found: FeatureFiles) -> dict[str, np.ndarray]:
    result = {}
    for shard in corpus.shards:
        rows = corpus.read(shard.index)
        result |= dict(zip(rows["text"].to_pylist(), found.read(shard.index, rows["row_id"]), strict=True))
    return result


def test_vectors_of_an_encoder_are_those_of_the_texts(corpus: Corpus, tmp_path: Path) -> None:
    encoder = ModelConfig(path=saved(tmp_path / "base"), max_length=24)
    found = texts_and_vectors(corpus, write_features(corpus, str(tmp_path / "features"), encoder))
    expected = encoder_features(encoder)(list(found))
    np.testing.assert_allclose(np.stack(list(found.values())), expected, atol=2e-3)


def test_ngrams_are_fitted_on_the_corpus_whatever_its_order(corpus: Corpus, tmp_path: Path) -> None:
    found = texts_and_vectors(corpus, write_features(corpus, str(tmp_path / "features")))
    rows = corpus.table()
    turned = rows.take(pa.array(np.arange(ROWS)[::-1]))
    storage.write_parquet(
        str(tmp_path / "turned" / "a.parquet"),
        turned.select(["text", "row_id"]).append_column(
            "label", pa.array([corpus.labels[i] for i in turned["label"].to_pylist()])
        ),
    )
    other = corpus_of(str(tmp_path / "turned"), tmp_path / "other", id="row_id")
    again = texts_and_vectors(other, write_features(other, str(tmp_path / "others")))
    assert all(np.array_equal(found[text], again[text]) for text in found)
    direct = ngram_features(rows["text"].to_pylist())
    assert next(iter(found.values())).shape == (direct(["x"]).shape[1],)


def test_files_are_made_once_and_finished_after_an_interruption(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "features"
    first = write_features(corpus, str(folder))
    assert len(first.parts) == len(corpus.shards) == 4
    before = {name: (folder / name).read_bytes() for name in first.parts}
    (folder / first.parts[1]).unlink()
    (folder / "features.json").unlink()
    feature_files._loaded.cache_clear()
    made, real = list[int](), Corpus.read
    monkeypatch.setattr(Corpus, "read", lambda self, index: made.append(index) or real(self, index))
    assert write_features(corpus, str(folder)) == first == FeatureFiles.load(str(folder))
    assert made == [1]
    assert {name: (folder / name).read_bytes() for name in first.parts} == before


def test_workers_make_the_same_files(corpus: Corpus, tmp_path: Path) -> None:
    def elsewhere(function: Any, items: Any) -> Any:
        feature_files._loaded.cache_clear()
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(function, items))

    one = write_features(corpus, str(tmp_path / "one"))
    two = write_features(corpus, str(tmp_path / "two"), map_fn=elsewhere)
    assert one.key == two.key
    for name in one.parts:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_encoder_or_corpus_has_files_of_its_own(corpus: Corpus, tmp_path: Path) -> None:
    base = Path(saved(tmp_path / "base"))
    encoder, folder = ModelConfig(path=str(base), max_length=24), str(tmp_path / "features")
    keys = [write_features(corpus, folder).key, write_features(corpus, folder, encoder).key]
    keys.append(write_features(corpus, folder, encoder.model_copy(update={"max_length": 8})).key)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "attention_probs_dropout_prob": 0.3}))
    keys.append(write_features(corpus, folder, encoder).key)
    assert len(set(keys)) == 4


def test_rows_that_changed_and_damaged_files_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    found = write_features(corpus, str(folder))
    rows = corpus.read(1)["row_id"]
    with pytest.raises(ProvenanceError, match="other rows than shard 0"):
        found.read(0, rows)
    projection = next(folder.rglob("projection.safetensors"))
    whole = projection.read_bytes()
    for data in (b"", whole[:40], b"\xff" * 80, whole[:-9]):
        projection.write_bytes(data)
        feature_files._loaded.cache_clear()
        (folder / found.parts[0]).unlink(missing_ok=True)
        with pytest.raises(StorageError, match=r"projection\.safetensors"):
            write_features(corpus, str(folder))


def test_pairs_have_features_of_both_texts(tmp_path: Path) -> None:
    rows = {"id": [str(i) for i in range(40)], "a": ["red moss", "a moon"] * 20, "b": ["the pond", "red moss"] * 20}
    storage.write_parquet(str(tmp_path / "pairs.parquet"), pa.table({**rows, "y": ["p", "q"] * 20}))
    corpus = corpus_of(str(tmp_path / "pairs.parquet"), tmp_path / "corpus", text="a", text_pair="b", label="y")
    found = write_features(corpus, str(tmp_path / "features"))
    vectors = found.read(0, corpus.read(0)["row_id"])
    quarter = found.dimension // 4
    assert np.array_equal(vectors[0, :quarter], vectors[1, quarter : 2 * quarter])
