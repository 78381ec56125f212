"""Online capture: what is written is what the training computed, once per row and epoch, and scores fold over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from raysample import models
from raysample.core import storage
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import CheckpointError, ProvenanceError, ScoreError, TrainingError
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.evaluation import Evaluation
from raysample.influence.capture import check_captured_scores, fold_columns, score_capture
from raysample.influence.scores import SCORES, Score, create_scores
from raysample.influence.visits.artifacts import Artifacts
from raysample.training import DistributedContext, Examples, batches, capture, schedule_training
from raysample.training.capture import Capture, Recorder
from raysample.training.fine_tuning import Job, Outcome, execute, finish_job, load_examples
from raysample.training.length_balance import length_balanced_split
from tests.helpers import oracles
from tests.helpers.corpora import tiny_corpus

pytestmark = pytest.mark.slow

EPOCHS = 3
RECIPE = FineTuneConfig(
    epochs=EPOCHS,
    batch_size=16,
    learning_rate=5e-3,
    checkpoints=1,
    precision="float32",
    capture=True,
    weight_decay=0,
    warmup_ratio=0,
    schedule="constant",
    seed=3,
)
LOGITS_ONLY = [
    *("el2n", "aum", "forgetting", "confidence", "variability", "correctness"),
    {"name": "loss", "as": "last_loss"},
    {"name": "pvi", "null": "prior", "checkpoints": "all"},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """67 rows in two shards: the last batch of an epoch has three rows."""
    return tiny_corpus(tmp_path_factory.mktemp("rows"), 67, files=1, labels=None, shard_rows=40)


def job_of(corpus: Corpus, folder: Path, dropout: float, **recipe: Any) -> Job:
    spec = ModelConfig(hidden_size=16, vocabulary_size=200, max_length=16, dropout=dropout)
    base = models.prepare_base(spec, corpus, str(folder / "base"))
    config = RECIPE.model_copy(update=recipe)
    return Job(corpus.uri, corpus.uri, base, spec, config, folder=str(folder / "run"))


def fine_tuned(job: Job, workers: int = 1) -> CheckpointSet:
    """Let each worker train on its own share one after the other, without averaging, and finish."""
    outcomes = [execute(job, DistributedContext(rank, workers)) for rank in range(workers)]
    return finish_job(job, outcomes[0])


@dataclass(frozen=True)
class Presentation:
    row_id: str
    label: int
    epoch: int
    step: int
    logits: np.ndarray[Any, Any]


def by_hand(job: Job, corpus: Corpus, place: DistributedContext) -> Iterator[Presentation]:
    """Train with the plainest loop that there is and write down every row's logits as they are computed."""
    config, data = job.config, load_examples(job.train, corpus.fingerprint, job.base, job.model)
    core = models.build_model(job.base, job.model, corpus.labels, config.seed).train()
    optimiser = torch.optim.AdamW(core.parameters(), lr=config.learning_rate, weight_decay=0.0)
    per_epoch = -(-len(data) // config.batch_size)
    with torch.random.fork_rng(devices=[]):
        for step, rows in enumerate(batches(len(data), config.batch_size, config.seed, per_epoch * config.epochs)):
            drawn = np.random.SeedSequence([config.seed, step, place.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(drawn[0]) // 2)
            (mine,) = length_balanced_split(rows, data.encoded.lengths, place.rank, place.world)
            logits = core(**models.pad(data.encoded, mine, data.pad_id)).logits
            for row, found in zip(mine, logits.detach().numpy(), strict=True):
                yield Presentation(data.ids[row], int(data.labels[row]), step // per_epoch + 1, step + 1, found)
            optimiser.zero_grad()
            gold = torch.from_numpy(data.labels[mine])
            loss = torch.nn.functional.cross_entropy(logits, gold, reduction="sum") * (place.world / len(rows))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(core.parameters(), config.max_grad_norm)
            optimiser.step()


def stacked(seen: list[Presentation], corpus: Corpus) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return logits [epoch, row, C] in the corpus's order, and labels."""
    logits = {(one.row_id, one.epoch): one.logits for one in seen}
    ids = corpus.table()["row_id"].to_pylist()
    gold = {one.row_id: one.label for one in seen}
    return np.array([[logits[i, e] for i in ids] for e in range(1, EPOCHS + 1)]), np.array([gold[i] for i in ids])


def margins(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> list[float]:
    return [row[y] - max(np.delete(row, y)) for row, y in zip(logits, labels, strict=True)]


@pytest.mark.parametrize(("dropout", "workers"), [(0.0, 1), (0.3, 1), (0.3, 2)])
def test_captured_scores_are_those_of_a_plain_loop(
    dropout: float, workers: int, corpus: Corpus, tmp_path: Path
) -> None:
    job = job_of(corpus, tmp_path, dropout)
    trace = fine_tuned(job, workers)
    seen = [one for rank in range(workers) for one in by_hand(job, corpus, DistributedContext(rank, workers))]
    logits, labels = stacked(seen, corpus)
    found = score_capture(trace.uri, corpus, create_scores(LOGITS_ONLY))

    p = oracles.softmax(logits)[:, np.arange(len(labels)), labels]
    right = (logits.argmax(2) == labels).astype(int)
    expected = {
        "el2n": np.mean([oracles.el2n(one, labels) for one in logits], axis=0),
        "aum": np.mean([margins(one, labels) for one in logits], axis=0),
        "forgetting": oracles.forgetting(right.tolist()),
        "confidence": p.mean(0),
        "variability": p.std(0),
        "correctness": right.sum(0),
        "last_loss": -np.log(p[-1]),
        "pvi": np.log2(p).mean(0) - np.log2(np.bincount(labels) / len(labels))[labels],
    }
    assert list(found) == list(expected)
    for column, values in expected.items():
        np.testing.assert_allclose(found[column], values, rtol=2e-4, atol=2e-5, err_msg=column)
    assert len(np.unique(found["forgetting"])) > 1, "a training in which nothing is forgotten shows nothing"


def test_every_presentation_is_written_once_with_its_step(corpus: Corpus, tmp_path: Path) -> None:
    job = job_of(corpus, tmp_path, 0.3)
    trace = fine_tuned(job, workers=2)
    seen = {
        (one.row_id, one.epoch): one for rank in range(2) for one in by_hand(job, corpus, DistributedContext(rank, 2))
    }
    written = list(capture.presentations(trace.uri))
    assert [(at.epoch, at.step) for at, _ in written] == [(1.0, 5), (2.0, 10), (3.0, 15)]
    assert sum(len(rows) for _, rows in written) == len(seen) == EPOCHS * 67
    for at, rows in written:
        assert rows.schema.equals(pa.schema(capture.files.capture_schema(3)))
        assert rows["step"].to_pylist() == sorted(rows["step"].to_pylist())
        for row in rows.to_pylist():
            one = seen[row["row_id"], row["epoch"]]
            assert (row["label"], row["step"], row["epoch"]) == (one.label, one.step, at.epoch)
            np.testing.assert_allclose(row["logits"], one.logits, rtol=1e-3, atol=1e-4)


def test_capturing_changes_neither_the_training_nor_its_random_numbers(corpus: Corpus, tmp_path: Path) -> None:
    job = job_of(corpus, tmp_path, 0.3)
    with_it = fine_tuned(job)
    without = fine_tuned(
        replace(job, folder=str(tmp_path / "plain"), config=job.config.model_copy(update={"capture": False}))
    )
    assert with_it.metrics == without.metrics
    assert with_it.fingerprint == without.fingerprint
    assert not (tmp_path / "plain" / "capture").exists()
    with pytest.raises(ScoreError, match=r"captured no logits.*\n.*fine_tune\.capture: true"):
        capture.checkpoints(without.uri)


@pytest.fixture(scope="module")
def trace(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    return fine_tuned(job_of(corpus, tmp_path_factory.mktemp("run"), 0.1, group_by_length=True))


def test_the_manifest_tells_what_is_there(trace: CheckpointSet) -> None:
    found = Capture.load(trace.uri)
    assert (found.rows, found.classes, found.epochs, found.steps_per_epoch) == (67, 3, EPOCHS, 5)
    assert list(found.sha256) == [f"epoch-00{epoch}/rank-00.parquet" for epoch in (1, 2, 3)]
    found.verify()
    assert [c.epoch for c in capture.checkpoints(trace.uri)] == [1.0, 2.0, 3.0]
    planned = capture.passes(EPOCHS, 5)
    assert [(c.step, c.epoch) for c in planned] == [(c.step, c.epoch) for c in found.checkpoints]


def test_any_choice_and_order_of_rows_has_the_same_scores(
    trace: CheckpointSet, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = create_scores(LOGITS_ONLY)
    whole = score_capture(trace.uri, corpus, scores)
    table = corpus.table()
    rows = np.random.default_rng(0).permutation(67)[:31]
    monkeypatch.setattr("raysample.influence.capture.fold.CAPTURE_BLOCK_ROWS", 7)
    found = fold_columns(trace.uri, table["row_id"].take(pa.array(rows)), table["label"].to_numpy()[rows], scores)
    for column, values in whole.items():
        np.testing.assert_array_equal(found[column], values[rows])
    none = fold_columns(trace.uri, pa.array([], pa.string()), np.empty(0, np.int64), scores)
    assert {column: len(values) for column, values in none.items()} == dict.fromkeys(scores, 0)


def test_small_row_groups_hold_the_same(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(corpus, tmp_path, 0.0)
    scores = create_scores(LOGITS_ONLY)
    whole = score_capture(fine_tuned(job, 2).uri, corpus, scores)
    monkeypatch.setattr("raysample.training.capture.record.CAPTURE_BLOCK_ROWS", 5)
    cut = score_capture(fine_tuned(job, 2).uri, corpus, scores)
    for column in scores:
        np.testing.assert_array_equal(cut[column], whole[column])


def test_windows_go_by_epochs(trace: CheckpointSet, corpus: Corpus) -> None:
    first = {"name": "loss", "checkpoints": {"epochs": [1, 1]}, "as": "first"}
    found = score_capture(trace.uri, corpus, create_scores([first, "loss"]))
    epochs = [rows.sort_by("place") for _, rows in capture.presentations(trace.uri)]
    for column, rows in (("first", epochs[0]), ("loss", epochs[-1])):
        p = oracles.softmax(np.array(rows["logits"].to_pylist()))[np.arange(67), rows["label"].to_numpy()]
        np.testing.assert_allclose(found[column], -np.log(p), rtol=1e-5)
    late = create_scores([{"name": "variability", "checkpoints": {"epochs": [3, 9]}}])
    with pytest.raises(CheckpointError, match="needs 2 or more checkpoints"):
        score_capture(trace.uri, corpus, late)


def test_logits_that_are_not_finite_give_no_number(corpus: Corpus, tmp_path: Path) -> None:
    job = job_of(corpus, tmp_path, 0.0)
    data = load_examples(job.train, corpus.fingerprint, job.base, job.model)
    layout = schedule_training(67, job.config)
    recorder = Recorder(str(tmp_path), data, layout, 3)
    for step, rows in enumerate(batches(67, 16, 0, layout.steps), start=1):
        logits = torch.zeros(len(rows), 3)
        logits[torch.from_numpy(rows == 5)] = torch.nan
        recorder(rows, logits, step)
    capture.seal_capture(str(tmp_path), 67, 3, layout)
    for column, values in score_capture(str(tmp_path), corpus, create_scores(LOGITS_ONLY)).items():
        assert np.flatnonzero(np.isnan(values)).tolist() == [5], column


class ByRate(Score[Tensor]):
    """Sums learning rates, as no score of ours with logits alone does yet."""

    name: ClassVar[str] = "by_rate"
    higher_is: ClassVar[Literal["harder", "easier"]] = "harder"

    def init(self) -> Tensor:
        return torch.zeros(1)

    def fold(self, state: Tensor, seen: Artifacts, at: Checkpoint) -> Tensor:
        return state + at.learning_rate * seen.logits[:, 0]

    def value(self, state: Tensor) -> Tensor:
        return state


def test_scores_that_need_more_than_logits_are_refused_by_name() -> None:
    with pytest.raises(ScoreError, match=r"'grads' needs EMBEDDING_GRADS.*\n.*score\.source: checkpoints"):
        check_captured_scores(create_scores(["el2n", {"name": "vog", "as": "grads"}]))
    with pytest.raises(ScoreError, match="'by_rate' needs learning rates"):
        check_captured_scores({"by_rate": ByRate()})
    check_captured_scores(create_scores(LOGITS_ONLY))


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_either_folded_or_refused(name: str, trace: CheckpointSet, corpus: Corpus) -> None:
    pointed = {"target": "clean"} if "target" in {option.name for option in fields(SCORES[name])} else {}
    scores = create_scores([{"name": name, "checkpoints": "all", **pointed}])
    try:
        check_captured_scores(scores)
    except ScoreError:
        return
    assert np.isfinite(score_capture(trace.uri, corpus, scores)[name]).all()


def test_rows_of_another_training_are_refused(trace: CheckpointSet, corpus: Corpus) -> None:
    scores = create_scores(["loss"])
    table = corpus.table()
    with pytest.raises(ScoreError, match=r"1 of 2 rows were never presented.*'elsewhere'(.|\n)*fine-tuned on"):
        fold_columns(trace.uri, pa.array([table["row_id"][0].as_py(), "elsewhere"]), np.zeros(2, np.int64), scores)
    wrong = (table["label"].to_numpy().astype(np.int64) + 1) % 3
    with pytest.raises(ProvenanceError, match="other row ids or labels than the scored rows"):
        fold_columns(trace.uri, table["row_id"], wrong, scores)


def recorded(folder: Path, data: Examples, steps: list[np.ndarray[Any, Any]], ranks: int = 1) -> Recorder:
    recorder = Recorder(str(folder), data, schedule_training(len(data), FineTuneConfig(epochs=1, batch_size=16)), 3)
    for step, rows in enumerate(steps, start=1):
        recorder(rows, torch.zeros(len(rows), 3), step)
    return recorder


def test_a_row_that_is_missing_or_comes_twice_is_an_error(corpus: Corpus, tmp_path: Path) -> None:
    job = job_of(corpus, tmp_path, 0.0)
    data = load_examples(job.train, corpus.fingerprint, job.base, job.model)
    epoch = list(batches(67, 16, 0, 5))
    layout = schedule_training(67, FineTuneConfig(epochs=1, batch_size=16))
    with pytest.raises(TrainingError, match=r"came twice in one epoch, at the steps 1 and 2(.|\n)*do not use the run"):
        recorded(tmp_path, data, [epoch[0], epoch[0]])
    recorded(tmp_path, data, [*epoch[:4], epoch[4][:-1]])
    with pytest.raises(TrainingError, match=r"epoch 1 holds 66 presentations of 66 rows(.|\n)*fine-tune again"):
        capture.seal_capture(str(tmp_path), 67, 3, layout)
    assert not (tmp_path / "capture" / "capture.json").exists()


def test_an_epoch_cut_short_is_left_out_and_one_at_least_must_be_whole(corpus: Corpus, tmp_path: Path) -> None:
    job = replace(job_of(corpus, tmp_path, 0.0), steps=8)
    assert Capture.load(fine_tuned(job).uri).epochs == 1
    with pytest.raises(TrainingError, match=r"4 steps are less than an epoch \(5 steps\)(.|\n)*fine_tune\.capture"):
        execute(replace(job, steps=4))


def test_a_damaged_capture_is_noticed(trace: CheckpointSet, tmp_path: Path) -> None:
    storage.filesystem(trace.uri)[0].cp(f"{trace.uri}/capture", str(tmp_path / "capture"), recursive=True)
    broken = tmp_path / "capture" / "epoch-002" / "rank-00.parquet"
    broken.write_bytes(broken.read_bytes()[:-1] + b"x")
    with pytest.raises(ScoreError, match=r"epoch-002/rank-00\.parquet.*changed(.|\n)*fine-tune again"):
        Capture.load(str(tmp_path)).verify()


def test_a_capture_on_an_object_store_reads_as_one_on_disk(trace: CheckpointSet, corpus: Corpus) -> None:
    fs = storage.filesystem("memory://captured")[0]
    for name in storage.list_files(f"{trace.uri}/capture"):
        fs.pipe(f"/captured/{name.removeprefix(trace.uri).lstrip('/')}", Path(name).read_bytes())
    scores = create_scores(LOGITS_ONLY)
    there = score_capture("memory://captured", corpus, scores)
    for column, values in score_capture(trace.uri, corpus, scores).items():
        np.testing.assert_array_equal(there[column], values)


def test_an_outcome_says_how_many_workers_captured() -> None:
    plain = Outcome(rows=1, steps=1, evaluation=Evaluation({}, ()), seconds=0.0)
    assert plain.workers == 1
