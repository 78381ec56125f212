"""`prune` accounts for every row, gives the same rows for the same input, and does no step twice."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysample
from raysample.core.errors import ConfigError, CorpusError, ResultWarning, SelectionError, StorageError
from raysample.core.locking import held
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.decision import Decision
from raysample.selection.text_features.feature_files import FeatureFiles
from raysample.tracking import MemoryTracker
from raysample.workflow import choice as module
from raysample.workflow import prune as steps

THEMES = {
    "music": ["play", "song", "album", "guitar", "loud"],
    "alarm": ["wake", "clock", "morning", "ring", "snooze"],
    "weather": ["rain", "sun", "cloud", "storm", "cold"],
}


CLEAN = {"policy": "stratified_random", "drop_suspects": {"score": "out_of_fold_confidence", "share": 0.3}}
HARD = {"policy": "hard", "score": "probe_el2n"}
HOW: dict[str, Any] = {"id": "id", "keep": 0.05, "candidates": [CLEAN, HARD]}
BRIEFLY = {**HOW, "candidates": [CLEAN]}
"""For what does not depend on who races."""


def rows_of(count: int = 300, noise: float = 0.3, seed: int = 0) -> pd.DataFrame:
    """Return rows of three themes; a share of the labels is drawn anew."""
    draw = np.random.default_rng(seed)
    names = list(THEMES)
    truth = [names[i] for i in draw.integers(0, 3, count)]
    texts = [" ".join(draw.choice(THEMES[name], 4)) + f" {draw.choice(list('abcdefgh'))}x" for name in truth]
    labels = [names[draw.integers(0, 3)] if draw.random() < noise else name for name in truth]
    return pd.DataFrame({"id": [f"r{i}" for i in range(count)], "text": texts, "label": labels, "day": range(count)})


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Return the output of one call on a CSV file with two unusable rows, and the file's rows."""
    home = tmp_path_factory.mktemp("prune")
    rows = rows_of(802, noise=0.4)
    rows.loc[[3, 9], "label"] = ""
    rows.to_csv(home / "rows.csv", index=False)
    raysample.prune(str(home / "rows.csv"), str(home / "out"), **HOW)
    return home / "out", rows


def test_every_row_is_kept_removed_or_in_quarantine_with_all_its_columns(pruned: tuple[Path, pd.DataFrame]) -> None:
    out, rows = pruned
    kept, removed = pq.read_table(out / "kept.parquet"), pq.read_table(out / "removed.parquet")
    decision = Decision.load(str(out / "decision.json"))
    assert decision.counts == {"in": 802, "kept": len(kept), "removed": len(removed), "quarantined": 2}
    assert len(kept) == 40
    assert kept.column_names == ["id", "text", "label", "day", "raysample_row_id", "raysample_weight"]
    assert removed.column_names[-1] == "raysample_reason"
    both = {**_by_id(kept), **_by_id(removed)}
    assert len(both) == 800
    given = {row["id"]: row for row in rows.to_dict("records") if row["label"]}
    assert {name: (row["text"], row["label"], int(row["day"])) for name, row in both.items()} == {
        name: (row["text"], row["label"], row["day"]) for name, row in given.items()
    }
    assert kept["raysample_row_id"].to_pylist() == kept["id"].to_pylist()
    assert all(removed["raysample_reason"].to_pylist())


def _by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in table.to_pylist()}


def test_wrong_labels_are_found_and_avoided(pruned: tuple[Path, pd.DataFrame]) -> None:
    out, _ = pruned
    decision = Decision.load(str(out / "decision.json"))
    assert decision.race.won
    assert decision.race.at_least > 0
    with (out / "suspects.csv").open(newline="") as stream:
        suspects = list(csv.DictReader(stream))
    assert len(suspects) == decision.suspects > 30
    right = {word: theme for theme, words in THEMES.items() for word in words}
    truly = [right[row["text"].split()[0]] for row in suspects]
    assert np.mean([row["predicted"] == theme for row, theme in zip(suspects, truly, strict=True)]) > 0.9
    assert all(row["given"] != row["predicted"] for row in suspects)
    confidence = [float(row["given_confidence"]) for row in suspects]
    assert confidence == sorted(confidence)


