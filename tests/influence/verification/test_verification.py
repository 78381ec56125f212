"""`raysample verify`: sound tables pass, a wrong number is found, and the slow twin is what it claims to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from raysample.cli import main
from raysample.core import storage
from raysample.core.config import LandmarksConfig, ModelConfig, ScoreConfig
from raysample.core.errors import ConfigError, ProvenanceError, ScoreError, UnsupportedModelError
from raysample.core.numerics.forward_hooks import embedding_module
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.influence.scores import SCORES as REGISTRY
from raysample.influence.shards import ScoreJob
from raysample.influence.verification import Verification, collect_slowly, compare_column, verify_table
from raysample.influence.verification.slow_columns import CaptureTwin
from raysample.influence.verification.verify import draw
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.visit import collect
from raysample.testing import FAMILIES, Family, tiny_batch, tiny_model
from tests.helpers import oracles
from tests.helpers.configs import small_corpus, write_config

pytestmark = pytest.mark.slow

SCORES: list[Any] = [
    *("vog", "el2n", "forgetting", "knn_label_disagreement"),
    {"name": "grand", "checkpoints": "all"},
    {"name": "pvi", "null": "prior"},
    {"name": "influence", "target": "held_out"},
]
CAPTURED = ["aum", "forgetting", {"name": "pvi", "null": "prior", "checkpoints": "all"}]


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tune with capture, score 200 rows in four parts, and return the configuration."""
    folder = tmp_path_factory.mktemp("verified")
    target = {"path": str(small_run / "test.parquet"), "columns": {"id": "id"}}
    path = write_config(
        folder,
        small_run,
        corpus=small_corpus(small_run, shard_rows=60),
        model={"hidden_size": 16, "vocabulary_size": 200, "max_length": 16, "freeze": ["embeddings"]},
        fine_tune={"epochs": 2, "learning_rate": 5e-3, "checkpoints": 3, "capture": True},
        score={"scores": SCORES, "targets": {"held_out": target}},
        compare={},
    )
    assert main.main(["fine-tune", str(path)]) == 0
    assert main.main(["score", str(path)]) == 0
    return path


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Callable[[], tuple[str, Path]]:
    """Return a function that copies the run; it gives the override for its `output`, and the copied table."""

    def copy() -> tuple[str, Path]:
        shutil.copytree(run.parent / "runs", tmp_path / "runs")
        return f"output={tmp_path / 'runs'}", tmp_path / "runs" / "small" / "scores"

    return copy


def change(table: Path, column: str, wrong: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> None:
    """Change a column of the first part, and nothing else."""
    part = table / ScoreTable.load(str(table)).parts[0]
    rows = pq.read_table(part)
    values = wrong(rows[column].to_numpy().copy())
    place = rows.schema.get_field_index(column)
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array(values, pa.float32())), part)


def verdicts(table: Path) -> dict[str, bool]:
    return {check.column: check.passed for check in Verification.load(str(table)).checks}


