"""Several workers with gloo in processes of their own: replicas, shards, other numbers of them; no Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from raysample import models
from raysample.data.checkpoint_set import CheckpointSet
from raysample.training import capture
from raysample.training.fine_tuning import Job
from tests.helpers.training_runs import a_job, curve, group, in_folder, run, written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(forking: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Return finished runs of one recipe by one, two and three workers, and of others by two."""
    folder = tmp_path_factory.mktemp("workers")
    plain, drawing = a_job(folder / "plain", dropout=0.0, capture=True), a_job(folder / "drawing")
    sharded = a_job(folder / "sharded", dropout=0.0, sharding="full", micro_batch_size=3)
    jobs = {
        "one": plain,
        "two": in_folder(plain, folder / "two"),
        "three": in_folder(plain, folder / "three"),
        "two drawing": drawing,
        "two drawing, ended": in_folder(drawing, folder / "two-ended"),
        "three drawing": in_folder(drawing, folder / "three-drawing"),
        "three drawing, ended": in_folder(drawing, folder / "three-ended"),
        "sharded": sharded,
        "sharded, ended": in_folder(sharded, folder / "sharded-ended"),
        "begun by two": in_folder(plain, folder / "begun"),
        "begun sharded": in_folder(sharded, folder / "begun-sharded"),
    }
    run(jobs["one"])
    group(
        2,
        folder / "group-2",
        (jobs["two"], (), True),
        (jobs["two drawing"], (), True),
        (jobs["two drawing, ended"], (5, 11), True),
        (jobs["sharded"], (), True),
        (jobs["sharded, ended"], (5, 11), True),
        (jobs["begun by two"], (13,), False),
        (jobs["begun sharded"], (13,), False),
    )
    group(
        3,
        folder / "group-3",
        (jobs["three"], (), True),
        (jobs["three drawing"], (), True),
        (jobs["three drawing, ended"], (5, 11), True),
    )
    return jobs


def presented(job: Job) -> pa.Table:
    """Return step, row and logits of every presentation."""
    return pa.concat_tables([rows for _, rows in capture.presentations(str(job.folder))])


def close(one: Job, other: Job) -> None:
    """Compare runs that add up in other orders.

    Not their weights: a bias of attention keys has no gradient but rounding, which Adam makes steps of.
    """
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(curve(one)[name], curve(other)[name], rtol=2e-4, atol=2e-5)
    nll = [CheckpointSet.load(str(job.folder)).metrics["nll"] for job in (one, other)]
    assert nll[0] == pytest.approx(nll[1], rel=1e-3)


@pytest.mark.parametrize("workers", ["two", "three"])
def test_any_number_of_workers_sees_the_same_global_batches(workers: str, runs: dict[str, Job]) -> None:
    alone, together = presented(runs["one"]), presented(runs[workers])
    for name in ("step", "row_id", "epoch", "label"):
        assert together[name].equals(alone[name])
    logits = [np.stack(table["logits"].to_numpy()) for table in (alone, together)]
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-3, atol=1e-4)
    assert len(set(zip(alone["epoch"].to_pylist(), alone["row_id"].to_pylist(), strict=True))) == 2 * 67
    close(runs["one"], runs[workers])


@pytest.mark.parametrize("kind", ["two drawing", "three drawing", "sharded"])
def test_workers_go_on_bit_for_bit(kind: str, runs: dict[str, Job]) -> None:
    whole, ended = runs[kind], runs[f"{kind}, ended"]
    assert curve(whole).equals(curve(ended))
    assert written(whole) == written(ended)


def test_shards_come_to_what_one_worker_does(runs: dict[str, Job], tmp_path: Path) -> None:
    alone = in_folder(runs["sharded"], tmp_path / "alone")
    run(alone)
    close(alone, runs["sharded"])


def test_checkpoints_of_shards_are_whole_models(runs: dict[str, Job]) -> None:
    trace = CheckpointSet.load(str(runs["sharded"].folder))
    for checkpoint in trace.checkpoints:
        ours, theirs = (
            models.load_model(checkpoint.uri),
            AutoModelForSequenceClassification.from_pretrained(checkpoint.uri),
        )
        assert theirs.config.architectures == ["BertForSequenceClassification"]
        held = dict(theirs.named_parameters())
        assert all(torch.equal(value, held[name]) for name, value in ours.named_parameters())


@pytest.mark.parametrize("begun", ["begun by two", "begun sharded"])
def test_another_number_of_workers_goes_on(begun: str, runs: dict[str, Job]) -> None:
    run(runs[begun])
    assert len(CheckpointSet.load(str(runs[begun].folder)).checkpoints) == 4
    close(runs["one" if begun == "begun by two" else "sharded"], runs[begun])
