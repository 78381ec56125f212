"""Models that an MLflow run has logged, and folders among its artifacts, as CheckpointSets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import raysample
from raysample import testing
from raysample.cli import main
from raysample.data.checkpoint_set import CheckpointSet
from raysample.testing import LABELS
from tests.helpers.corpora import tiny_corpus

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow warns of what it does itself
STEPS = (20, 10, 9)
"""In the order in which they are logged."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    return testing.tiny_checkpoints(tmp_path_factory.mktemp("ours"), 3)


@pytest.fixture
def client(store: Path, tmp_path: Path) -> Iterator[Any]:
    """Yield a client of a store whose experiment has the id 1 and keeps its artifacts below the test's folder."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{store}")
    found = mlflow.MlflowClient()
    mlflow.set_experiment(experiment_id=found.create_experiment("models", str(tmp_path / "artifacts")))
    yield found
    mlflow.set_tracking_uri(before)
    os.environ.pop("MLFLOW_TRACKING_URI")  # set_tracking_uri sets it, too, and runs of later tests would go there


def by_step(ours: CheckpointSet) -> dict[int, str]:
    """Return the folders of the three checkpoints, by the steps that are told of them."""
    return {step: one.uri for step, one in zip(sorted(STEPS), ours.checkpoints, strict=True)}


def adopted(address: str, store: Path, output: Path, *more: str) -> CheckpointSet:
    assert main.main(["adopt", address, "--tracking-uri", str(store), "--output", str(output), *more]) == 0
    return CheckpointSet.load(str(output))


def test_the_models_of_a_run_come_in_the_order_of_their_steps(
    ours: CheckpointSet, client: Any, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mlflow.start_run() as run:
        for step in STEPS:
            place = by_step(ours)[step]
            network = AutoModelForSequenceClassification.from_pretrained(place)
            network.config.id2label = dict(enumerate(LABELS))
            parts = {"model": network, "tokenizer": AutoTokenizer.from_pretrained(place)}
            mlflow.transformers.log_model(
                parts, name="model", task="text-classification", step=step, pip_requirements=[]
            )
        for step in range(21):
            mlflow.log_metrics({"learning_rate": 1e-3 * (21 - step), "epoch": step / 10}, step=step)
    trace = adopted(f"runs:/{run.info.run_id}", store, tmp_path / "set")
    assert [(c.step, c.epoch, c.learning_rate) for c in trace.checkpoints] == [
        (9, 0.9, pytest.approx(0.012)),
        (10, 1.0, pytest.approx(0.011)),
        (20, 2.0, pytest.approx(0.001)),
    ]
    assert trace.labels == LABELS
    assert trace.tokenizer == str(tmp_path / "set/tokenizer")
    assert all(Path(c.uri).is_relative_to(tmp_path / "artifacts") for c in trace.checkpoints)  # in place
    corpus = tiny_corpus(tmp_path, 12, 5, files=1)
    known = raysample.score(ours, corpus, ["vog"], max_length=32).to_pandas()
    assert raysample.score(trace, corpus, ["vog"], max_length=32).to_pandas().equals(known)
    shown = capsys.readouterr().out
    assert "adopted, in training order" in shown
    assert f"raysample score CONFIG.yaml adopt.path={tmp_path / 'set'}" in shown.replace("\n", "")
    last = max(client.get_run(run.info.run_id).outputs.model_outputs, key=lambda output: output.step)
    one = adopted(f"models:/{last.model_id}", store, tmp_path / "one")
    assert [c.uri for c in one.checkpoints] == [trace.checkpoints[-1].uri]


def test_checkpoint_folders_among_the_artifacts_come_in_the_order_of_their_numbers(
    ours: CheckpointSet, client: Any, store: Path, tmp_path: Path
) -> None:
    run = client.create_run(client.get_experiment_by_name("models").experiment_id).info.run_id
    for step in STEPS:
        client.log_artifacts(run, by_step(ours)[step], f"trained/checkpoint-{step}")
    trace = adopted(f"runs:/{run}/trained", store, tmp_path / "set", "--labels", ",".join(LABELS))
    assert [c.step for c in trace.checkpoints] == sorted(STEPS)
    one = adopted(f"mlflow:{run}/trained/checkpoint-9", store, tmp_path / "one", "--labels", ",".join(LABELS))
    assert [c.step for c in one.checkpoints] == [9]


def test_what_mlflow_does_not_have_is_told(
    client: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    run = client.create_run(client.get_experiment_by_name("models").experiment_id).info.run_id
    given = ["--tracking-uri", str(store), "--output", str(tmp_path / "set")]
    for address, told in (
        (f"runs:/{run}", "has no logged models, and its artifacts no checkpoint-* folders"),
        (f"runs:/{'0' * 32}", "check the id, and the tracking URI"),
        ("models:/nothing/1", "check the id, and the tracking URI"),
    ):
        assert main.main(["adopt", address, *given]) == 2
        assert told in capsys.readouterr().err
    assert main.main(["adopt", f"runs:/{run}"]) == 2
    assert "nobody says where the MLflow of" in capsys.readouterr().err


def test_a_model_that_was_logged_as_a_pickle_is_not_opened(
    client: Any, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = client.get_experiment_by_name("models").experiment_id
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="model", source_run_id=run)
    place = Path(model.artifact_location)
    (place / "data").mkdir(parents=True)
    (place / "MLmodel").write_text("flavors: {pytorch: {}}")
    given = ["--tracking-uri", str(store), "--output", str(tmp_path / "set")]
    assert main.main(["adopt", f"models:/{model.model_id}", *given]) == 2
    assert "such as a pickle, which is not opened" in capsys.readouterr().err
    shutil.rmtree(place)
    assert main.main(["adopt", f"models:/{model.model_id}", *given]) == 2
    assert "there is no folder" in capsys.readouterr().err