def test_the_same_rows_in_another_order_and_form_give_the_same_selection(
    pruned: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    out, rows = pruned
    turned = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    again = raysample.prune(turned, str(tmp_path / "out"), **HOW)
    before = set(pq.read_table(out / "kept.parquet")["id"].to_pylist())
    assert set(again.kept_ids().to_pylist()) == before
    one, two = (Decision.load(str(place / "decision.json")) for place in (out, tmp_path / "out"))
    assert one.race == two.race


def test_a_second_call_resumes_and_writes_the_same_files(
    pruned: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = pruned
    before = {name: (out / name).read_bytes() for name in ("kept.parquet", "removed.parquet", "suspects.csv")}
    (out / "kept.parquet").unlink()
    monkeypatch.setattr(module, "run_race", None)  # calling it would fail
    raysample.prune(str(out.parent / "rows.csv"), str(out), **HOW)
    assert {name: (out / name).read_bytes() for name in before} == before


def test_frames_tables_and_datasets_are_taken_as_they_are(tmp_path: Path) -> None:
    import datasets

    rows = rows_of(240, noise=0.0)
    kept = {
        name: set(raysample.prune(data, str(tmp_path / name), **BRIEFLY).kept_ids().to_pylist())
        for name, data in {
            "frame": rows,
            "table": pa.Table.from_pandas(rows),
            "dataset": datasets.Dataset.from_pandas(rows),
            "shuffled": datasets.Dataset.from_pandas(rows).shuffle(seed=3),
        }.items()
    }
    assert len(kept["frame"]) == 12
    assert all(ids == kept["frame"] for ids in kept.values())
    with pytest.raises(ConfigError, match="got list"):
        raysample.prune([1, 2], str(tmp_path / "list"))


def test_a_sample_races_and_all_rows_are_scored(tmp_path: Path) -> None:
    rows = rows_of(1_600, noise=0.4)
    selection = raysample.prune(rows, str(tmp_path / "out"), **HOW, race_rows=900)
    decision = Decision.load(str(tmp_path / "out" / "decision.json"))
    assert (decision.race.rows, selection.counts["in"], selection.counts["kept"]) == (900, 1_600, 80)
    assert decision.race.won
    right = {word: theme for theme, words in THEMES.items() for word in words}
    kept = pq.read_table(tmp_path / "out" / "kept.parquet").to_pylist()
    wrong = [right[row["text"].split()[0]] != row["label"] for row in kept]
    assert np.mean(wrong) < 0.1  # of all rows 27 %


def test_candidates_that_compare_pairs_of_rows_do_not_race_on_a_sample(tmp_path: Path) -> None:
    raysample.prune(rows_of(300), str(tmp_path / "out"), id="id", race_rows=250)
    decision = Decision.load(str(tmp_path / "out" / "decision.json"))
    names = [entry.name for entry in decision.race.entries]
    assert len(names) > 10
    assert not any(name.startswith("thinned") for name in names)


def test_auto_keeps_the_least_share_that_is_as_good_as_all_data(tmp_path: Path) -> None:
    easy = rows_of(400, noise=0.0)
    how: dict[str, Any] = {"id": "id", "keep": "auto", "candidates": [CLEAN]}
    raysample.prune(easy, str(tmp_path / "easy"), **how, tolerance=0.05)
    decision = Decision.load(str(tmp_path / "easy" / "decision.json"))
    assert decision.share < 0.7
    assert next(tried.outcome for tried in decision.shares) == "equivalent"
    assert decision.counts["kept"] == round(400 * decision.share)
    raysample.prune(rows_of(300, noise=0.9), str(tmp_path / "hard"), **how, tolerance=0.0)
    decision = Decision.load(str(tmp_path / "hard" / "decision.json"))
    assert (decision.share, decision.counts["kept"], decision.counts["removed"]) == (1, 300, 0)


def test_too_few_rows_are_sampled_at_random_with_the_reason(tmp_path: Path) -> None:
    selection = raysample.prune(rows_of(150), str(tmp_path / "out"), id="id", keep=0.5)
    decision = Decision.load(str(tmp_path / "out" / "decision.json"))
    assert decision.arm == INCUMBENT
    assert "150 rows are fewer than 200" in decision.chosen()
    assert selection.counts["kept"] == 75


def test_files_of_other_columns_are_joined_and_clashes_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = rows_of(240)
    pq.write_table(pa.Table.from_pandas(rows[:120].drop(columns="day")), folder / "a.parquet")
    pq.write_table(pa.Table.from_pandas(rows[120:].assign(day=0.5)), folder / "b.parquet")
    raysample.prune(str(folder), str(tmp_path / "out"), **BRIEFLY)
    kept = pq.read_table(tmp_path / "out" / "kept.parquet")
    assert set(kept["day"].to_pylist()) == {None, 0.5}
    pq.write_table(pa.Table.from_pandas(rows[120:].assign(raysample_reason="x")), folder / "b.parquet")
    with pytest.raises(SelectionError, match="'raysample_reason' already"):
        raysample.prune(str(folder), str(tmp_path / "clash"), **BRIEFLY)


def test_what_cannot_be_pruned_is_said(tmp_path: Path) -> None:
    rows = rows_of(240)
    for keep in (0.0, 1.0, 1.5, 1, "half"):
        with pytest.raises(SelectionError, match="share between 0 and 1"):
            raysample.prune(rows, str(tmp_path / "out"), keep=keep)  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="objective of"):
        raysample.prune(rows, str(tmp_path / "out"), objective="auc")  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="label"):
        raysample.prune(rows, str(tmp_path / "out"), label="intent")
    unlike = rows.assign(text=[chr(0x4E00 + i) for i in range(240)])
    with pytest.raises(CorpusError, match="give more texts, or an encoder"):
        raysample.prune(unlike, str(tmp_path / "alike"), id="id")


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with held(str(tmp_path / "out"), 0.0), pytest.raises(StorageError, match="is being written by"):
        raysample.prune(rows_of(240), str(tmp_path / "out"))


