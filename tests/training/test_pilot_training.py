"""A training of a pilot starts at the probe of its selection, and goes on from there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import TrainingError
from raysample.models.sentence_vectors import SentenceEncoder
from raysample.selection.probe.fitting import fit_probes, judge_probes, probe_rows, strength_part
from raysample.testing.tiny import tiny_texts
from raysample.training.pilot_training import PilotTraining
from tests.helpers.model_folders import saved

STILL = FineTuneConfig(epochs=1, learning_rate=1e-12)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> PilotTraining:
    """Return a training on half of 90 rows, with 60 other rows to judge."""
    home = tmp_path_factory.mktemp("pilot")
    draw = np.random.default_rng(0)
    texts, truth = tiny_texts(150)
    labels = np.where(draw.random(150) < 0.2, draw.integers(0, 3, 150), truth)
    rows = {"row_id": [f"r{i}" for i in range(150)], "text": texts, "text_pair": pa.nulls(150, pa.string())}
    pq.write_table(pa.table({**rows, "label": labels}), home / "rows.parquet")
    weights = (draw.random((2, 90)) < 0.5).astype(np.float32)
    model = ModelConfig(path=saved(home / "encoder"), max_length=24)
    names = ("one", "two", "three")
    return PilotTraining(str(home / "rows.parquet"), names, model, STILL, np.arange(90), weights, np.arange(90, 150), 3)


def test_the_head_starts_at_the_probe(training: PilotTraining) -> None:
    rows = pq.read_table(training.rows)
    labels = rows["label"].to_numpy()
    vectors = SentenceEncoder.load(training.model).vectors(rows["text"].to_pylist()).astype(np.float32)
    probed = probe_rows(vectors[:90], labels[:90], 3)
    fit = fit_probes(probed, training.weights, strength_part(90, training.seed))
    unseen = replace(probed, features=probed.placed(vectors[90:]), labels=probed.labels.new_tensor(labels[90:]))
    expected = judge_probes(fit, unseen)
    found = training()
    # The encoder's vectors of the probe are float16 here.
    np.testing.assert_allclose(found.loss, expected.loss[1], atol=0.02)
    assert np.abs(expected.loss[0] - expected.loss[1]).max() > 0.05  # another selection is another probe


def test_training_moves_on_from_the_probe_and_is_the_same_again(training: PilotTraining) -> None:
    kept = np.flatnonzero(training.weights[1])
    still = replace(training, judged=kept)
    moving = replace(still, recipe=FineTuneConfig(epochs=3, learning_rate=1e-3, batch_size=8))
    one, other = moving(), moving()
    assert one.loss.mean() < still().loss.mean()  # of the rows that it trains on
    assert np.array_equal(one.loss, other.loss)
    assert np.array_equal(one.predicted, other.predicted)
    assert one.seconds_per_row > 0
    assert not np.array_equal(one.loss, replace(moving, seed=4)().loss)


def test_a_class_of_the_recipe_that_is_unknown_is_named(training: PilotTraining) -> None:
    recipe = FineTuneConfig(class_weights={"four": 2.0})
    with pytest.raises(TrainingError, match="four"):
        replace(training, recipe=recipe)()
