"""Scoring with everything that lies outside of one visit: references, targets, several runs, captures, landmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raysample
from raysample.core.config import FineTuneConfig, ModelConfig, SourceConfig
from raysample.core.errors import ConfigError, ScoreError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.influence.scores import SCORES, create_scores, from_logits
from raysample.testing import tiny_corpus_files
from tests.helpers import every_score

pytestmark = pytest.mark.slow

MODEL = ModelConfig(hidden_size=16, vocabulary_size=200, max_length=16, dropout=0)
RECIPE = FineTuneConfig(epochs=4, batch_size=16, learning_rate=3e-3, checkpoints=4, capture=True)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus, SourceConfig]:
    folder = tmp_path_factory.mktemp("corpora")

    def described(name: str, rows: int, seed: int, labels: Any = None) -> tuple[Corpus, SourceConfig]:
        path = tiny_corpus_files(folder / f"{name}-files", rows=rows, seed=seed)
        source = SourceConfig.model_validate({"path": path, "columns": {"id": "id"}})
        return raysample.describe(source, str(folder / name), labels=labels), source

    train, _ = described("train", 160, 0)
    test, source = described("test", 40, 1, train.labels)
    return train, test, source


@pytest.fixture(scope="module")
def runs(
    corpora: tuple[Corpus, Corpus, SourceConfig], tmp_path_factory: pytest.TempPathFactory
) -> tuple[CheckpointSet, CheckpointSet]:
    folder = tmp_path_factory.mktemp("runs")
    train, test, _ = corpora

    def tuned(seed: int) -> CheckpointSet:
        recipe = RECIPE.model_copy(update={"seed": seed})
        return raysample.fine_tune(train, test, str(folder / f"seed-{seed}"), model=MODEL, recipe=recipe)

    return tuned(0), tuned(1)


@pytest.fixture(scope="module")
def table(
    corpora: tuple[Corpus, Corpus, SourceConfig],
    runs: tuple[CheckpointSet, CheckpointSet],
    tmp_path_factory: pytest.TempPathFactory,
) -> ScoreTable:
    folder = str(tmp_path_factory.mktemp("table"))
    targets = {every_score.TARGET: corpora[2]}
    return raysample.score(runs[0], corpora[0], every_score.specs(), folder, targets=targets)


def test_every_score_of_the_registry_is_one_finite_column_of_one_table(table: ScoreTable) -> None:
    frame = table.to_pandas()
    assert set(table.columns) == set(SCORES)
    assert table.counts == {"in": 160, "scored": 160, "quarantined": 0}
    assert np.isfinite(frame[list(SCORES)].to_numpy()).all()
    # Each tells the rows apart: no score is a constant.
    assert all(frame[name].nunique() > 1 for name in SCORES)


@pytest.mark.parametrize(
    "name", ["pvi", "tracin_target", "influence", "prototype", "knn_label_disagreement", "moderate"]
)
def test_a_score_with_references_is_the_same_alone(
    name: str,
    table: ScoreTable,
    corpora: tuple[Corpus, Corpus, SourceConfig],
    runs: tuple[CheckpointSet, CheckpointSet],
    tmp_path: Path,
) -> None:
    targets = {every_score.TARGET: corpora[2]}
    wanted = [every_score.spec(name)]
    alone = raysample.score(runs[0], corpora[0], wanted, str(tmp_path), targets=targets, batch_tokens=100).to_pandas()
    together = table.to_pandas()
    assert alone["row_id"].tolist() == together["row_id"].tolist()
    np.testing.assert_allclose(alone[name], together[name], rtol=2e-3, atol=1e-5)


def test_the_scores_of_several_runs_are_averaged(
    corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet], tmp_path: Path
) -> None:
    scores = ["vog", "el2n", "pvi"]
    both = raysample.score(list(runs), corpora[0], scores, str(tmp_path / "both"))
    each = [raysample.score(run, corpora[0], scores, str(tmp_path / str(i))) for i, run in enumerate(runs)]
    for name in scores:
        values = [one.to_pandas()[name].to_numpy() for one in each]
        np.testing.assert_allclose(both.to_pandas()[name], np.mean(values, axis=0), rtol=1e-6)
        assert not np.allclose(*values)
    assert both.made_by["runs"] == 2
    assert both.checkpoints not in {one.checkpoints for one in each}


def test_captured_logits_are_scored_without_a_visit(
    corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet], tmp_path: Path
) -> None:
    names = [name for name, score in create_scores(SCORES_WITHOUT_TARGET).items() if from_logits(score)]
    assert {"forgetting", "aum", "confidence", "variability", "correctness", "el2n"} <= set(names)
    table = raysample.score(runs[0], corpora[0], names, str(tmp_path), source="capture")
    frame = table.to_pandas()
    assert len(frame) == 160
    assert np.isfinite(frame[names].to_numpy()).all()
    # Four epochs are four presentations of each row.
    assert 1 < frame["correctness"].max() <= 4
    assert table.scores["correctness"]["steps"] == [10, 20, 30, 40]


SCORES_WITHOUT_TARGET = [name for name in SCORES if name not in every_score.NEEDS_TARGET]


def test_landmark_scores_are_predicted_and_their_quality_is_recorded(
    corpora: tuple[Corpus, Corpus, SourceConfig],
    runs: tuple[CheckpointSet, CheckpointSet],
    table: ScoreTable,
    tmp_path: Path,
) -> None:
    wanted = {"scores": ["vog"], "count": 120, "min_correlation": 0.0}
    predicted = raysample.score(runs[0], corpora[0], ["vog", "el2n"], str(tmp_path), landmarks=wanted)
    quality = predicted.made_by["landmarks"]["vog"]
    assert -1 <= quality["spearman"] <= 1
    frame, exact = predicted.to_pandas(), table.to_pandas()
    np.testing.assert_allclose(frame["el2n"], exact["el2n"], rtol=1e-4, atol=1e-6)
    assert (frame["vog"] >= 0).all()
    assert frame["vog"].corr(exact["vog"], method="spearman") > 0.3


def test_landmarks_below_the_bound_are_refused(
    corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet], tmp_path: Path
) -> None:
    wanted = {"scores": ["vog"], "count": 100, "min_correlation": 0.9999}
    with pytest.raises(ScoreError, match="vog"):
        raysample.score(runs[0], corpora[0], ["vog"], str(tmp_path), landmarks=wanted)


def test_a_second_scoring_prepares_nothing_again(
    corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet], tmp_path: Path
) -> None:
    first = raysample.score(runs[0], corpora[0], ["pvi", "prototype"], str(tmp_path))
    manifests = {path: path.stat().st_mtime_ns for path in (tmp_path / "references").rglob("*") if path.is_file()}
    assert manifests
    again = raysample.score(runs[0], corpora[0], ["pvi", "prototype", "el2n"], str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in manifests} == manifests
    assert again.to_pandas()["pvi"].tolist() == first.to_pandas()["pvi"].tolist()


def test_the_cost_is_recorded_and_is_no_part_of_the_identity(table: ScoreTable) -> None:
    assert table.cost["score_seconds"] > 0
    assert table.cost["prepare_seconds"] > 0
    assert table.cost["training_seconds"] > 0
    loaded = json.loads((Path(table.uri) / "scores.json").read_text(encoding="utf-8"))
    assert loaded["cost"] == table.cost
    assert ScoreTable.load(table.uri).fingerprint == table.fingerprint


def test_the_slow_twin_agrees_with_every_column(
    table: ScoreTable, corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet]
) -> None:
    found = raysample.verify(table, runs[0], corpora[0], rows=24)
    assert [check.column for check in found.checks] == list(table.columns)
    assert [check.column for check in found.checks if not check.passed] == []
    assert (Path(table.uri) / "verification.json").exists()


def test_an_unknown_target_is_named_before_any_work(
    corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet], tmp_path: Path
) -> None:
    with pytest.raises(ScoreError, match=r"target 'elsewhere', which is not among score\.targets"):
        raysample.score(runs[0], corpora[0], [{"name": "tracin_target", "target": "elsewhere"}], str(tmp_path))


def test_captures_refuse_scores_that_need_gradients(
    corpora: tuple[Corpus, Corpus, SourceConfig], runs: tuple[CheckpointSet, CheckpointSet], tmp_path: Path
) -> None:
    with pytest.raises(ScoreError, match="source: checkpoints"):
        raysample.score(runs[0], corpora[0], ["vog"], str(tmp_path), source="capture")


def test_capture_must_be_switched_on_in_fine_tuning() -> None:
    from raysample.core.config import parse
    from raysample.workflow.checks import check_plans

    with pytest.raises(ConfigError, match=r"fine_tune\.capture: true"):
        check_plans(parse({"score": {"source": "capture", "scores": ["el2n"]}, "compare": {"arms": []}}))
