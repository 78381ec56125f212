"""A handful of rows is scored again by the slow twin before a table is whole; a wrong number ends the scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import raysample
from raysample import testing
from raysample.core.errors import ScoreError
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.influence.scores import create_score
from raysample.influence.shards import run_visits
from raysample.influence.verification import spot
from raysample.testing import LABELS
from tests.helpers.corpora import tiny_corpus

SCORES: list[Any] = ["vog", "el2n", {"name": "grand", "checkpoints": "last"}, "correctness"]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    return testing.tiny_checkpoints(tmp_path_factory.mktemp("run"), 2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("rows"), 24)


def test_the_table_keeps_what_a_few_rows_came_to(trace: CheckpointSet, corpus: Corpus, tmp_path: Path) -> None:
    table = raysample.score(trace, corpus, SCORES, str(tmp_path), max_length=16)
    assert table.verified["rows"] == spot.MIN_ROWS
    assert set(table.verified["differences"]) == set(table.columns)
    assert all(0 <= value < 1e-3 for value in table.verified["differences"].values())
    assert table.cost["verify_seconds"] == table.verified["seconds"] > 0
    assert ScoreTable.load(str(tmp_path)).verified == table.verified
    assert raysample.score(trace, corpus, SCORES, str(tmp_path), max_length=16).verified == table.verified
    plain = raysample.score(trace, corpus, SCORES, str(tmp_path / "plain"), max_length=16, verify_rows=0)
    assert plain.verified == {}
    assert plain.fingerprint == table.fingerprint


@pytest.mark.parametrize("column", ["el2n", "vog", "grand", "correctness"])
def test_a_wrong_score_fails_loudly_and_leaves_no_table(
    column: str, trace: CheckpointSet, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_visits.score_block

    def wrong(*given: Any, **more: Any) -> Any:
        found = real(*given, **more)
        return {name: values + 1.0 if name == column else values for name, values in found.items()}

    monkeypatch.setattr(run_visits, "score_block", wrong)
    for _ in range(2):  # a second try finds the parts, and looks at them again
        with pytest.raises(ScoreError, match=r"score\.verify_rows: 0") as caught:
            raysample.score(trace, corpus, SCORES, str(tmp_path), max_length=16)
        assert f"{column}: " in caught.value.problem
        assert "stored" in caught.value.problem
        assert not (tmp_path / "scores.json").exists()


def test_rows_that_a_model_is_sure_of_are_rounding_and_no_fault(corpus: Corpus, tmp_path: Path) -> None:
    """1 - p of a row that is learnt by heart is 1e-6: float32 has one digit of it."""
    trace = testing.tiny_checkpoints(tmp_path / "run", 1)
    place = trace.checkpoints[0].uri
    from safetensors.torch import load_file, save_file

    weights = load_file(Path(place) / "model.safetensors")
    weights["classifier.weight"] *= 0
    weights["classifier.bias"] = torch.tensor([14.0, 0.0, 0.0])
    save_file(weights, Path(place) / "model.safetensors", {"format": "pt"})
    checkpoint_set.seal_checkpoint(Path(place))
    sure = raysample.adopt([place], str(tmp_path / "sure"), labels=LABELS)
    found = raysample.score(sure, corpus, ["el2n"], str(tmp_path / "scores"), max_length=16)
    assert found.verified["rows"] == spot.MIN_ROWS


def test_how_many_rows_are_paid_for() -> None:
    assert [spot.affordable(16, rows) for rows in (2, 200, 12_500, 1_000_000)] == [2, 4, 10, 16]
    assert spot.affordable(0, 10_000) == 0
    assert spot.affordable(2, 10_000) == 2


@pytest.mark.parametrize(
    ("score", "precision", "here", "bad"),
    [
        ("el2n", "float32", [0.5, 1.0, 2.0, 3.0], 0),
        ("el2n", "float32", [0.5, 1.0, 2.01, 3.0], 1),
        ("el2n", "float32", [0.5, float("inf"), 2.0, 3.0], 1),
        ("forgetting", "float32", [1.5, 1.0, 2.0, 3.0], 0),
        ("forgetting", "float32", [1.5, 2.0, 2.0, 3.0], 2),
        ("el2n", "bfloat16", [0.51, 1.02, 2.01, 3.9], 0),
        ("el2n", "bfloat16", [1.5, 2.0, 3.0, 4.5], 4),
    ],
)
def test_bounds(score: str, precision: str, here: list[float], bad: int) -> None:
    there = np.array([0.5, 1.0, 2.0, 3.0])
    found, bound = spot._out_of_bounds(create_score(score)[1], np.array(here), there, np.zeros(4), precision)
    assert len(found) == bad
    assert "at most" in bound
