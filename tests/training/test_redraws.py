"""A training whose rows are drawn anew for every epoch; real models, no Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from raysample import models
from raysample.core.config import ArmConfig
from raysample.core.errors import ProvenanceError, SelectionError, TrainingError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.selection import Selection, write_selection
from raysample.training import batches, schedule_training
from raysample.training.epoch_rows import epoch_batches
from raysample.training.fine_tuning import execute, load_examples, steps
from raysample.training.fine_tuning.rows import training_rows
from tests.helpers.redrawn_runs import a_redrawn_job, draws_of, table_of, trained_by_hand
from tests.helpers.training_runs import a_job, curve, ended_after, goes_on_bit_for_bit, group, in_folder, run, written


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a job on three draws, finished: 15 steps, states after every third."""
    job = a_redrawn_job(tmp_path_factory.mktemp("redrawn"))
    return job, run(job)


def test_every_epoch_is_trained_on_its_own_rows_and_weights_as_by_hand(tmp_path: Path) -> None:
    job = a_redrawn_job(tmp_path, dropout=0.0)
    trace = run(job)
    losses, network = trained_by_hand(job)
    assert len(losses) == steps(job) == 15
    assert curve(job)["loss"].to_pylist() == pytest.approx(losses, rel=1e-4)
    ours = models.load_model(trace.checkpoints[-1].uri)
    for (name, mine), other in zip(ours.named_parameters(), network.parameters(), strict=True):
        # A bias of attention keys has no gradient but rounding, which Adam makes steps of.
        if not name.endswith("key.bias"):
            assert mine.detach().numpy() == pytest.approx(other.detach().numpy(), abs=2e-4), name


def test_the_first_epoch_is_that_of_the_fixed_selection(whole: Any, tmp_path: Path) -> None:
    fixed = replace(whole[0], redraws=(), folder=str(tmp_path / "fixed"))
    run(fixed)
    one, other = curve(fixed), curve(whole[0])
    assert one.slice(0, 5).equals(other.slice(0, 5))
    assert one["learning_rate"].equals(other["learning_rate"])
    assert not pc.any(pc.equal(one["loss"].slice(6), other["loss"].slice(6))).as_py()


def test_the_rows_of_an_epoch_are_those_of_its_selection(whole: Any) -> None:
    job = whole[0]
    data, _ = training_rows(job, Corpus.load(job.train))
    layout = schedule_training(len(data), job.config)
    for start in (0, 4, 5, 12, 15):
        found = list(epoch_batches(data, job.config, layout, start))
        assert len(found) == 15 - start
        for step, (rows, taken) in enumerate(found, start=start):
            kept = Selection.load((job.selection, *job.redraws)[step // 5])
            assert sorted(rows.ids) == sorted(kept.kept_ids().to_pylist())
            assert taken.tolist() == list(batches(34, 8, job.config.seed, 15))[step].tolist()
            assert rows.weights is not None
            assert rows.weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("ends", [(1,), (4,), (5,), (6,), (14,), (2, 7, 7, 11)])
def test_a_redrawn_run_goes_on_bit_for_bit(ends: tuple[int, ...], whole: Any, tmp_path: Path) -> None:
    job, trace = whole
    goes_on_bit_for_bit(job, trace.fingerprint, ends, tmp_path / "run")


def test_lengths_and_class_weights_are_those_of_each_epoch(tmp_path: Path) -> None:
    job = a_redrawn_job(tmp_path, group_by_length=True, class_weights="balanced")
    run(job)
    again = in_folder(job, tmp_path / "again")
    ended_after(again, 7)
    run(again)
    assert curve(again).equals(curve(job))
    data, _ = training_rows(job, Corpus.load(job.train))
    for uri, (rows, _) in zip(
        (job.selection, *job.redraws),
        list(epoch_batches(data, job.config, schedule_training(34, job.config)))[::5],
        strict=True,
    ):
        alone, _ = training_rows(replace(job, selection=uri, redraws=()), Corpus.load(job.train))
        assert rows.weights.tolist() == alone.weights.tolist()


def test_a_state_of_other_draws_is_not_resumed(whole: Any, tmp_path: Path) -> None:
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 14)
    swapped = replace(job, redraws=job.redraws[::-1])
    assert [step for step, _ in execute(swapped).starts] == [0, 0]


def test_jobs_that_cannot_be_redrawn_are_refused(whole: Any, tmp_path: Path) -> None:
    job = replace(whole[0], folder=None)
    with pytest.raises(TrainingError, match=r"has 3 epochs, and its rows were drawn for 2"):
        execute(replace(job, redraws=job.redraws[:1]))
    for more, name in (({"early_stopping": {}}, "early_stopping"), ({"capture": True}, "capture")):
        recipe = job.config.model_validate({**job.config.to_dict(), **more})
        with pytest.raises(TrainingError, match=rf"fine_tune\.{name} needs the same rows in every epoch"):
            execute(replace(job, config=recipe, folder=str(tmp_path / name)))
    table = table_of(Corpus.load(job.train), tmp_path / "scores")
    fewer = write_selection(table, ArmConfig(policy="random"), str(tmp_path / "fewer"), fraction=0.4)
    with pytest.raises(SelectionError, match=r"keep 34 and 27 rows, and every epoch needs as many"):
        execute(replace(job, redraws=(job.redraws[0], fewer.uri)))
    with pytest.raises(SelectionError, match=r"all 3 draws of .* keep the same rows"):
        execute(replace(job, redraws=(job.selection,) * 2))
    elsewhere = draws_of(replace(table, corpus="another"), tmp_path / "elsewhere", 1, 3)[0]
    with pytest.raises(ProvenanceError, match="was made from another corpus"):
        execute(replace(job, redraws=(job.redraws[0], elsewhere.uri)))


@pytest.mark.slow
def test_two_workers_see_the_same_rows_and_go_on_bit_for_bit(forking: None, tmp_path: Path) -> None:
    plain, drawing = a_redrawn_job(tmp_path / "plain", dropout=0.0), a_redrawn_job(tmp_path / "drawing")
    two, ended = in_folder(plain, tmp_path / "two"), in_folder(drawing, tmp_path / "ended")
    run(plain)
    group(2, tmp_path / "group", (two, (), True), (drawing, (), True), (ended, (4, 8), True))
    for name in ("loss", "gradient_norm"):
        assert curve(plain)[name].to_pylist() == pytest.approx(curve(two)[name].to_pylist(), rel=2e-4, abs=2e-5)
    nll = [CheckpointSet.load(str(job.folder)).metrics["nll"] for job in (plain, two)]
    assert nll[0] == pytest.approx(nll[1], rel=1e-3)
    assert curve(drawing).equals(curve(ended))
    assert written(drawing) == written(ended)


def test_the_tokens_of_rows_are_shared_by_all_epochs(whole: Any) -> None:
    job = whole[0]
    corpus = Corpus.load(job.train)
    data, _ = training_rows(job, corpus)
    held = {id(ids) for ids in load_examples(job.train, corpus.fingerprint, job.base, job.model).encoded.ids}
    for rows, _ in epoch_batches(data, job.config, schedule_training(34, job.config)):
        assert {id(ids) for ids in rows.encoded.ids} <= held


def test_a_job_without_redraws_needs_no_selection(tmp_path: Path) -> None:
    assert steps(a_job(tmp_path)) == 18
