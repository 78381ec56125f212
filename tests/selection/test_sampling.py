"""Selections on storage: aligned parts, manifest, provenance, errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysample.core import storage
from raysample.core.config import ArmConfig
from raysample.core.errors import ProvenanceError, ScoreError, SelectionError, StorageError
from raysample.data.score_table import ScoreTable
from raysample.selection import Selection, choose_rows, sampling, table_blocks, write_selection
from raysample.selection.policies import Rows, create_policy
from tests.helpers.selection_tables import score_table

HARD = ArmConfig(policy="hard", score="vog", normalise="class")


def test_parts_stand_beside_the_score_tables(tmp_path: Path) -> None:
    table = score_table(tmp_path / "scores")
    made = write_selection(table, HARD, str(tmp_path / "out"), fraction=0.4, seed=3)
    assert made == Selection.load(str(tmp_path / "out"))
    assert made.parts == tuple(f"selection/part-{i:05d}.parquet" for i in range(3))
    for ours, theirs in zip(made.read(), table.read(), strict=True):
        assert ours["row_id"].equals(theirs["row_id"])
        assert ours["label"].equals(theirs["label"])


def test_the_rows_say_what_the_engine_says(tmp_path: Path) -> None:
    table = score_table(tmp_path / "scores")
    made = write_selection(table, HARD, str(tmp_path / "out"), fraction=0.4, seed=3)
    rows = Rows.from_arrow(table.to_arrow(), ("vog",))
    mask = choose_rows([rows], create_policy(HARD, {"vog": "harder"}), 0.4, 3)[0]
    frame = made.to_pandas()
    assert (frame["decision"] == np.where(mask, "kept", "pruned")).all()
    assert frame["weight"].tolist() == mask.astype(float).tolist()
    assert set(frame["class"]) == {"x", "y", "z"}
    assert made.kept_ids().to_pylist() == frame["row_id"][mask].tolist()
    assert made.kept_class_counts == tuple(np.bincount(rows.label[mask]).tolist())
    assert made.class_counts == (600, 200, 77)
    assert made.counts == {"in": 882, "kept": 351, "pruned": 526, "quarantined": 5}


def test_z_keys_have_mean_zero_and_deviation_one_in_every_class(tmp_path: Path) -> None:
    frame = write_selection(score_table(tmp_path / "s"), HARD, str(tmp_path / "out"), count=10).to_pandas()
    spread = frame.groupby("class")["key"].agg(["mean", lambda key: key.std(ddof=0)]).to_numpy()
    np.testing.assert_allclose(spread, [[0, 1]] * 3, atol=1e-5)


def test_manifest_tells_the_arm_and_where_it_cut(tmp_path: Path) -> None:
    table = score_table(tmp_path / "scores")
    made = write_selection(table, HARD, str(tmp_path / "out"), fraction=0.4, seed=3)
    manifest = storage.read_json(str(tmp_path / "out/selection.json"))
    assert (manifest["noun"], manifest["name"], manifest["fraction"]) == ("Selection", "hard(vog|class)", 0.4)
    assert (manifest["arm"], manifest["seed"]) == (HARD.to_dict(), 3)
    assert (manifest["corpus"], manifest["scores"]) == ("corpus-fp", table.fingerprint)
    assert manifest["fingerprint"] == made.fingerprint
    (cut,) = manifest["thresholds"]
    frame = made.to_pandas()
    assert (cut["name"], cut["rows"], cut["kept"]) == ("all", 877, 351)
    assert cut["key"] == frame["key"][frame["decision"] == "kept"].min()


def test_reasons_in_words(tmp_path: Path) -> None:
    values = np.r_[[5.0] * 10, [2.0] * 400, np.zeros(467)]
    table = score_table(tmp_path / "scores", values=values)
    frame = write_selection(table, ArmConfig(policy="hard", score="vog"), str(tmp_path / "a"), count=10).to_pandas()
    assert frame["reason"][0] == "hard(vog): key 5 >= threshold 5.0 in stratum 'all'"
    assert frame["reason"][876] == "hard(vog): key 0 < threshold 5.0 in stratum 'all'"
    frame = write_selection(table, ArmConfig(policy="hard", score="vog"), str(tmp_path / "b"), count=100).to_pandas()
    tied = frame[frame["key"] == 2]
    assert set(tied["reason"][tied["decision"] == "kept"]) == {
        "hard(vog): key 2 = threshold 2.0 in stratum 'all' (tie kept by lot)"
    }
    assert set(tied["reason"][tied["decision"] == "pruned"]) == {
        "hard(vog): key 2 = threshold 2.0 in stratum 'all' (tie pruned by lot)"
    }
    balanced = ArmConfig(policy="hard", score="vog", quota="balanced")
    frame = write_selection(table, balanced, str(tmp_path / "c"), count=400).to_pandas()
    assert set(frame["reason"][frame["class"] == "z"]) == {
        "hard(vog, balanced): all of the 77 rows of stratum 'z' kept"
    }


def test_layout_and_reading_in_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_selection(score_table(tmp_path / "s"), HARD, str(tmp_path / "one"), fraction=0.4)
    monkeypatch.setattr(sampling, "IN_MEMORY_ROWS", 0)
    monkeypatch.setattr(table_blocks, "BLOCK_ROWS", 100)
    table = score_table(tmp_path / "s", (7, 300, 300, 270), "b")
    two = write_selection(table, HARD, str(tmp_path / "two"), fraction=0.4)
    assert one.fingerprint == two.fingerprint
    assert one.to_arrow().equals(two.to_arrow())


def test_fingerprint_tells_selections_apart(tmp_path: Path) -> None:
    table = score_table(tmp_path / "s")
    arms = [HARD, ArmConfig(policy="easy", score="vog"), ArmConfig(policy="random")]
    made = [write_selection(table, arm, str(tmp_path / f"{i}"), fraction=0.4) for i, arm in enumerate(arms)]
    made += [write_selection(table, arms[2], str(tmp_path / "again"), fraction=0.4, seed=1)]
    assert len({selection.fingerprint for selection in made}) == 4
    assert [selection.scores for selection in made] == [table.fingerprint] * 2 + [None] * 2


def test_a_second_selection_replaces_the_first(tmp_path: Path) -> None:
    uri = str(tmp_path / "out")
    write_selection(score_table(tmp_path / "s"), HARD, uri, fraction=0.4)
    write_selection(score_table(tmp_path / "s", (877,), "b"), ArmConfig(policy="random"), uri, count=9)
    assert [p.name for p in (tmp_path / "out/selection").iterdir()] == ["part-00000.parquet"]
    assert len(Selection.load(uri).kept_ids()) == 9


def test_missing_column_is_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="has no column 'el2n'; it has vog"):
        write_selection(
            score_table(tmp_path / "s"), ArmConfig(policy="hard", score="el2n"), str(tmp_path / "o"), fraction=0.5
        )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("budget", [{}, {"fraction": 0.5, "count": 3}])
def test_exactly_one_budget(tmp_path: Path, budget: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="give exactly one"):
        write_selection(score_table(tmp_path / "s"), HARD, str(tmp_path / "o"), **budget)


@pytest.mark.parametrize("budget", [{"fraction": 1}, {"fraction": True}, {"fraction": 0.0005}, {"count": 878}])
def test_budgets_that_cannot_be_met_leave_nothing(tmp_path: Path, budget: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="give a"):
        write_selection(score_table(tmp_path / "s"), HARD, str(tmp_path / "o"), **budget)
    assert not (tmp_path / "o").exists()


def test_table_that_lost_rows(tmp_path: Path) -> None:
    table = score_table(tmp_path / "s")
    short = ScoreTable(**{**vars(table), "parts": table.parts[:1]})
    with pytest.raises(SelectionError, match="promises 877 rows, its parts hold 500"):
        write_selection(short, HARD, str(tmp_path / "o"), fraction=0.5)


def test_table_with_more_classes_than_names(tmp_path: Path) -> None:
    table = ScoreTable(**{**vars(score_table(tmp_path / "s")), "labels": ("x", "y")})
    with pytest.raises(SelectionError, match="has 2 classes, its rows name 3"):
        write_selection(table, HARD, str(tmp_path / "o"), fraction=0.5)


def test_edited_manifest_is_refused(tmp_path: Path) -> None:
    write_selection(score_table(tmp_path / "s"), HARD, str(tmp_path / "o"), fraction=0.5)
    path = str(tmp_path / "o/selection.json")
    storage.write_json(path, {**storage.read_json(path), "seed": 99})
    with pytest.raises(ProvenanceError, match="sample again"):
        Selection.load(str(tmp_path / "o"))


def test_no_selection_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        Selection.load(str(tmp_path))


def test_counts_that_do_not_add_up_are_not_saved(tmp_path: Path) -> None:
    made = write_selection(score_table(tmp_path / "s"), HARD, str(tmp_path / "o"), fraction=0.5)
    broken = Selection(**{**vars(made), "counts": {**made.counts, "pruned": 1}})
    with pytest.raises(SelectionError, match="do not use the selection"):
        broken.save()
