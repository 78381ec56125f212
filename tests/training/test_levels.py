"""Training and testing several heads: the loss, what each head learns, metrics of every level, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from raysample import models
from raysample.core import storage
from raysample.core.config import Columns, FineTuneConfig, ModelConfig, SourceConfig
from raysample.core.errors import ProvenanceError, TrainingError
from raysample.data.corpus import Corpus, Levels, describe_source
from raysample.testing import tiny_texts
from raysample.training import assess, schedule_training, train
from raysample.training.capture import presentations
from raysample.training.fine_tuning import Job, execute, finish_job, load_examples
from raysample.training.levels import LevelLabels, level_metrics, over_levels, trained

LEVELS = Levels(("domain", "intent"), (("home", "music"), ("off", "on", "play")), 0)


def labels_of(codes: list[list[int]], weights: tuple[float, ...] = (1.0, 1.0)) -> LevelLabels:
    return LevelLabels(LEVELS, np.array(codes, np.int64), weights)


def test_the_loss_is_the_weighted_sum_over_the_levels() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    codes = [[0, 2], [1, 0], [1, 1], [0, 0]]
    rows = np.array([3, 1])
    found = over_levels(
        lambda z, y: nn.functional.cross_entropy(z, y, reduction="sum"), logits[:2], labels_of(codes, (1.0, 0.25)), rows
    )
    expected = 0.0
    for place, row in enumerate(rows):
        domain, intent = codes[row]
        expected -= float(logits[place, :2].log_softmax(0)[domain])
        expected -= 0.25 * float(logits[place, 2:].log_softmax(0)[intent])
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_metrics_of_every_level_by_hand() -> None:
    """Domains right in rows 0, 1, 2; intents in rows 0, 2, 3; both in rows 0 and 2."""
    domains = [0, 1, 1, 1]
    intents = [2, 0, 1, 0]
    told = [(0, 2), (1, 1), (1, 1), (0, 0)]
    logits = np.zeros((4, 5))
    for row, (domain, intent) in enumerate(told):
        logits[row, domain] = logits[row, 2 + intent] = 3.0
    found = level_metrics(logits, labels_of([list(pair) for pair in zip(domains, intents, strict=True)]))
    assert found["domain_accuracy"] == 0.75
    assert found["intent_accuracy"] == 0.75
    assert found["exact_match"] == 0.5
    # domain: home 2·1/(1+2), music 2·2/(3+2); intent: off 2·1/(2+1), on 2·1/(1+2), play 1
    assert found["domain_macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["intent_macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def corpus_of(folder: Path, seed: int, like: Corpus | None = None, label: str = "topic", rows: int = 240) -> Corpus:
    """Describe tiny texts with a coarse topic and the fine label of `tiny_texts`."""
    texts, fine = tiny_texts(rows, seed)
    data = {
        "id": [f"{seed}-{i}" for i in range(rows)],
        "text": texts,
        "topic": ["still" if found == 0 else "moving" for found in fine],
        "kind": [("calm", "quick", "round")[found] for found in fine],
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(data), folder / "rows.parquet")
    columns = Columns(id="id", label=label, levels=["topic", "kind"])
    source = SourceConfig(path=str(folder / "rows.parquet"), columns=columns)
    known: dict[str, Any] = {} if like is None else {"labels": like.labels, "levels": like.levels}
    return describe_source(source, str(folder / "corpus"), **known)


SPEC = ModelConfig(hidden_size=16, vocabulary_size=150, max_length=16, dropout=0)
RECIPE = FineTuneConfig(epochs=5, batch_size=12, learning_rate=1e-2, checkpoints=2, precision="float32", capture=True)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus, str]:
    folder = tmp_path_factory.mktemp("levels")
    first = corpus_of(folder / "train", 0)
    return first, corpus_of(folder / "test", 1, first), models.prepare_base(SPEC, first, str(folder / "base"))


def job_of(corpora: tuple[Corpus, Corpus, str], folder: Path | None, **recipe: Any) -> Job:
    first, second, base = corpora
    config = RECIPE.model_copy(update=recipe)
    return Job(first.uri, second.uri, base, SPEC, config, folder=None if folder is None else str(folder), key="k")


def test_one_head_per_level_learns_and_is_tested_at_each(corpora: tuple[Corpus, Corpus, str], tmp_path: Path) -> None:
    outcome = execute(job := job_of(corpora, tmp_path / "run"))
    metrics = outcome.evaluation.metrics
    assert metrics["topic_accuracy"] == metrics["accuracy"] > 0.85
    assert metrics["topic_macro_f1"] == metrics["macro_f1"]
    assert metrics["kind_accuracy"] > 0.5, "a third would be chance"
    assert metrics["exact_match"] <= min(metrics["kind_accuracy"], metrics["topic_accuracy"])
    assert len(outcome.evaluation.recall) == 2
    trace = finish_job(job, outcome)
    assert trace.labels == corpora[0].labels == ("moving", "still")
    every: Any = models.load_model(trace.checkpoints[-1].uri, levels=True)
    scored: Any = models.load_model(trace.checkpoints[-1].uri)
    assert (every.config.num_labels, scored.config.num_labels) == (5, 2)
    assert len(next(iter(presentations(trace.uri)))[1]["logits"][0]) == 2, (
        "the capture holds the logits of the scored level"
    )


def test_the_label_alone_trains_a_plain_classifier(corpora: tuple[Corpus, Corpus, str], tmp_path: Path) -> None:
    outcome = execute(job := job_of(corpora, tmp_path / "run", levels="label", epochs=1, capture=False))
    assert not [name for name in outcome.evaluation.metrics if name.startswith(("topic", "kind", "exact"))]
    trace = finish_job(job, outcome)
    assert not (Path(trace.checkpoints[-1].uri) / models.heads.HEADS_FILE).exists()


def test_weights_of_levels_come_from_the_recipe(corpora: tuple[Corpus, Corpus, str]) -> None:
    first, _, base = corpora
    data = load_examples(first.uri, first.fingerprint, base, SPEC)
    weighted = data.headed(FineTuneConfig(level_weights={"kind": 0.5})).levels
    assert weighted is not None
    assert weighted.weights == (1.0, 0.5)
    assert data.headed(FineTuneConfig(levels="label")).levels is None


def test_weights_of_rows_count_at_every_level(corpora: tuple[Corpus, Corpus, str]) -> None:
    """Other labels of rows with weight 0 change nothing, at no level."""
    first, _, base = corpora
    data = load_examples(first.uri, first.fingerprint, base, SPEC).take(np.arange(8))
    weights = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.float32)
    config = FineTuneConfig(
        epochs=1, batch_size=8, learning_rate=1e-2, weight_decay=0, precision="float32", warmup_ratio=0
    )
    changed = data.levels
    assert changed is not None
    codes = changed.codes.copy()
    codes[4:] = (codes[4:] + 1) % np.array(changed.levels.sizes)
    found = []
    for levels in (changed, replace(changed, codes=codes)):
        network = models.build_model(base, SPEC, first.labels, 0, first.levels)
        train(network, replace(data, weights=weights, levels=levels), config, schedule_training(8, config))
        found.append(assess(network, replace(data, levels=changed)).metrics)
    assert found[0] == found[1]


def test_what_does_not_fit_is_refused(corpora: tuple[Corpus, Corpus, str], tmp_path: Path) -> None:
    first, _, base = corpora
    with pytest.raises(TrainingError, match="names 'slot', and the levels that get a head are: topic, kind"):
        trained(first, FineTuneConfig(level_weights={"slot": 2.0}))
    with pytest.raises(TrainingError, match=r"set fine_tune\.levels: all; or leave level_weights out"):
        trained(first, FineTuneConfig(levels="label", level_weights={"kind": 2.0}))
    other = corpus_of(tmp_path / "other", 1, label="kind")
    job = replace(job_of(corpora, None, capture=False), test=other.uri)
    with pytest.raises(ProvenanceError, match="describe it with labels and levels of the training corpus"):
        execute(job)
    assert storage.exists(base)
    clash = replace(first, levels=Levels(("rare_class", "kind"), LEVELS.classes, 0))
    with pytest.raises(TrainingError, match="'rare_class', and rare_class_accuracy is a metric of its own"):
        trained(clash, FineTuneConfig())
    assert trained(clash, FineTuneConfig(levels="label")) is None
