"""A pilot fine-tunes the race's best candidates, confirms or drops them, and does no training twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import raysample
from raysample.core import storage
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import SelectionError
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.decision import Decision
from raysample.selection.race.decision_card import decision_card
from raysample.selection.race.pilot_evidence import CONFIRMED
from raysample.testing.tiny import tiny_texts
from raysample.training.pilot_training import PilotRun, PilotTraining
from tests.helpers.model_folders import saved

RECIPE = FineTuneConfig(epochs=1, learning_rate=1e-3)
HOW: dict[str, Any] = {
    "id": "id",
    "keep": 0.2,
    "objective": "macro_f1",
    "candidates": [{"policy": "class_power", "power": 0}, {"policy": "hard", "score": "probe_el2n"}],
    "pilot": True,
    "budget": 10.0,
    "tolerance": 0.05,
    "recipe": RECIPE,
}


def unequal_rows(count: int = 2_000) -> pd.DataFrame:
    """Return rows of three classes of which one has most rows, so that a selection of equal classes has a better F1."""
    texts, truth = tiny_texts(6 * count)
    each = (1, 8, 16)  # of class 0 every row, of the others one in so many
    rows = [(text, label) for i, (text, label) in enumerate(zip(texts, truth, strict=True)) if i % each[label] == 0]
    rows = rows[:count]
    labels = [f"class {label}" for _, label in rows]
    return pd.DataFrame(
        {"id": [f"r{i}" for i in range(len(rows))], "text": [text for text, _ in rows], "label": labels}
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """Return a tiny encoder."""
    return ModelConfig(path=saved(tmp_path_factory.mktemp("encoder") / "base"), max_length=24)


@pytest.fixture(scope="module")
def piloted(encoder: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of one call with a pilot, on three classes of unequal size."""
    home = tmp_path_factory.mktemp("piloted")
    raysample.prune(unequal_rows(), str(home / "out"), encoder=encoder, **HOW)
    return home / "out"


def decision_in(folder: Path) -> Decision:
    return Decision.load(str(folder / "decision.json"))


def test_a_candidate_that_fine_tunes_better_is_confirmed_and_taken(piloted: Path) -> None:
    found = decision_in(piloted)
    assert found.race.won
    assert found.pilot is not None
    (entry,) = found.pilot.entries
    assert entry.status == CONFIRMED
    assert entry.mean == pytest.approx(np.mean(entry.rounds))
    assert len(entry.rounds) == found.pilot.rounds in (4, 6, 8)
    assert 0 < found.pilot.spent <= found.pilot.planned <= 20
    assert found.arm.name == entry.name == "class_power(power=0)"
    assert found.chosen() == "class_power(power=0): better by the probe, and confirmed by fine-tuning"
    assert found.gain().startswith("fine-tuned +")
    assert "when fine-tuned, with 95% confidence" in found.guarantee()
    assert found.paid is not None
    assert found.paid.measured == "trainings of the pilot"
    card = dict(decision_card(found, "rows", "out"))
    assert f"{found.pilot.rounds} rounds of fine-tuning on 20% of" in card["judged by"]
    assert "paid after" in card["cost"]
    assert "The pilot" in (piloted / "report.html").read_text()


def test_a_second_call_trains_nothing(piloted: Path, encoder: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = decision_in(piloted)
    monkeypatch.setattr(PilotTraining, "__call__", None)  # calling it would fail
    raysample.prune(unequal_rows(), str(piloted), encoder=encoder, **HOW)
    assert decision_in(piloted).pilot == before.pilot


def copied(piloted: Path, folder: Path, *gone: str) -> list[str]:
    """Copy an output without its pilot's result and the trainings that match a pattern; return their names."""
    shutil.copytree(piloted, folder)
    (pilot,) = (folder / "work").glob("pilot-*")
    (pilot / "pilot.json").unlink()
    names = sorted(path.name for pattern in gone for path in pilot.glob(pattern))
    for name in names:
        (pilot / name).unlink()
    return names


def test_trainings_of_an_interrupted_pilot_are_not_done_again(
    piloted: Path, encoder: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = copied(piloted, tmp_path / "out", "round-2-*", "round-3-*")
    real, calls = PilotTraining.__call__, list[int]()

    def counted(self: PilotTraining) -> PilotRun:
        """Count the training."""
        calls.append(self.seed)
        return real(self)

    monkeypatch.setattr(PilotTraining, "__call__", counted)
    raysample.prune(unequal_rows(), str(tmp_path / "out"), encoder=encoder, **HOW)
    again, before = decision_in(tmp_path / "out").pilot, decision_in(piloted).pilot
    assert again is not None
    assert before is not None
    assert again.entries == before.entries
    assert calls == [2, 2, 3, 3]
    assert len(missing) == 4


def test_what_is_not_confirmed_is_not_taken(
    piloted: Path, encoder: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainings of the candidate are done again, and all their predictions are wrong."""
    candidate = storage.fingerprint(["class_power(power=0)"])[:8]
    assert copied(piloted, tmp_path / "out", f"round-*-{candidate}.parquet")
    real = PilotTraining.__call__

    def worse(self: PilotTraining) -> PilotRun:
        """Predict a class that is not there."""
        return replace(real(self), predicted=np.full(len(self.judged), 2))

    monkeypatch.setattr(PilotTraining, "__call__", worse)
    half = raysample.prune(unequal_rows(), str(tmp_path / "out"), encoder=encoder, **HOW)
    found = decision_in(tmp_path / "out")
    assert found.race.won
    assert not found.won
    assert found.arm == INCUMBENT
    assert found.pilot is not None
    assert [entry.status for entry in found.pilot.entries] == ["refuted"]
    assert found.pilot.rounds == 4  # refuted at the first look
    assert found.chosen() == (
        "stratified random (class_power(power=0) is better by the probe; by fine-tuning: class_power(power=0) refuted)"
    )
    assert found.gain().startswith("no evidence of a gain")
    assert found.all_data() == "not compared: the race compared class_power(power=0)"
    # Stratified random keeps a fifth of every class.
    assert half.kept_class_counts == pytest.approx([0.2 * count for count in half.class_counts], abs=1)


def test_a_budget_that_pays_for_no_pilot_takes_stratified_random(encoder: ModelConfig, tmp_path: Path) -> None:
    raysample.prune(unequal_rows(), str(tmp_path), encoder=encoder, **{**HOW, "budget": 0.3})
    found = decision_in(tmp_path)
    assert found.arm == INCUMBENT
    assert "there was no pilot to confirm it: a pilot costs" in found.chosen()
    assert "and the budget is 0.3" in found.chosen()
    assert found.paid is not None
    assert found.paid.measured.startswith("forwards of 256 rows")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"encoder": None}, "a pilot fine-tunes an encoder, and none is given"),
        ({"keep": "auto"}, "a pilot confirms a choice at one share"),
        ({"budget": 0.0}, "the budget of the pilot is 0.0"),
    ],
)
def test_pilots_that_make_no_sense_are_refused_before_any_work(
    more: dict[str, Any], said: str, encoder: ModelConfig, tmp_path: Path
) -> None:
    with pytest.raises(SelectionError, match=said):
        raysample.prune(unequal_rows(300), str(tmp_path / "out"), **{**HOW, "encoder": encoder, **more})
    assert not (tmp_path / "out" / "work").exists()
