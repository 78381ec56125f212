"""Features of a sample, and the centres and medians made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from raysample import models
from raysample.core.errors import ScoreError
from raysample.core.numerics.forward_hooks import classifier
from raysample.core.numerics.radix import seeded
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.identity import hash_row_ids
from raysample.data.row_sampling import row_keys, sample_corpus
from raysample.influence.references import Request, load_reference, prepare_references
from raysample.influence.references.clusters import spherical_kmeans
from raysample.influence.references.features import class_medians
from raysample.influence.scores.reference import Reference
from raysample.testing import LABELS
from tests.helpers.reference_runs import batch_of, described, made_up

pytestmark = pytest.mark.slow

SMALL = Reference.from_options("features", rows=40, clusters=4, seed=1)


def prepared(request: Request, reference: Reference) -> dict[str, Tensor]:
    prepare_references(request, [reference])
    last = CheckpointSet.load(request.checkpoints).checkpoints[-1]
    return load_reference(request, [reference], last, "cpu").tensors[reference.key]


def test_features_are_what_the_classifier_gets(tmp_path: Path) -> None:
    request = made_up(tmp_path)
    found = prepared(request, SMALL)
    inputs, labels = batch_of(request, request.corpus)
    network, seen = models.load_model(CheckpointSet.load(request.checkpoints).checkpoints[-1].uri), list[Tensor]()
    classifier(network).register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    with torch.no_grad():
        network(**inputs)
    ids = Corpus.load(request.corpus).table()["row_id"]
    place = {key: i for i, key in enumerate(row_keys(ids).tolist())}
    rows = [place[int(key)] for key in found["keys"]]
    assert len(set(rows)) == 40
    torch.testing.assert_close(found["features"], seen[0][rows], rtol=1e-4, atol=1e-5)
    assert found["labels"].tolist() == labels[rows].tolist()
    torch.testing.assert_close(found["centres"].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(found["medians"], class_medians(found["features"], found["labels"].numpy(), 3))


def test_a_sample_depends_on_ids_and_seed_alone(tmp_path: Path) -> None:
    one, many = described(tmp_path / "one", 100, files=1), described(tmp_path / "many", 100, files=7)
    first, again = (sample_corpus(corpus, 30, 0)["row_id"].to_pylist() for corpus in (one, many))
    assert first == again
    words = seeded(hash_row_ids(np.array(one.table()["row_id"].to_pylist(), object)), 0)
    assert first == one.table()["row_id"].take(pa.array(np.argsort(words)[:30])).to_pylist()
    assert set(first) != set(sample_corpus(one, 30, 1)["row_id"].to_pylist())
    assert sample_corpus(one, 1_000, 0).num_rows == 100


def test_row_keys_are_the_bits_of_the_identity() -> None:
    ids = ["a", "b", "é"]
    expected = hash_row_ids(np.array(ids, object))
    for given in (ids, pa.array(ids), pa.chunked_array([ids[:1], ids[1:]]), np.array(ids, object)):
        found = row_keys(given)
        assert found.dtype == np.int64
        assert (found.view(np.uint64) == expected).all()
    assert row_keys([]).shape == (0,)


def test_all_checkpoints_or_the_last(tmp_path: Path) -> None:
    request = made_up(tmp_path)
    every = Reference.from_options("features", rows=10, at="all")
    prepare_references(request, [SMALL, every])
    first, last = CheckpointSet.load(request.checkpoints).checkpoints
    early, late = (load_reference(request, [every], c, "cpu").tensors[every.key]["features"] for c in (first, last))
    assert not torch.equal(early, late)
    with pytest.raises(ScoreError, match=r"prepared for step 20, not for step 10(.|\n)*checkpoints: last"):
        load_reference(request, [SMALL], first, "cpu")


def test_by_default_one_centre_per_class_and_never_more_than_rows(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    assert len(prepared(request, Reference.from_options("features"))["centres"]) == len(LABELS)
    assert len(prepared(request, Reference.from_options("features", rows=5, clusters=9))["centres"]) == 5


def test_features_that_are_not_finite_are_told(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    place = CheckpointSet.load(request.checkpoints).checkpoints[0].uri
    network, words = models.load_model(place), models.tokenizer(place)
    # A whole weight would be refused when the model is opened; a row of the embeddings is one token's: every text's.
    torch.nn.init.constant_(network.bert.embeddings.word_embeddings.weight[words.cls_token_id], torch.nan)
    models.save_model(network, words, place)
    (Path(place) / "COMPLETE.json").write_text('{"sha256": {}}')
    with pytest.raises(ScoreError, match="features at step 10 are not finite"):
        prepare_references(request, [SMALL])


def test_the_batch_budget_changes_rounding_only(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    small = prepared(replace(request, folder=str(tmp_path / "small"), batch_tokens=16), SMALL)
    large = prepared(replace(request, folder=str(tmp_path / "large"), batch_tokens=100_000), SMALL)
    assert torch.equal(small["keys"], large["keys"])
    torch.testing.assert_close(small["features"], large["features"], rtol=1e-4, atol=1e-5)


def test_medians_are_per_class_and_coordinate() -> None:
    features = torch.tensor([[1.0, 10.0], [3.0, 0.0], [2.0, 5.0], [7.0, 7.0], [9.0, 8.0]])
    found = class_medians(features, np.array([0, 0, 0, 2, 2]), 3)
    torch.testing.assert_close(found, torch.tensor([[2.0, 5.0], [torch.nan, torch.nan], [8.0, 7.5]]), equal_nan=True)


def test_kmeans_finds_directions_whatever_the_order_of_the_rows() -> None:
    draw = np.random.default_rng(0)
    middles = np.eye(6)[:4]
    rows = np.repeat(middles, 25, axis=0) + 0.05 * draw.normal(size=(100, 6))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centres = spherical_kmeans(units, 4, seed=0)
    expected = units.reshape(4, 25, 6).sum(1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(centres, expected[np.lexsort(expected.T[::-1])], atol=1e-12)
    np.testing.assert_allclose(spherical_kmeans(units[draw.permutation(100)], 4, seed=0), centres, atol=1e-12)


def test_kmeans_with_as_many_centres_as_rows_and_repeated_rows() -> None:
    units = np.eye(3)
    np.testing.assert_allclose(np.sort(spherical_kmeans(units, 3, 0).sum(0)), [1, 1, 1])
    same = np.tile([[1.0, 0.0]], (5, 1))
    np.testing.assert_allclose(spherical_kmeans(same, 3, 0), np.tile([[1.0, 0.0]], (3, 1)))


def test_corpora_without_a_class_give_nan_medians(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    part = described(tmp_path / "part", 60, where={"label": "calm"})
    found = prepared(replace(request, corpus=part.uri), SMALL)
    assert found["medians"].isnan().any(1).tolist() == [False, True, True]
