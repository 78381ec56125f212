"""InfoBatch: rows are left out of a pass by their last losses; real models, no Ray."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raysample import models
from raysample.core.config import FineTuneConfig
from raysample.data.corpus import Corpus
from raysample.data.row_sampling import seeded_hashes
from raysample.selection.redraws import draw_seed
from raysample.training import LossPrunedRows, batches, learning_rate, schedule_training
from raysample.training.examples import batch
from raysample.training.fine_tuning import Job, execute, load_examples, steps
from raysample.training.fine_tuning.rows import training_rows
from raysample.training.infobatch import losses_in_batch, prune_by_loss
from tests.helpers.training_runs import (
    a_job,
    curve,
    ended_after,
    goes_on_bit_for_bit,
    group,
    in_folder,
    plain_adamw,
    run,
    written,
)

INFOBATCH = {"infobatch": {"prune": 0.5, "anneal": 0.125}, "share": 0.5}


def pruned_job(folder: Path, dropout: float = 0.2, **recipe: Any) -> Job:
    """Return a job on 67 rows: 27 of the 54 steps of six epochs, the last three of them on all rows."""
    return a_job(folder, dropout, **{"epochs": 6, "dynamic": INFOBATCH, **recipe})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a finished job and its CheckpointSet."""
    job = pruned_job(tmp_path_factory.mktemp("pruned"))
    return job, run(job)


def test_the_weighted_sum_of_a_pass_has_the_expectation_of_the_sum_over_all_rows() -> None:
    draw = np.random.default_rng(0)
    losses = draw.gamma(1.0, 1.0, 500).astype(np.float32)
    losses[:20] = np.inf
    values, sums, counts = draw.normal(1, 1, 500), [], []
    for _ in range(400):
        kept, weights = prune_by_loss(losses, draw.random(500), 0.7)
        assert kept[:20].all()
        assert (weights[:20] == 1).all()
        sums.append((values * weights)[kept].sum())
        counts.append(kept.sum())
    # Of rows below the mean 30 % are kept: those of an exponential are 1 - 1/e of them.
    assert np.mean(counts) == pytest.approx(20 + 480 * (1 - 0.7 * (1 - 1 / math.e)), rel=0.05)
    assert np.mean(sums) == pytest.approx(values.sum(), abs=4 * np.std(sums) / 20)


def test_no_row_is_left_out_before_losses_differ() -> None:
    for losses in (np.full(9, np.inf, np.float32), np.full(9, 2.5, np.float32)):
        kept, weights = prune_by_loss(losses, np.zeros(9), 0.9)
        assert kept.all()
        assert (weights == 1).all()