def test_a_sound_table_passes_and_the_result_lies_beside_it(
    run: Path, copied: Callable[[], tuple[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    output, table = copied()
    assert main.main(["verify", str(run), output, "--rows", "20", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "20 rows, scored again one by one in float64" in said
    assert "out of bounds" not in said
    assert str(table / "verification.json") in said
    stored = json.loads((table / "verification.json").read_text())
    assert (stored["rows"], stored["seed"], stored["precision"], stored["passed"]) == (20, 3, "float32", True)
    assert stored["table"] == ScoreTable.load(str(table)).made_by["key"]
    assert {"raysample", "torch", "transformers", "numpy", "python"} <= set(stored["versions"])
    found = Verification.load(str(table))
    assert [check.column for check in found.checks] == list(ScoreTable.load(str(table)).columns)
    assert json.loads(json.dumps(found.to_dict())) == stored
    by_name = {check.column: check for check in found.checks}
    assert 0 < by_name["vog"].relative < 1e-3, "another arithmetic never gives the very same number"
    assert 0 < by_name["influence"].relative < 1e-3
    assert by_name["forgetting"].differing == 0


def test_one_wrong_number_is_found(
    run: Path, copied: Callable[[], tuple[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    output, table = copied()

    def one(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        values[np.argmax(values)] *= 1.01
        return values

    change(table, "grand", one)
    assert main.main(["verify", str(run), output, "--rows", "1000"]) == 1
    assert "out of bounds" in capsys.readouterr().out
    assert [column for column, passed in verdicts(table).items() if not passed] == ["grand"]
    check = next(check for check in Verification.load(str(table)).checks if check.column == "grand")
    assert check.rows == 200
    assert check.relative == pytest.approx(0.01, rel=0.01)


def test_counts_that_are_off_by_one_and_shuffled_rows_are_found(
    run: Path, copied: Callable[[], tuple[str, Path]]
) -> None:
    output, table = copied()
    change(table, "forgetting", lambda values: values + (np.arange(len(values)) < 30))
    change(table, "el2n", np.flip)
    assert main.main(["verify", str(run), output, "--rows", "40"]) == 1
    assert [column for column, passed in verdicts(table).items() if not passed] == ["el2n", "forgetting"]


def test_a_table_of_another_configuration_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", str(run), "score.scores=[loss]"]) == 2
    assert "run `raysample score` with this configuration first" in capsys.readouterr().err
    assert main.main(["verify", str(run), "fine_tune.epochs=5"]) == 2
    assert "belongs to another configuration: fine_tune.epochs was 2 and is 5 now" in capsys.readouterr().err
    assert main.main(["verify", str(run), "name=elsewhere"]) == 2
    assert "run `raysample" in capsys.readouterr().err


def test_captured_scores_are_verified_from_the_capture(run: Path, copied: Callable[[], tuple[str, Path]]) -> None:
    output, table = copied()
    given = [str(run), output, "score.source=capture", f"score.scores={json.dumps(CAPTURED)}", "score.targets={}"]
    assert main.main(["score", *given]) == 0
    assert main.main(["verify", *given, "--rows", "50"]) == 0
    assert list(verdicts(table)) == ["aum", "forgetting", "pvi"]
    change(table, "aum", lambda values: values + 0.1)
    assert main.main(["verify", *given, "--rows", "50"]) == 1
    assert verdicts(table) == {"aum": False, "forgetting": True, "pvi": True}


def job_of(run: Path, **changes: Any) -> tuple[ScoreTable, ScoreJob]:
    space = run.parent / "runs" / "small"
    config = yaml.safe_load(run.read_text())
    table = ScoreTable.load(str(space / "scores"))
    job = ScoreJob(
        corpus=str(space / "corpus" / "train"),
        checkpoint_sets=(str(space / "checkpoints" / "seed-0"),),
        config=ScoreConfig.model_validate(config["score"]),
        model=ModelConfig.model_validate(config["model"]),
        folder=str(space / "scores" / "parts"),
        references=str(space / "scores" / "references"),
        targets={"held_out": str(space / "scores" / "targets" / "held_out")},
    )
    return table, replace(job, **changes)


def test_the_sample_is_seeded_and_joined_by_row_id(run: Path) -> None:
    table, job = job_of(run)
    corpus = Corpus.load(job.corpus)
    rows, stored = draw(table, corpus, ("vog", "el2n"), 30, seed=1)
    again, _ = draw(table, corpus, ("vog", "el2n"), 30, seed=1)
    other, _ = draw(table, corpus, ("vog", "el2n"), 30, seed=2)
    assert rows["row_id"].to_pylist() == again["row_id"].to_pylist() != other["row_id"].to_pylist()
    frame, texts = table.to_pandas().set_index("row_id"), corpus.table().to_pandas().set_index("row_id")
    for i, row in enumerate(rows.to_pylist()):
        assert stored["vog"][i] == frame["vog"][row["row_id"]]
        assert row["text"] == texts["text"][row["row_id"]]
    everything, _ = draw(table, corpus, ("vog",), 10_000, seed=1)
    assert len(set(everything["row_id"].to_pylist())) == len(everything) == 200


def test_what_is_predicted_from_landmarks_is_left_out(run: Path) -> None:
    table, job = job_of(run)
    config = job.config.model_copy(update={"landmarks": LandmarksConfig(scores=["vog", "grand"], count=100)})
    found = verify_table(table, replace(job, config=config), rows=3)
    assert found.left_out == ("vog", "grand")
    assert "vog" not in {check.column for check in found.checks}
    everything = job.config.model_copy(update={"landmarks": LandmarksConfig(scores=list(table.columns), count=100)})
    with pytest.raises(ConfigError, match=r"nothing to verify(.|\n)*score\.landmarks\.scores"):
        verify_table(table, replace(job, config=everything), rows=3)
    with pytest.raises(ConfigError, match=r"nothing to verify in 0 rows(.|\n)*--rows of 1 or more"):
        verify_table(table, job, rows=0)


def test_other_things_than_those_that_made_the_table_are_refused(run: Path) -> None:
    table, job = job_of(run)
    with pytest.raises(ProvenanceError, match=r"made from other corpus(.|\n)*or score again"):
        verify_table(table, replace(job, corpus=job.corpus.replace("train", "test")))
    with pytest.raises(ProvenanceError, match="made from other checkpoints"):
        verify_table(table, replace(job, checkpoint_sets=job.checkpoint_sets * 2))
    renamed = replace(table, corpus=Corpus.load(job.corpus.replace("train", "test")).fingerprint)
    with pytest.raises(ProvenanceError, match=r"sampled rows of the table are not in the corpus(.|\n)*score again"):
        draw(renamed, Corpus.load(job.corpus.replace("train", "test")), ("vog",), 9, 0)


def test_runs_are_averaged(run: Path) -> None:
    """The same run twice has the mean of itself."""
    table, job = job_of(run)
    trace = storage.read_json(f"{job.checkpoint_sets[0]}/checkpoints.json")
    assert trace["noun"] == "CheckpointSet"
    twice = replace(table, checkpoints=storage.fingerprint([table.checkpoints] * 2))
    assert verify_table(twice, replace(job, checkpoint_sets=job.checkpoint_sets * 2), rows=3).passed


ALL = Need.LOGITS | Need.FEATURES | Need.GRAD_NORMS | Need.GRAD_DOTS | Need.EMBEDDING_GRADS
OBJECTIVES = frozenset({"logit", "loss", "probability"})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frozen", ["", "embeddings"])
def test_the_slow_twin_agrees_with_the_fast_path_and_with_loops(family: Family, frozen: str) -> None:
    model = tiny_model(family).double()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen or frozen not in name)
    inputs, labels = tiny_batch()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    directions = {"target": {name: torch.randn(2, *p.shape, dtype=torch.float64) for name, p in trainable.items()}}
    fast = collect(model, inputs, labels, ALL, OBJECTIVES, directions=directions)
    norms = oracles.grad_norms(model, inputs, labels)
    for row in range(len(labels)):
        single = oracles.one_by_one(inputs, row)
        length = single["input_ids"].shape[1]
        seen = collect_slowly(model, single, labels[row : row + 1], ALL, OBJECTIVES, directions=directions)
        torch.testing.assert_close(seen.logits[0], fast.logits[row])
        torch.testing.assert_close(seen.features[0], fast.features[row])
        torch.testing.assert_close(seen.grad_norms[0], fast.grad_norms[row])
        torch.testing.assert_close(seen.grad_norms[0], norms[row])
        torch.testing.assert_close(seen.grad_dots["target"][0], fast.grad_dots["target"][row])
        for objective in OBJECTIVES:
            found = seen.embedding_grads[objective][0]
            torch.testing.assert_close(found, fast.embedding_grads[objective][row, :length])
    if not frozen:
        by_loop = oracles.embedding_grads(model, embedding_module(model), inputs, labels, "logit")
        torch.testing.assert_close(found.shape, by_loop[-1].shape)
        torch.testing.assert_close(seen.embedding_grads["logit"][0], by_loop[-1])


def test_the_slow_twin_takes_one_row_and_only_what_is_needed() -> None:
    model, (inputs, labels) = tiny_model(), tiny_batch()
    with pytest.raises(ScoreError, match="one row at a time, not at 6"):
        collect_slowly(model, inputs, labels, Need.LOGITS)
    seen = collect_slowly(model, oracles.one_by_one(inputs, 0), labels[:1], Need.LOGITS)
    assert seen.features is None
    assert seen.grad_norms is None
    assert seen.embedding_grads == seen.grad_dots == {}
    assert not model._forward_hooks


class Scaled(torch.nn.Module):
    """Doubles what its last linear layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(4, 3)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return 2 * self.classifier(input_ids[..., None].float().expand(-1, -1, 4).mean(1))


def test_features_that_did_not_make_the_logits_are_refused() -> None:
    inputs, label = {"input_ids": torch.tensor([[5, 7]])}, torch.tensor([1])
    with pytest.raises(UnsupportedModelError, match=r"not the output of the model's last linear(.|\n)*leave out"):
        collect_slowly(Scaled(), inputs, label, Need.FEATURES)
    assert collect_slowly(Scaled(), inputs, label, Need.GRAD_NORMS).grad_norms.shape == (1,)


def test_a_capture_without_the_rows_is_refused(run: Path) -> None:
    _, job = job_of(run)
    trace = CheckpointSet.load(job.checkpoint_sets[0])
    held_out = Corpus.load(job.corpus.replace("train", "test"))
    twin = CaptureTwin(held_out, trace, held_out.table())
    with pytest.raises(ProvenanceError, match=r"has 0 of the 60 rows(.|\n)*fine-tuned on"):
        twin.at(0, {})


VALUES = np.linspace(1, 2, 100)


@pytest.mark.parametrize(
    ("score", "precision", "stored", "passed"),
    [
        ("vog", "float32", VALUES * (1 + 9e-4), True),
        ("vog", "float32", np.where(VALUES == 2, 2.003, VALUES), False),
        ("vog", "float32", -VALUES, False),
        ("vog", "bfloat16", VALUES * 1.05, True),
        ("vog", "bfloat16", np.roll(VALUES, 40), False),
        ("forgetting", "float32", np.arange(100) + (np.arange(100) < 2), True),
        ("forgetting", "float32", np.arange(100) + (np.arange(100) < 3), False),
        ("forgetting", "bfloat16", np.arange(100) + (np.arange(100) < 3), True),
    ],
)
def test_each_precision_has_its_bound(score: str, precision: Any, stored: Any, passed: bool) -> None:
    again = VALUES if score == "vog" else np.arange(100.0)
    check = compare_column("column", REGISTRY[score](), np.asarray(stored, np.float64), again, precision)
    assert check.passed is passed
    assert ("the only bound in bfloat16" in check.bound) == (precision == "bfloat16")
    assert (check.differing is None) == (score == "vog")


def test_differences_are_measured_by_the_size_of_the_score() -> None:
    again = np.array([0.0, 1.0, 2.0, 4.0])
    check = compare_column("vog", REGISTRY["vog"](), again + np.array([3e-3, 0, 0, 0]), again, "float32")
    assert check.absolute == pytest.approx(3e-3)
    assert check.relative == pytest.approx(3e-3 / 1.5)
    nothing = compare_column("vog", REGISTRY["vog"](), np.zeros(4), np.zeros(4), "float32")
    assert (nothing.relative, nothing.correlation, nothing.passed) == (0.0, None, True)
    mostly_nothing = compare_column(
        "vog", REGISTRY["vog"](), np.array([0, 0, 0, 2.0]), np.array([0, 0, 0, 2.0]), "float32"
    )
    assert mostly_nothing.passed
    lost = compare_column("vog", REGISTRY["vog"](), np.ones(2), np.array([1, np.nan]), "bfloat16")
    assert (lost.absolute, lost.passed) == (None, False)
    assert "the twin is not finite" in lost.bound
