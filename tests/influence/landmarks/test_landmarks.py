"""Landmarks: what is drawn, what is described, what can be learnt, what is refused, and that order does not matter."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from raysample import models as model
from raysample.core.arrays import FloatArray
from raysample.core.config import LandmarksConfig, ModelConfig
from raysample.core.errors import ScoreError, StorageError
from raysample.core.numerics.predictions import cross_entropies, error_norms
from raysample.core.statistics.rank_correlation import spearman_pair
from raysample.influence import landmarks
from raysample.influence.landmarks import Descriptors, Fitted, describe_rows, draw_landmarks, fit_landmarks
from raysample.influence.landmarks.descriptors import MOST_CLASSES, answers, class_codes
from raysample.influence.landmarks.fitted import TargetScale
from raysample.influence.scores import create_scores
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.sweep import score_block
from raysample.influence.visits.visit import collect
from raysample.testing import tiny_checkpoints, tiny_rows, tiny_tokenizer

pytestmark = pytest.mark.slow

CONFIG = LandmarksConfig(scores=["vog"], count=200, min_correlation=0.8)


def described(rows: int = 300, classes: int = 3, seed: int = 0, width: int = 6) -> Descriptors:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, width))
    logits = features @ rng.normal(size=(width, classes))
    return describe_rows(logits, features, rng.integers(classes, size=rows), rng.integers(3, 60, rows))


def ids_of(rows: int) -> list[str]:
    return [f"row-{i}" for i in range(rows)]


def linear(rows: Descriptors) -> FloatArray:
    return rows.features.astype(np.float64) @ np.arange(1, rows.features.shape[1] + 1) - 2 * rows.labels


def test_landmarks_are_the_same_rows_in_any_order_and_nested() -> None:
    ids = ids_of(500)
    shuffled = [ids[i] for i in np.random.default_rng(0).permutation(500)]
    chosen = [ids[i] for i in draw_landmarks(ids, 100, seed=3)]
    assert [shuffled[i] for i in draw_landmarks(shuffled, 100, seed=3)] == chosen
    assert [ids[i] for i in draw_landmarks(ids, 40, seed=3)] == chosen[:40]
    assert len(set(chosen)) == 100
    assert set(chosen) != {ids[i] for i in draw_landmarks(ids, 100, seed=4)}


def test_landmarks_of_a_small_corpus_are_all_its_rows() -> None:
    assert sorted(draw_landmarks(ids_of(7), 100, seed=0)) == list(range(7))


def test_landmarks_are_not_the_rows_that_the_random_policy_keeps() -> None:
    from raysample.selection.policies.base import GlobalStatistics, Rows, row_hash

    ids = ids_of(2_000)
    order = np.argsort(row_hash(Rows.from_columns(ids, np.zeros(2_000)), GlobalStatistics(0)))
    shared = len(set(draw_landmarks(ids, 1_000, seed=0)) & set(order[:1_000]))
    assert 400 < shared < 600  # half of them by chance


def test_what_a_row_answers_agrees_with_the_scores_of_the_same_logits() -> None:
    rows = described()
    found = answers(rows.logits, rows.features, rows.labels, rows.tokens)
    logits, labels = torch.from_numpy(rows.logits).double(), torch.from_numpy(rows.labels)
    np.testing.assert_allclose(found[:, 2], cross_entropies(logits, labels), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[:, 3], np.exp(-found[:, 2]), rtol=1e-10)
    np.testing.assert_allclose(found[:, 4], error_norms(logits, labels), rtol=1e-9, atol=1e-12)
    # log-odds = ln p_y − ln(1 − p_y)
    np.testing.assert_allclose(found[:, 6], np.log(found[:, 3]) - np.log1p(-found[:, 3]), rtol=1e-6, atol=1e-9)


def test_answers_are_finite_for_certain_and_for_single_class_models() -> None:
    certain = describe_rows([[900.0, -900.0], [-900.0, 900.0]], np.zeros((2, 3)), [0, 0], [0, 4])
    single = describe_rows(np.ones((2, 1)), np.ones((2, 3)), [0, 0], [1, 1])
    for rows in (certain, single):
        assert all(np.isfinite(block).all() for block in rows.blocks())


def test_tensors_of_low_precision_are_described_too() -> None:
    rows = describe_rows(
        torch.ones(2, 2, dtype=torch.bfloat16), torch.ones(2, 3), torch.zeros(2).long(), torch.ones(2).int()
    )
    assert rows.logits.dtype == np.float32
    assert rows.tokens.dtype == np.int64


def test_descriptors_are_cut_and_joined() -> None:
    rows = describe_rows(np.eye(3), np.eye(3), [0, 1, 2], [1, 2, 3], {"cheap": [1.0, 2.0, 3.0]})
    again = Descriptors.join([rows.take(np.array([0])), rows.take(np.array([1, 2]))])
    for one, other in zip(rows.blocks(), again.blocks(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_many_classes_are_sketched_in_nearly_orthogonal_codes() -> None:
    codes = class_codes(MOST_CLASSES + 100)
    assert codes.shape == (MOST_CLASSES + 100, MOST_CLASSES)
    np.testing.assert_allclose((codes**2).sum(1), 1)
    assert np.abs(codes @ codes.T - np.eye(len(codes))).max() < 0.5
    np.testing.assert_array_equal(codes, class_codes(MOST_CLASSES + 100))


def test_descriptors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"(?s)do not fit each other.*give logits"):
        describe_rows(np.eye(3), np.eye(3), [0, 1], [1, 2, 3])
    with pytest.raises(ScoreError, match=r"(?s)labels lie between 0 and 3, and the logits know 3.*fine-tuned on"):
        describe_rows(np.eye(3), np.eye(3), [0, 1, 3], [1, 2, 3])


def test_a_linear_score_is_predicted_exactly_by_ridge_regression() -> None:
    rows = described()
    exact = linear(rows)
    fitted = fit_landmarks(rows.take(np.arange(200)), {"linear": exact[:200]}, CONFIG)
    told = fitted.quality["linear"]
    assert told["model"] == "ridge"
    assert told["log"] is False
    assert told["held_out"] == 40
    assert told["spearman"] > 0.999
    assert told["r2"] > 0.999
    assert spearman_pair(fitted.predict(rows)["linear"][200:], exact[200:]) > 0.999


def test_a_heavy_tailed_score_is_learnt_on_its_logarithm_and_never_negative() -> None:
    rows = described()
    exact = np.exp(linear(rows))
    fitted = fit_landmarks(rows.take(np.arange(200)), {"heavy": exact[:200]}, CONFIG)
    found = fitted.predict(rows)["heavy"]
    assert fitted.quality["heavy"]["log"] is True
    assert found.min() >= exact[:200].min() * (1 - 1e-6) > 0
    assert found.max() <= exact[:200].max() * (1 + 1e-6)
    assert spearman_pair(found[200:], exact[200:]) > 0.99


def test_a_score_that_depends_on_the_class_is_learnt_by_the_kernel() -> None:
    rows = described(rows=800)
    exact = np.where(rows.labels == 1, 1.0, -1.0) * rows.features[:, 0]  # no linear map of the columns gives it
    told = fit_landmarks(rows, {"crossed": exact}, LandmarksConfig(scores=["crossed"], min_correlation=0.7)).quality[
        "crossed"
    ]
    assert told["model"] == "kernel"


def test_a_score_that_cannot_be_predicted_is_refused_with_what_was_found() -> None:
    rows = described()
    noise = np.random.default_rng(5).normal(size=len(rows))
    with pytest.raises(ScoreError) as refused:
        fit_landmarks(rows, {"linear": linear(rows), "noise": noise}, CONFIG)
    assert "score 'noise' with a rank correlation of" in refused.value.problem
    assert "on 60 held-out landmarks" in refused.value.problem
    assert "score.landmarks.min_correlation is 0.8" in refused.value.problem
    assert "compute 'noise' exactly" in refused.value.advice
    assert "score.landmarks.count (now 200)" in refused.value.advice


def test_constant_scores_and_few_landmarks_are_refused() -> None:
    rows = described()
    with pytest.raises(ScoreError, match=r"(?s)'flat' is 2 for all 300 landmarks.*take 'flat' out"):
        fit_landmarks(rows, {"flat": np.full(300, 2.0)}, CONFIG)
    few = rows.take(np.arange(30))
    with pytest.raises(ScoreError, match=r"(?s)30 landmarks have finite scores, and 50 or more.*score.landmarks.count"):
        fit_landmarks(few, {"linear": linear(few)}, CONFIG)


def test_landmarks_without_a_finite_score_are_left_out() -> None:
    rows = described()
    exact = linear(rows)
    exact[::10] = np.nan
    assert fit_landmarks(rows, {"linear": exact}, CONFIG).quality["linear"]["held_out"] == 54  # a fifth of 270


def test_a_row_without_finite_descriptors_is_predicted_as_nan() -> None:
    rows = described()
    fitted = fit_landmarks(rows, {"linear": linear(rows)}, CONFIG)
    logits = rows.logits.copy()
    logits[3] = np.inf
    with np.errstate(invalid="ignore"):
        found = fitted.predict(Descriptors(logits, rows.features, rows.labels, rows.tokens))["linear"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]


def test_the_order_of_the_landmarks_does_not_matter_where_their_ids_are_given() -> None:
    rows, ids = described(), np.array(ids_of(300))
    exact = np.exp(linear(rows))
    order = np.random.default_rng(1).permutation(300)
    one = fit_landmarks(rows, {"vog": exact}, CONFIG, list(ids))
    other = fit_landmarks(rows.take(order), {"vog": exact[order]}, CONFIG, list(ids[order]))
    assert one.quality == other.quality
    np.testing.assert_array_equal(one.predict(rows)["vog"], other.predict(rows)["vog"])


def test_prediction_is_deterministic_and_does_not_depend_on_the_other_rows() -> None:
    rows = described()
    exact = {"vog": np.exp(linear(rows)), "el2n": linear(rows)}
    found = fit_landmarks(rows, exact, CONFIG).predict(rows)
    again = fit_landmarks(rows, exact, CONFIG).predict(rows)
    alone = fit_landmarks(rows, exact, CONFIG).predict(rows.take(np.array([17])))
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, again[name])
        np.testing.assert_allclose(values[17], alone[name][0], rtol=1e-6)


def test_a_fit_survives_a_pickle_and_a_folder(tmp_path: Path) -> None:
    rows = described(rows=800)
    crossed = np.where(rows.labels == 1, 1.0, -1.0) * rows.features[:, 0]
    config = LandmarksConfig(scores=["a", "b"], min_correlation=0.7)
    fitted = fit_landmarks(rows, {"heavy": np.exp(linear(rows)), "crossed": crossed}, config)
    saved = Fitted.load(fitted.save(str(tmp_path / "landmarks")) and str(tmp_path / "landmarks"))
    for other in (saved, pickle.loads(pickle.dumps(fitted))):
        assert other.quality == fitted.quality
        for name, values in fitted.predict(rows).items():
            np.testing.assert_array_equal(other.predict(rows)[name], values)
    with pytest.raises(StorageError, match="does not exist"):
        Fitted.load(str(tmp_path / "nowhere"))


def test_rows_described_otherwise_than_the_landmarks_are_refused() -> None:
    rows = described()
    fitted = fit_landmarks(rows, {"linear": linear(rows)}, CONFIG)
    wider = described(width=7)
    with pytest.raises(ScoreError, match=r"(?s)the landmarks had .*same checkpoint"):
        fitted.predict(wider)


@pytest.mark.parametrize("heavy", [False, True])
def test_an_extra_column_is_used(heavy: bool) -> None:
    rows = described()
    hidden = np.random.default_rng(2).normal(size=300)
    hidden = np.exp(3 * hidden) if heavy else hidden
    more = describe_rows(rows.logits, rows.features, rows.labels, rows.tokens, {"cheap": hidden})
    told = fit_landmarks(more, {"hidden": hidden}, CONFIG).quality["hidden"]
    assert told["spearman"] > 0.98
    with pytest.raises(ScoreError, match="rank correlation"):
        fit_landmarks(rows, {"hidden": hidden}, CONFIG)
    with pytest.raises(ScoreError, match="the same extra columns"):
        fit_landmarks(more, {"hidden": hidden}, CONFIG).predict(rows)


@pytest.mark.parametrize("log", [False, True])
def test_a_scale_and_its_inverse_meet(log: bool) -> None:
    exact = np.array([0.0, 1e-9, 0.5, 3.0, 1e4])
    scale = TargetScale.from_values(exact, log)
    np.testing.assert_allclose(scale.backward(scale.forward(exact)), exact, rtol=1e-9, atol=1e-9)
    low, high = scale.backward(np.array([-1e9, 1e9]))
    assert 0 <= low < 1e-12
    assert high == 1e4


def test_rank_correlation_equals_scipys_and_is_nothing_for_a_constant() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(5, size=50), rng.normal(size=50)
    assert spearman_pair(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert spearman_pair(np.ones(50), b) == 0.0


def test_gradient_scores_of_a_real_model_are_predicted_from_one_forward(tmp_path: Path) -> None:
    rows, words = tiny_rows(400), tiny_tokenizer()
    trace = tiny_checkpoints(tmp_path, 3)
    models = [model.load_model(checkpoint.uri) for checkpoint in trace.checkpoints]
    encoded, labels = model.encode(words, rows, ModelConfig(max_length=64)), rows["label"].to_numpy().astype(np.int64)
    exact = score_block(
        models,
        trace.checkpoints,
        encoded,
        labels,
        create_scores(["grand", "el2n"]),
        pad=lambda batch: model.pad(encoded, batch, 0),
        batch_tokens=4_096,
    )
    seen = collect(models[-1], model.pad(encoded, range(400), 0), torch.from_numpy(labels), Need.LOGITS | Need.FEATURES)
    assert seen.features is not None
    everything = describe_rows(seen.logits, seen.features, labels, encoded.lengths)
    ids = rows["row_id"].to_pylist()
    chosen = draw_landmarks(ids, 150, seed=0)
    config = LandmarksConfig(scores=["grand", "el2n"], count=150, min_correlation=0.7)
    landmark_ids = [ids[i] for i in chosen]
    fitted = landmarks.fit_landmarks(
        everything.take(chosen), {n: v[chosen] for n, v in exact.items()}, config, landmark_ids
    )
    rest = np.setdiff1d(np.arange(400), chosen)
    found = fitted.predict(everything)
    for name, values in exact.items():
        assert spearman_pair(found[name][rest], values[rest]) > 0.8