def test_the_groups_of_the_rows_can_be_what_counts(tmp_path: Path) -> None:
    rows = rows_of(300, noise=0.1).assign(country=["de", "fr", "se"] * 100)
    raysample.prune(rows, str(tmp_path / "out"), id="id", group="country", objective="worst_group", candidates=[CLEAN])
    decision = json.loads((tmp_path / "out" / "decision.json").read_text())
    assert "worst_group" in decision["race"]["entries"][0]["differences"]


def test_shares_that_leave_too_little_are_sampled_at_random_or_refused(tmp_path: Path) -> None:
    rows = rows_of(300, noise=0.0).assign(label=[f"class {i % 60}" for i in range(300)])
    selection = raysample.prune(rows, str(tmp_path / "few"), id="id", keep=0.1)
    decision = Decision.load(str(tmp_path / "few" / "decision.json"))
    assert "less than one row for each of 60 classes" in decision.chosen()
    assert selection.counts["kept"] == 30
    with pytest.raises(SelectionError, match="less than one row"):
        raysample.prune(rows, str(tmp_path / "none"), id="id", keep=0.001)


def test_small_classes_are_trained_on_and_not_judged(tmp_path: Path) -> None:
    rows = rows_of(300, noise=0.0)
    rows.loc[[5, 6], "label"] = "rare"
    with pytest.warns(ResultWarning, match="1 classes of fewer than 3 different rows"):
        raysample.prune(rows, str(tmp_path / "out"), **{**BRIEFLY, "keep": 0.5})
    decision = Decision.load(str(tmp_path / "out" / "decision.json"))
    assert decision.race.rows == 298
    assert decision.counts["kept"] == 150


def test_features_without_value_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: FeatureFiles, part: int, row_ids: pa.ChunkedArray) -> np.ndarray:
        return np.full((len(row_ids), self.dimension), np.nan, np.float16)

    monkeypatch.setattr(FeatureFiles, "read", broken)
    with pytest.raises(SelectionError, match="features of 240 of 240 rows are not finite"):
        raysample.prune(rows_of(240), str(tmp_path / "out"), **HOW)


def test_a_decision_is_tracked_without_texts(tmp_path: Path) -> None:
    tracker = MemoryTracker()
    selection = raysample.prune(rows_of(800, noise=0.4), str(tmp_path / "out"), **HOW, tracker=tracker)
    (run,) = tracker.children
    assert (run.name, run.status, run.params["keep"], run.params["features"]) == ("prune", "FINISHED", 0.05, "ngrams")
    assert run.logged["prune_kept"] + run.logged["prune_removed"] == run.logged["prune_in"] == 800
    assert run.logged["prune_at_least"] > 0
    assert [(digest, context) for _, digest, context in run.datasets] == [
        (selection.corpus, "training"),
        (selection.fingerprint, "selection"),
    ]
    names = {Path(path).name for path in run.artifacts}
    assert names == {"decision.json", "report.html", "selection.json", "kept.parquet"}
    stored = [Path(path.removeprefix("selections/selection/")) for path in run.artifacts]
    texts = set(rows_of(800, noise=0.4)["text"])
    for path in stored:
        for file in [path] if path.is_file() else path.rglob("*.parquet"):
            data = file.read_bytes() if file.suffix != ".parquet" else str(pq.read_table(file).to_pylist()).encode()
            assert not any(text.encode() in data for text in texts)


def test_columns_that_come_late_and_mixed_numbers_are_kept_and_other_mixtures_refused(tmp_path: Path) -> None:
    rows = rows_of(4_500, noise=0.0).drop(columns="day").to_dict("records")
    for i, row in enumerate(rows):
        row["n"] = i if i < 3_000 else i + 0.5  # whole numbers, then both within a shard, then others
        row |= {"note": f"note {i}"} if i >= 3_000 else {}  # in no row of the first shard
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raysample.prune(str(path), str(tmp_path / "out"), **BRIEFLY, race_rows=400)
    parts = [pq.read_table(tmp_path / "out" / name) for name in ("kept.parquet", "removed.parquet")]
    found = {row["id"]: row for part in parts for row in part.to_pylist()}
    assert len(found) == 4_500
    for row in rows:
        assert (found[row["id"]]["n"], found[row["id"]]["note"]) == (row["n"], row.get("note"))
    rows[4_000]["n"] = "many"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SelectionError, match=r"column 'n'|do not go together"):
        raysample.prune(str(path), str(tmp_path / "mixed"), **BRIEFLY, race_rows=400)


def test_no_decision_of_an_earlier_call_stands_beside_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raysample.prune(rows_of(240), str(tmp_path / "out"), **BRIEFLY)

    def full(*_: object) -> None:
        raise StorageError("no room", "make some")

    monkeypatch.setattr(steps, "write_pruned_files", full)
    with pytest.raises(StorageError, match="no room"):
        raysample.prune(rows_of(240), str(tmp_path / "out"), **{**BRIEFLY, "keep": 0.5})
    assert not (tmp_path / "out" / "decision.json").exists()
