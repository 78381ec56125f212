"""What `sample` says of its choice: classes that are lost, and scores that are mostly the length of the text."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import raysample
from raysample.core import storage
from raysample.core.errors import ResultWarning
from raysample.data.score_table import ScoreTable, table_schema
from raysample.selection import Selection
from raysample.selection.lengths import length_correlations, length_warnings


def table_of(folder: Path, label: list[int], tokens: Any, parts: int = 2, **scores: Any) -> ScoreTable:
    names, rows = tuple(scores), len(label)
    whole = pa.table({"row_id": [f"id-{i}" for i in range(rows)], "label": label, "tokens": tokens, **scores})
    places = []
    for number in range(parts):
        start, end = number * rows // parts, (number + 1) * rows // parts
        places.append(f"parts/part-{number}.parquet")
        storage.write_parquet(f"{folder}/{places[-1]}", whole.slice(start, end - start).cast(table_schema(names)))
    labels = tuple("abcdef"[: max(label) + 1])
    counts = {"in": rows, "scored": rows, "quarantined": 0}
    higher = {name: {"score": name, "higher_is": "harder"} for name in names}
    return ScoreTable(str(folder), tuple(places), higher, labels, "corpus", "checkpoints", counts, {}).save()


@pytest.fixture
def table(tmp_path: Path) -> ScoreTable:
    """200 rows of class a, which is hard, and 200 of class b, which is easy; lengths by lot, and like the scores."""
    draw = np.random.default_rng(0)
    label, tokens = [0] * 200 + [1] * 200, draw.integers(4, 60, 400)
    vog = np.r_[2 + draw.random(200), draw.random(200)]
    length = tokens + draw.normal(0, 5, 400)
    return table_of(tmp_path, label, tokens, vog=vog, long=length, short=-length, same=np.ones(400))


@pytest.mark.parametrize(
    ("policy", "fraction", "words"),
    [
        ("hard", 0.5, "it leaves no row of 1 of 2 classes: b (0 of 200 rows left)"),
        ("easy", 0.5, "it leaves no row of 1 of 2 classes: a (0 of 200 rows left)"),
        ("hard", 0.55, "it nearly wipes out 1 of 2 classes: b (20 of 200 rows left)"),
        ("hard", 0.6, "it turns the class mix over (class shift 0.33)"),  # 200 of 240 are of class a: 5/6 − 1/2
    ],
)
def test_a_selection_that_loses_a_class_says_so(
    table: ScoreTable, tmp_path: Path, policy: str, fraction: float, words: str
) -> None:
    with pytest.warns(ResultWarning, match="class") as caught:
        found = raysample.sample(table, policy, "vog", fraction=fraction, output=str(tmp_path / "out"))
    assert words in found.warnings
    assert [str(each.message) for each in caught] == [f"{policy}(vog): {warning}" for warning in found.warnings]
    assert Selection.load(found.uri).warnings == found.warnings
    assert json.loads((tmp_path / "out/selection.json").read_text())["warnings"] == list(found.warnings)


@pytest.mark.parametrize(
    "arm",
    [
        {"policy": "random"},
        {"policy": "stratified_random"},
        {"policy": "hard", "score": "vog", "normalise": "class"},
        {"policy": "hard", "score": "vog", "quota": "balanced"},
    ],
)
def test_a_selection_that_keeps_the_mix_says_nothing(table: ScoreTable, arm: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert raysample.sample(table, fraction=0.5, **arm).warnings == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "score", "sign"),
    [("hard", "long", "+"), ("hard", "short", "-"), ("easy", "long", "+"), ("softmax", "short", "-")],
)
def test_a_score_that_is_mostly_length_is_named(table: ScoreTable, policy: str, score: str, sign: str) -> None:
    with pytest.warns(ResultWarning, match="is mostly the length of the text"):
        found = raysample.sample(table, policy, score, fraction=0.5)
    (told,) = found.warnings
    assert told.startswith(
        f"{score} is mostly the length of the text (rank correlation with the number of tokens {sign}"
    )


def test_correlations_are_spearmans_and_a_constant_has_none(table: ScoreTable) -> None:
    from scipy import stats

    frame = table.to_pandas()
    found = length_correlations(table, ("vog", "long", "short", "same"))
    for name in ("vog", "long", "short"):
        assert found[name] == pytest.approx(stats.spearmanr(frame[name], frame["tokens"]).statistic, abs=1e-9)
    assert np.isnan(found["same"])
    assert length_warnings(table, ("vog", "same")) == ()


def test_of_a_large_table_some_rows_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    tokens = draw.integers(4, 60, 4_000)
    table = table_of(tmp_path, [0] * 4_000, tokens, parts=40, long=tokens + draw.normal(0, 5, 4_000))
    monkeypatch.setattr("raysample.selection.lengths.SAMPLED_ROWS", 400)
    read, real = list[str](), storage.read_parquet

    def counted(uri: str, columns: list[str] | None = None) -> pa.Table:
        read.append(uri)
        return real(uri, columns)

    monkeypatch.setattr(storage, "read_parquet", counted)
    assert length_correlations(table, ("long",))["long"] == pytest.approx(0.95, abs=0.03)
    assert len(read) == 16
    assert length_correlations(table, ("long",)) == length_correlations(table, ("long",))


def test_a_selection_of_an_earlier_version_has_no_warnings(table: ScoreTable, tmp_path: Path) -> None:
    with pytest.warns(ResultWarning):
        made = raysample.sample(table, "hard", "vog", fraction=0.5, output=str(tmp_path / "out"))
    manifest = tmp_path / "out/selection.json"
    data = json.loads(manifest.read_text())
    del data["warnings"]
    manifest.write_text(json.dumps(data))
    found = Selection.load(made.uri)
    assert (found.warnings, found.fingerprint) == ((), made.fingerprint)


@pytest.mark.parametrize(
    ("arm", "missed"),
    [
        ({"policy": "random", "quota": "proportional"}, 2),
        ({"policy": "softmax", "score": "s", "quota": "proportional"}, 2),
        ({"policy": "stratified_random"}, 2),
        ({"policy": "random"}, 0),
        ({"policy": "random", "quota": "balanced"}, 0),
    ],
)
def test_weights_that_stand_for_no_row_of_a_class_are_told(arm: dict[str, Any], missed: int, tmp_path: Path) -> None:
    label = [0] * 300 + [1] * 2 + [2] * 2
    scores = np.random.default_rng(0).random(304).astype(np.float32)
    table = table_of(tmp_path / "table", label, [5] * 304, s=scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultWarning)
        chosen = raysample.sample(table, **arm, fraction=0.1, weights="unbiased", output=str(tmp_path / "chosen"))
        plain = raysample.sample(table, **arm, fraction=0.1, output=str(tmp_path / "plain"))
    told = [warning for warning in chosen.warnings if "stand for no row" in warning]
    assert len(told) == (1 if missed else 0)
    assert not missed or f"{missed} strata that keep none (b, c; 4 rows)" in told[0]
    assert not any("stand for no row" in warning for warning in plain.warnings)
