"""What a fine-tuning tells of its test, its tokens and its model: to storage, the tracker, the terminal, the report."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample import models
from raysample.core import storage
from raysample.core.config import Columns, FineTuneConfig, ModelConfig, SourceConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus, describe_source
from raysample.evaluation import Evaluation
from raysample.training import load_tokenized
from raysample.training.fine_tuning import EVALUATION, Job, Outcome, execute, finish_job
from raysample.workflow import training_results

pytestmark = pytest.mark.slow

WORDS = ("lamp", "song", "rain")
LONG = " and then once more in the evening"


def texts(count: int, start: int = 0) -> list[str]:
    return [f"{WORDS[i % 3]} number {i + start}{LONG if i % 3 == 0 else ''}" for i in range(count)]


def corpus(folder: Path, name: str, rows: list[tuple[str, str, str | None]], labels: Any = None) -> Corpus:
    path = folder / f"{name}.parquet"
    columns = list(zip(*rows, strict=True))
    pq.write_table(pa.table(dict(zip(("text", "label", "room"), columns, strict=True))), path)
    return describe_source(
        SourceConfig(path=str(path), columns=Columns(group="room")), str(folder / name), labels=labels
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two classes of 45 and 50 training rows and a rare one of 5; test texts that training has, and new ones."""
    folder = tmp_path_factory.mktemp("outcomes")
    train = [(text, WORDS[0], "hall") for text in texts(45)] + [(text, WORDS[1], "den") for text in texts(50, 100)]
    train += [(text, WORDS[2], None) for text in texts(5, 200)]
    test = [(text, WORDS[0], "hall") for text in texts(6)] + [(text, WORDS[1], None) for text in texts(4, 500)]
    test += [(text, WORDS[2], "den") for text in [*texts(3, 700), *texts(1, 700)]]
    one = corpus(folder, "train", train)
    other = corpus(folder, "test", test, one.labels)
    spec = ModelConfig(hidden_size=8, vocabulary_size=200, max_length=8, layers=1)
    base = models.prepare_base(spec, one, str(folder / "base"))
    recipe = FineTuneConfig(epochs=1, checkpoints=1, learning_rate=1e-2, seed=4)
    return Job(one.uri, other.uri, base, spec, recipe, folder=str(folder / "run"))


@pytest.fixture(scope="module")
def outcome(job: Job) -> Outcome:
    return training_results.load_outcome(finish_job(job, execute(job)))


def test_what_is_rare_is_told_by_the_training_rows_and_by_both_corpora(job: Job, outcome: Outcome) -> None:
    found, labels = outcome.evaluation, Corpus.load(job.train).labels
    assert [labels[c] for c in found.rare] == [WORDS[2]]
    # Of 14 test texts 6 lie in training and one is there twice: 4 + 2 were seen once.
    expected = {"rows": 14, "groups": 2, "rare_classes": 1, "rare_class_rows": 4, "rare_content_rows": 6}
    # The other test texts differ from training texts in their numbers alone.
    assert found.counts == {**expected, "new_text_rows": 0}
    assert [(group.name, group.rows) for group in found.groups] == [("den", 4), ("hall", 6)]
    assert sum(found.class_rows) == 14
    train, test = (
        load_tokenized(uri, Corpus.load(uri).fingerprint, job.base, job.model) for uri in (job.train, job.test)
    )
    assert sorted(test.seen(train).tolist()) == [1] * 6 + [2] * 8


def test_truncation_and_model_are_recorded(job: Job, outcome: Outcome) -> None:
    assert isinstance(job.folder, str)
    told = json.loads(Path(storage.join(job.folder, EVALUATION)).read_text())
    assert told["record"] == outcome.record
    train, made = outcome.record["tokens"]["train"], outcome.record["model"]
    assert (train["rows"], train["max_length"]) == (100, 8)
    # Every third text is long; of the 45, 50 and 5 rows these are 15, 17 and 2.
    assert train["cut"] == 15 + 17 + 2
    assert (made["layers"], made["hidden_size"], made["seed"], made["encoder"]) == (1, 8, 4, "drawn")
    assert made["parameters"] == made["trainable_parameters"] > made["head_parameters"] > 0


def test_the_tracker_gets_every_figure_under_a_name_of_its_own(outcome: Outcome) -> None:
    found = training_results.figures(outcome)
    assert {"test_acc", "test_acc_low", "test_acc_high", "test_rare_class_accuracy", "test_nll_low"} <= set(found)
    assert found["train_truncated_share"] == 0.34
    assert 0 < found["train_tokens_lost_share"] < 0.34
    assert found["parameters"] == outcome.record["model"]["parameters"]
    assert found["test_acc_low"] <= found["test_acc"] <= found["test_acc_high"]


def test_the_terminal_is_told_what_deserves_a_line(outcome: Outcome) -> None:
    assert training_results.training_headline(outcome).startswith("test accuracy 0.")
    assert "], macro-F1 0." in training_results.training_headline(outcome)
    rare, once, train, test = training_results.training_remarks(outcome)
    assert rare.startswith("1 rare class (4 test rows): accuracy ")
    assert once.startswith("texts seen once (6 test rows): accuracy ")
    assert train.startswith("34.0% of the training rows are longer than model.max_length 8 and lose ")
    assert "keep 95 % of the rows whole" in train
    assert "test rows are longer" in test


def test_an_outcome_survives_storage(outcome: Outcome) -> None:
    again = Outcome.from_dict(json.loads(json.dumps(outcome.to_dict(), allow_nan=False)))
    assert again.to_dict() == outcome.to_dict()


def test_an_outcome_without_intervals_and_record_has_plain_figures() -> None:
    plain = Outcome(5, 2, Evaluation({"accuracy": 0.5, "macro_f1": 0.5}, (0.5, math.nan)), 1.0)
    assert training_results.figures(plain) == {"test_acc": 0.5, "test_macro_f1": 0.5}
    assert training_results.training_headline(plain) == "test accuracy 0.5000, macro-F1 0.5000"
    assert training_results.training_remarks(plain) == []


def test_validation_is_told_in_place_of_the_test_until_the_comparison(outcome: Outcome) -> None:
    chosen = replace(outcome.evaluation, metrics={**outcome.evaluation.metrics, "accuracy": 0.25}, intervals={})
    both = replace(outcome, validation=chosen)
    assert training_results.training_headline(both).startswith("validation accuracy 0.2500, ")
    assert training_results.training_remarks(both)[0].startswith("1 rare class (4 validation rows): ")
    early, late = (training_results.figures(both, tested=tested) for tested in (False, True))
    assert early["validation_acc"] == late["validation_acc"] == 0.25
    assert late["test_acc"] == outcome.evaluation.metrics["accuracy"]
    assert [name for name in early if name.startswith("test_") and "truncated" not in name and "lost" not in name] == []
    assert Outcome.from_dict(json.loads(json.dumps(both.to_dict(), allow_nan=False))).to_dict() == both.to_dict()


def test_the_report_is_told_of_runs_that_were_tested_and_of_no_others(job: Job, tmp_path: Path) -> None:
    assert isinstance(job.folder, str)
    trace = CheckpointSet.load(job.folder)
    told = training_results.report_training(trace)
    assert set(told) == {"evaluation", "tokens", "model"}
    assert (told["evaluation"]["seed"], told["evaluation"]["rows"]) == (4, 100)
    assert training_results.report_training(replace(trace, uri=str(tmp_path))) == {}
