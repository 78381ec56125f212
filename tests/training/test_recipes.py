"""Schedules, rates of layers, losses, weights of classes, cadences: each against its formula."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from raysample import models
from raysample.core.config import Columns, EarlyStoppingConfig, FineTuneConfig, ModelConfig, SourceConfig
from raysample.core.errors import TrainingError
from raysample.data.corpus import Corpus, describe_source
from raysample.testing import Family, tiny_model, tiny_rows, tiny_tokenizer
from raysample.training import Examples, TrainingCurve, batches, learning_rate, schedule_training
from raysample.training.early_stopping import Patience, split_held_out
from raysample.training.fine_tuning import execute, load_examples, steps
from raysample.training.fine_tuning.rows import training_rows
from raysample.training.losses import class_weights, summed
from raysample.training.optimizer import adamw, set_rate
from raysample.training.step import Stepper
from tests.helpers.corpora import tiny_corpus
from tests.helpers.training_runs import a_job, curve, run


def test_a_cosine_begins_at_the_peak_and_ends_at_nothing() -> None:
    config = FineTuneConfig(learning_rate=2.0, warmup_ratio=0.2, schedule="cosine")
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[19] < rates[20] == 2.0
    assert rates[60] == pytest.approx(1.0)  # half-way between 20 and 100
    assert all(after < before for before, after in pairwise(rates[20:]))
    assert rates[99] == pytest.approx(1 + math.cos(math.pi * 79 / 80))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "gpt2", "modernbert"])
def test_layers_have_rates_in_geometric_progression(family: Family) -> None:
    network = tiny_model(family, labels=3, layers=3)
    config = FineTuneConfig(learning_rate=1.0, head_learning_rate=7.0, layer_decay=0.5)
    optimiser = adamw(network, config)
    set_rate(optimiser, 0.1)
    names = {parameter: name for name, parameter in network.named_parameters()}
    rates = {names[p]: group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert len(rates) == sum(parameter.requires_grad for parameter in network.parameters())
    prefix = network.base_model_prefix
    for name, rate in rates.items():
        expected = 0.1 * (7.0 if not name.startswith(prefix) else 0.5 ** depth(name))
        assert rate == pytest.approx(expected), name
    assert {round(rate, 6) for rate in rates.values()} == {0.7, 0.1, 0.05, 0.025, 0.0125}


def depth(name: str) -> int:
    """Return how many layers lie above a parameter of a model of three."""
    for layer in range(3):
        if f".{layer}." in name:
            return 2 - layer
    return 3 if "embed" in name or ".wte." in name or ".wpe." in name else 0


def test_a_decay_by_layers_that_nobody_can_find_is_refused() -> None:
    class Flat(torch.nn.Module):
        base_model_prefix = "inner"

        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(3, 3)

    with pytest.raises(TrainingError, match=r"layer_decay is 0\.9, .* do not tell their layers(.|\n)*layer_decay to 1"):
        adamw(Flat(), FineTuneConfig(layer_decay=0.9))


def test_a_smoothed_loss_is_that_of_smoothed_targets() -> None:
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 1])
    weights = np.array([1, 2, 0.5, 1, 3], np.float32)
    target = torch.full((5, 4), 0.2 / 4)
    target[range(5), labels] += 0.8
    each = -(target * logits.log_softmax(1)).sum(1)
    assert summed(logits, labels, None, 0.2).item() == pytest.approx(each.sum().item(), rel=1e-6)
    weighted = (each * torch.from_numpy(weights)).sum().item()
    assert summed(logits, labels, weights, 0.2).item() == pytest.approx(weighted, rel=1e-6)


def test_balanced_classes_weigh_alike_in_all() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    weights = class_weights("balanced", labels, ["a", "b", "c"])
    assert [weights[labels == c].sum() for c in range(3)] == pytest.approx([3.0] * 3)
    np.testing.assert_allclose(class_weights({"b": 2.5}, labels, ["a", "b", "c"]), [1] * 6 + [2.5] * 2 + [1])
    with pytest.raises(TrainingError, match=r"names 'd', which is no class of the corpus \(a, b, c\)"):
        class_weights({"d": 1.0}, labels, ["a", "b", "c"])


def test_weights_of_classes_change_the_training(tmp_path: Path) -> None:
    plain = a_job(tmp_path / "plain")
    name = Corpus.load(plain.train).labels[0]
    weighted = a_job(tmp_path / "weighted", class_weights={name: 9.0})
    for job in (plain, weighted):
        run(job)
    assert curve(plain)["loss"].to_pylist() != curve(weighted)["loss"].to_pylist()


def test_early_checkpoints_lie_in_geometric_progression() -> None:
    config = FineTuneConfig(epochs=2, batch_size=1, checkpoints=2, early_checkpoints=5)
    assert schedule_training(1024, config).save_at == (4, 16, 64, 256, 1024, 2048)
    few = FineTuneConfig(epochs=3, batch_size=32, checkpoints=1, early_checkpoints=50)
    assert schedule_training(320, few).save_at == (*range(1, 11), 30)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_order_can_be_entered_anywhere(grouped: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 9, 23) if grouped else None
    whole = [rows.tolist() for rows in batches(23, 4, 7, 20, lengths)]
    assert len(whole) == 20
    for start in range(21):
        assert [rows.tolist() for rows in batches(23, 4, 7, 20, lengths, start)] == whole[start:]


@pytest.mark.parametrize(
    ("metric", "values", "patience", "end"),
    [
        ("nll", [0.9, 0.8, 0.7, 0.6], 1, None),
        ("nll", [0.9, 0.8, 0.85, 0.1], 1, 3),
        ("accuracy", [0.5, 0.6, 0.6, 0.6, 0.7], 2, 4),
        ("accuracy", [0.5, 0.4, 0.6, 0.5, 0.4], 2, 5),
        ("macro_f1", [0.5, 0.505, 0.51], 1, 2),
    ],
)
def test_patience_ends_where_nothing_is_gained(
    metric: str, values: list[float], patience: int, end: int | None
) -> None:
    given = {"metric": metric, "patience": patience, "min_delta": 0.05 if metric == "macro_f1" else 0.0}
    watch = Patience(EarlyStoppingConfig.model_validate(given))
    ended = [epoch for epoch, value in enumerate(values, start=1) if watch.exhausted({metric: value})]
    assert (ended[0] if ended else None) == end


def test_rows_are_held_out_by_their_ids_alone(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    data = load_examples(job.train, Corpus.load(job.train).fingerprint, job.base, job.model)
    config = EarlyStoppingConfig(holdout=0.3)
    train, held = split_held_out(data, config, seed=1)
    assert len(train) + len(held) == len(data)
    assert 10 <= len(held) <= 30
    backwards = data.take(np.arange(len(data))[::-1].copy())
    assert set(split_held_out(backwards, config, seed=1)[1].ids) == set(held.ids)
    assert set(split_held_out(data, config, seed=2)[1].ids) != set(held.ids)
    with pytest.raises(TrainingError, match=r"of 1 training rows [01] would be held out"):
        split_held_out(data.take(np.array([0])), config, seed=1)


def test_a_run_that_is_stopped_leaves_its_last_step(tmp_path: Path) -> None:
    stopping = {"holdout": 0.3, "patience": 1, "metric": "accuracy", "min_delta": 1.0}
    job = a_job(tmp_path, epochs=5, checkpoints=2, early_stopping=stopping)
    outcome = execute(job)
    per_epoch = math.ceil(outcome.rows / 8)
    assert outcome.steps == 2 * per_epoch, "the second epoch brings no gain as large as 1"
    assert outcome.checkpoints[-1].step == outcome.steps
    assert outcome.rows < 67


def test_micro_batches_add_up_to_the_step(tmp_path: Path) -> None:
    whole, cut = a_job(tmp_path / "whole", dropout=0.0), a_job(tmp_path / "cut", dropout=0.0, micro_batch_size=3)
    for job in (whole, cut):
        run(job)
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(curve(whole)[name], curve(cut)[name], rtol=1e-3, atol=1e-5)


def test_overflowing_float16_is_told() -> None:
    """A loss scale that never gets small enough: every step is left out, and nothing is learnt."""
    classifier = tiny_model("bert", labels=3, seed=0)
    data = tiny_examples()
    config = FineTuneConfig(precision="float16", max_grad_norm=1.0)
    stepper = Stepper(classifier, adamw(classifier, config), config)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    # Halved 25 times it still is much too large.
    stepper.scaler.load_state_dict({**stepper.scaler.state_dict(), "scale": 1e38})
    for step in range(24):
        assert not math.isfinite(stepper(data, np.arange(4), step)[1])
    with pytest.raises(TrainingError, match=r"norm became (inf|nan) 25 times in a row(.|\n)*bfloat16 or float32"):
        stepper(data, np.arange(4), 24)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def tiny_examples() -> Examples:
    words, table = tiny_tokenizer(), tiny_rows(12)
    labels = table["label"].to_numpy().astype(np.int64)
    ids = np.array([str(i) for i in range(12)], object)
    return Examples(models.encode(words, table, ModelConfig(max_length=16)), labels, int(words.pad_token_id), ids)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"workers": [4, 2]}, "the fewest and the most"),
        ({"sharding": "full", "precision": "float16"}, "bfloat16 or float32"),
        ({"capture": True, "early_stopping": {}}, "use one"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FineTuneConfig.model_validate(wrong)


def test_means_of_a_curve() -> None:
    found = TrainingCurve([(i + 1, 0.0, float(i), 0.1 * i, 1.0, 0.0) for i in range(10)])
    assert found.means(3) == [(4, 1.5, pytest.approx(0.3)), (8, 5.5, pytest.approx(0.7)), (10, 8.5, pytest.approx(0.9))]
    assert len(found.means(100)) == 10
    assert TrainingCurve.from_table(found.table()) == found
    assert TrainingCurve().last == 0


def test_the_seconds_of_a_curve_are_those_of_all_its_processes() -> None:
    found = TrainingCurve(
        [(i + 1, 0.0, 1.0, 0.1, 1.0, seconds) for i, seconds in enumerate([1.0, 2.0, 0.5, 1.5, 0.25])]
    )
    assert found.seconds == 2.0 + 1.5 + 0.25
    assert TrainingCurve().seconds == 0


def test_early_stopping_goes_by_the_validation_rows_and_trains_on_all_others(tmp_path: Path) -> None:
    stopping = {"holdout": 0.3, "patience": 1, "metric": "accuracy", "min_delta": 1.0}
    job = a_job(tmp_path, epochs=5, checkpoints=2, early_stopping=stopping)
    other = tiny_corpus(tmp_path / "other", 40, seed=3, files=1, labels=None)
    job = replace(job, validation=other.uri)
    data, held_out = training_rows(job, Corpus.load(job.train))
    assert (len(data), steps(job)) == (67, 5 * 9)
    assert held_out is not None
    assert held_out.ids.tolist() == other.table()["row_id"].to_pylist()
    outcome = execute(job)
    assert (outcome.rows, outcome.steps) == (67, 2 * 9), "the second epoch brings no gain as large as 1"


def test_which_epoch_is_the_last_depends_on_the_validation_rows_alone(tmp_path: Path) -> None:
    stopping = {"patience": 1, "metric": "nll"}
    job = a_job(tmp_path, epochs=6, checkpoints=2, early_stopping=stopping)
    right = tiny_corpus(tmp_path / "right", 60, seed=3, files=1, labels=None)
    rows = pq.read_table(tmp_path / "right" / "files").to_pydict()
    # Labels moved by one class: what improves the one loss raises the other.
    rows["label"] = [right.labels[(right.labels.index(label) + 1) % 3] for label in rows["label"]]
    pq.write_table(pa.table(rows), tmp_path / "wrong.parquet")
    source = SourceConfig(path=str(tmp_path / "wrong.parquet"), columns=Columns(id="id"))
    wrong = describe_source(source, str(tmp_path / "wrong"), labels=right.labels)
    ends = [execute(replace(job, validation=corpus.uri, folder=None)).steps for corpus in (right, wrong)]
    assert ends[0] != ends[1]