def by_hand(job: Job) -> tuple[list[float], list[int]]:
    """Train a job without dropout, a row at a time; return the loss of every step and the rows of every pass."""
    recipe, corpus = job.config, Corpus.load(job.train)
    data = load_examples(job.train, corpus.fingerprint, job.base, job.model)
    network = models.build_model(job.base, job.model, corpus.labels, recipe.seed)
    optimiser = plain_adamw(network, recipe.weight_decay)
    total, last = 27, dict.fromkeys(range(len(data)), math.inf)
    curve, passes = list[float](), list[int]()
    network.train()
    while len(curve) < total:
        known = [loss for loss in last.values() if loss < math.inf]
        mean = sum(known) / len(known) if known else math.inf
        seed = draw_seed(recipe.seed, len(passes))
        weight = dict[int, float]()
        for place in range(len(data)):
            low = len(curve) < 24 and last[place] < mean
            if not (low and int(seeded_hashes(data.ids[[place]], seed)[0]) / 2**64 < 0.5):
                weight[place] = 2.0 if low else 1.0
        places, number = list(weight), len(passes)
        passes.append(len(places))
        size = math.ceil(len(places) / 8)
        for order in batches(len(places), 8, recipe.seed, (number + 1) * size, start=number * size):
            if len(curve) == total or (len(curve) == 24 and len(places) < len(data)):
                break
            rows, loss = [places[one] for one in order], torch.zeros(())
            for place in rows:
                inputs, labels = batch(data, np.array([place]), "cpu")
                plain = cross_entropy(network(**inputs).logits, labels)
                last[place] = plain.item()
                loss = loss + plain * weight[place]
            loss = loss / len(rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
            for parameters in optimiser.param_groups:
                parameters["lr"] = learning_rate(len(curve), total, recipe)
            optimiser.step()
            curve.append(loss.item())
    return curve, passes


def test_a_run_is_that_of_a_loop_by_hand(tmp_path: Path) -> None:
    job = pruned_job(tmp_path, dropout=0.0, learning_rate=1e-3)
    run(job)
    losses, passes = by_hand(job)
    assert curve(job)["loss"].to_pylist() == pytest.approx(losses, rel=1e-3)
    assert passes[0] == passes[-1] == 67
    assert all(33 < rows < 67 for rows in passes[1:-1])
    assert len(passes) > 3


def test_the_number_of_steps_is_known_beforehand(whole: Any) -> None:
    job, trace = whole
    assert steps(job) == 27
    assert trace.checkpoints[-1].step == 27
    for share, expected in ((0.5, 27), (0.51, 28), (0.01, 1)):
        recipe = {"epochs": 6, "batch_size": 8, "dynamic": {"infobatch": {}, "share": share}}
        assert schedule_training(67, FineTuneConfig.model_validate(recipe)).steps == expected


def test_the_last_steps_are_on_all_rows_without_weights(whole: Any) -> None:
    job = whole[0]
    data, _ = training_rows(job, Corpus.load(job.train))
    assert isinstance(data, LossPrunedRows)
    draw = np.random.default_rng(0)
    sizes = list[int]()
    for rows, taken in data.batches(job.config, schedule_training(67, job.config)):
        data.observe(taken, draw.random(len(taken), np.float32))
        sizes.append(len(rows))
        assert len(set(rows.ids[taken])) == len(taken)
        assert rows.weights is None or set(rows.weights.tolist()) <= {1.0, 2.0}
        if len(sizes) > 24:
            assert rows.weights is None
    assert sizes[:9] == [67] * 9
    assert sizes[-3:] == [67] * 3
    assert max(sizes[9:24]) < 67


@pytest.mark.parametrize("ends", [(3,), (9,), (10,), (16,), (25,), (5, 11, 11, 20)])
def test_a_pruned_run_goes_on_bit_for_bit(ends: tuple[int, ...], whole: Any, tmp_path: Path) -> None:
    job, trace = whole
    goes_on_bit_for_bit(job, trace.fingerprint, ends, tmp_path / "run")


def test_it_goes_with_lengths_class_weights_and_micro_batches(tmp_path: Path) -> None:
    job = pruned_job(tmp_path, group_by_length=True, class_weights="balanced", micro_batch_size=3)
    run(job)
    again = in_folder(job, tmp_path / "again")
    ended_after(again, 14)
    run(again)
    assert curve(again).equals(curve(job))


def test_another_share_is_another_training(whole: Any, tmp_path: Path) -> None:
    job = in_folder(whole[0], tmp_path / "run")
    ended_after(job, 14)
    other = job.config.model_validate({**job.config.to_dict(), "dynamic": {**INFOBATCH, "infobatch": {"prune": 0.3}}})
    changed = Job(job.train, job.test, job.base, job.model, other, folder=job.folder)
    assert [step for step, _ in execute(changed).starts] == [0, 0]


@pytest.mark.slow
def test_two_workers_prune_the_same_rows_and_go_on_bit_for_bit(forking: None, tmp_path: Path) -> None:
    plain, drawing = pruned_job(tmp_path / "plain", dropout=0.0), pruned_job(tmp_path / "drawing")
    two, ended = in_folder(plain, tmp_path / "two"), in_folder(drawing, tmp_path / "ended")
    run(plain)
    group(2, tmp_path / "group", (two, (), True), (drawing, (), True), (ended, (10, 20), True))
    for name in ("loss", "gradient_norm"):
        assert curve(plain)[name].to_pylist() == pytest.approx(curve(two)[name].to_pylist(), rel=1e-3, abs=1e-4)
    assert curve(drawing).equals(curve(ended))
    assert written(drawing) == written(ended)


def test_losses_of_workers_add_up_to_those_of_the_batch(whole: Any) -> None:
    job = whole[0]
    data = load_examples(job.train, Corpus.load(job.train).fingerprint, job.base, job.model)
    rows, logits = np.array([40, 3, 17, 66, 9]), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    expected = cross_entropy(logits, torch.from_numpy(data.labels[rows]), reduction="none")
    parts = [losses_in_batch(data, rows, rows[mine], logits[mine]) for mine in ([4, 1], [0, 2, 3], [])]
    assert torch.equal(sum(parts[1:], parts[0]), expected)


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({}, "give either redraw"),
        ({**INFOBATCH, "redraw": {"policy": "random"}}, "give either redraw"),
        ({**INFOBATCH, "scores": "scores"}, "leave scores out"),
        ({"infobatch": {"prune": 1.0}}, "prune"),
        ({"infobatch": {"anneal": 1.0}}, "anneal"),
        ({"infobatch": {}, "share": 1.0}, "share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(dynamic: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FineTuneConfig.model_validate({"dynamic": dynamic})
