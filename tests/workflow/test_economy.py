"""The preset `economy`: which checkpoints it takes, that it is measured once, and what stays the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import raysample
from raysample.cli import main
from raysample.core.config import EconomyConfig, ScoreConfig
from raysample.core.errors import ScoreError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.workflow import economy
from raysample.workflow.checks import check_scores
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow

CONFIG = ScoreConfig(
    scores=["vog", {"name": "el2n", "checkpoints": "all"}, {"name": "aum", "as": "margin_mean"}, "loss"],
    economy=EconomyConfig(rows=50, min_correlation=0.9),
)


def test_only_scores_of_all_checkpoints_are_open() -> None:
    assert list(economy.open_columns(CONFIG)) == ["vog", "margin_mean"]


def test_every_window_is_tried_that_the_score_can_do_with() -> None:
    scores = economy.trial(CONFIG, 4).scores
    names = [spec["as"] for spec in scores if isinstance(spec, dict)]
    kinds = ("spread", "first", "last")
    assert names == [
        "vog",
        *(f"vog.{kind}.{n}" for n in (2, 3) for kind in kinds),
        "margin_mean",
        *(f"margin_mean.{kind}.{n}" for n in (1, 2, 3) for kind in kinds),
    ]
    assert economy.trial(CONFIG, 4).precision == "bfloat16"


def test_the_cheapest_good_window_is_taken_and_of_equals_the_best() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=500)
    near = {name: exact + noise * rng.normal(size=500) for name, noise in (("good", 0.2), ("better", 0.1), ("bad", 2))}
    frame = pd.DataFrame({"vog": exact, "margin_mean": exact})
    for window in economy.window_candidates(5, 1):
        (kind, n) = next(iter(window.items()))
        name = "bad" if n < 3 else {"spread": "good", "first": "better", "last": "bad"}[kind]
        frame[f"vog.{kind}.{n}"], frame[f"margin_mean.{kind}.{n}"] = near[name], near["bad"]
    choice = economy.choose_windows(CONFIG, frame, 5, 0.9)
    assert choice["vog"]["checkpoints"] == {"first": 3}
    assert choice["vog"]["spearman"] == pytest.approx(
        frame["vog.first.3"].corr(frame["vog"], method="spearman"), abs=1e-4
    )
    assert choice["margin_mean"] == {"checkpoints": "all", "spearman": 1.0}


def test_what_the_user_set_stays() -> None:
    choice = {"vog": {"checkpoints": {"first": 3}, "spearman": 0.95}}
    settled = economy.economy_config(CONFIG, choice)
    assert settled.scores == [
        {"name": "vog", "as": "vog", "checkpoints": {"first": 3}},
        {"name": "el2n", "checkpoints": "all"},
        {"name": "aum", "as": "margin_mean"},
        "loss",
    ]
    assert settled.precision == "bfloat16"
    exact = ScoreConfig(scores=["vog"], precision="float32", economy=EconomyConfig())
    assert economy.economy_config(exact, {}).precision == "float32"
    assert economy.precision(ScoreConfig(scores=["vog"])) == "float32"


def test_captured_logits_have_no_checkpoints_to_leave_out() -> None:
    with pytest.raises(ScoreError, match="captured logits visit none"):
        check_scores(ScoreConfig(scores=["el2n"], source="capture", economy=EconomyConfig()))


@pytest.fixture(scope="module")
def scored(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("economy")
    recipe = {"epochs": 3, "learning_rate": 3e-3, "checkpoints": 6}
    score = {"scores": ["vog", "loss"], "economy": {"rows": 60, "min_correlation": 0.8}}
    config = str(write_config(folder, small_run, fine_tune=recipe, score=score))
    for verb in ("fine-tune", "score", "verify", "sample"):
        assert main.main([verb, config]) == 0
    return folder


def test_the_table_says_what_was_chosen_and_keeps_the_ranking(scored: Path) -> None:
    table = raysample.data.score_table.ScoreTable.load(str(scored / "runs/small/scores"))
    choice = table.made_by["economy"]
    assert set(choice) == {"vog"}
    assert choice["vog"]["spearman"] >= 0.8
    steps = table.scores["vog"]["steps"]
    trace = CheckpointSet.load(str(scored / "runs/small/checkpoints/seed-0"))
    corpus = Corpus.load(str(scored / "runs/small/corpus/train"))
    window = choice["vog"]["checkpoints"]
    assert len(steps) == (6 if window == "all" else next(iter(window.values())))
    assert table.made_by["precision"] == "bfloat16"
    whole = raysample.score(trace, corpus, ["vog"], str(scored / "whole"), precision="bfloat16").to_pandas()
    assert table.to_pandas()["vog"].corr(whole["vog"], method="spearman") > 0.6


def test_the_choice_is_measured_once(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = scored / "runs/small/scores/economy.json"
    before = place.stat().st_mtime_ns
    assert main.main(["score", str(scored / "config.yaml")]) == 0
    assert "economy, measured on 60 rows: vog at" in capsys.readouterr().out
    assert place.stat().st_mtime_ns == before
    changed = "score.economy.min_correlation=0.5"
    assert main.main(["score", str(scored / "config.yaml"), changed]) == 0
    assert place.stat().st_mtime_ns != before


def test_scores_with_checkpoints_of_their_own_leave_nothing_to_choose(scored: Path) -> None:
    trace = CheckpointSet.load(str(scored / "runs/small/checkpoints/seed-0"))
    corpus = Corpus.load(str(scored / "runs/small/corpus/train"))
    table = raysample.score(trace, corpus, ["loss", "el2n"], str(scored / "closed"), economy={})
    assert table.made_by["economy"] == {}
    assert table.made_by["precision"] == "bfloat16"
    assert not (scored / "closed/economy").exists()


def test_the_sample_is_a_corpus_of_the_same_rows(scored: Path, tmp_path: Path) -> None:
    corpus = Corpus.load(str(scored / "runs/small/corpus/train"))
    some = economy.sampled(corpus, 30, str(tmp_path / "some"))
    assert (some.rows, sum(some.class_counts)) == (30, 30)
    whole, part = corpus.table().to_pandas().set_index("row_id"), some.table().to_pandas().set_index("row_id")
    pd.testing.assert_frame_equal(part, whole.loc[part.index])
    again = economy.sampled(Corpus.load(some.uri), 10, str(tmp_path / "fewer"))
    assert set(again.table()["row_id"].to_pylist()) < set(part.index)
    assert economy.sampled(corpus, 10**6, str(tmp_path / "all")).rows == corpus.rows
