"""Rows that cannot be scored are set aside with a reason, the others are not touched, and a retry brings them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample import models
from raysample.cli import main
from raysample.core.config import ModelConfig
from raysample.data.corpus import Corpus, Shard
from raysample.data.score_table import ScoreTable
from raysample.data.score_table_layout import part_name
from raysample.influence.shards import crash_counter
from raysample.influence.shards.isolation import Scored, score_with_isolation
from tests.helpers.configs import small_corpus, write_config

pytestmark = pytest.mark.slow

POISON = "the poisoned row"
POISONED = (3, 77, 78, 150)


@pytest.fixture
def poisoned(small_run: Path, tmp_path: Path) -> Path:
    """Fine-tune on a corpus where four rows hold a text that can be made to fail; return the configuration."""
    rows = pq.read_table(small_run / "train.parquet")
    texts = rows["text"].to_pylist()
    for place in POISONED:
        texts[place] = f"{POISON} {place}"
    at = rows.schema.get_field_index("text")
    pq.write_table(rows.set_column(at, "text", pa.array(texts)), tmp_path / "train.parquet")
    corpus = small_corpus(small_run, shard_rows=50, train={"path": str(tmp_path / "train.parquet")})
    config = write_config(tmp_path, small_run, corpus=corpus)
    assert main.main(["fine-tune", str(config)]) == 0
    return config


def fail(monkeypatch: pytest.MonkeyPatch, word: str = POISON) -> None:
    real = models.encode

    def encode(words: Any, rows: pa.Table, spec: ModelConfig) -> Any:
        if any(word in text for text in rows["text"].to_pylist()):
            raise ValueError(f"cannot read {rows['text'][0]}")
        return real(words, rows, spec)

    monkeypatch.setattr(models, "encode", encode)


def table(config: Path) -> ScoreTable:
    return ScoreTable.load(str(config.parent / "runs/small/scores"))


def shards(config: Path) -> tuple[Shard, ...]:
    return Corpus.load(str(config.parent / "runs/small/corpus/train")).shards


def quarantine(config: Path) -> list[dict[str, Any]]:
    files = sorted((config.parent / "runs/small/scores").rglob("quarantine-*.parquet"))
    return sorted((row for file in files for row in pq.read_table(file).to_pylist()), key=lambda row: row["row"])


def test_bad_rows_are_set_aside_and_come_back(
    poisoned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        fail(broken)
        assert main.main(["score", str(poisoned)]) == 0
    assert table(poisoned).counts == {"in": 200, "scored": 196, "quarantined": 4}
    assert table(poisoned).statistics().reasons == {"ValueError while it was scored": 4}
    lost = quarantine(poisoned)
    assert sorted(row["row"] for row in lost) == list(POISONED)
    assert {row["reason"] for row in lost} == {"ValueError while it was scored"}  # its words hold a text
    assert {row["file"] for row in lost} == {str(poisoned.parent / "train.parquet")}
    kept = table(poisoned).to_pandas().set_index("row_id")
    untouched = list((poisoned.parent / "runs/small/scores").rglob(part_name(shards(poisoned)[2])))
    before = untouched[0].stat().st_mtime_ns
    capsys.readouterr()
    assert main.main(["retry", str(poisoned)]) == 0
    told = capsys.readouterr().out
    assert "retry: 4 rows are in quarantine" in told
    assert "1 of 4 shards were finished before, 3 to do" in told
    assert "4 of them have scores now" in told
    assert untouched[0].stat().st_mtime_ns == before
    assert quarantine(poisoned) == []
    whole = table(poisoned).to_pandas().set_index("row_id")
    assert len(whole) == 200
    assert table(poisoned).statistics().reasons == {}
    assert (whole.loc[kept.index, "vog"] - kept["vog"]).abs().max() < 1e-5 * whole["vog"].max()
    assert not list((poisoned.parent / "runs/small/scores").rglob("attempts/*"))


def test_too_many_bad_rows_stop_the_run(
    poisoned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        fail(broken)
        assert main.main(["score", str(poisoned), "score.max_quarantined=0.01"]) == 2
    told = capsys.readouterr().err
    assert "3 of 200 rows could not be scored, more than score.max_quarantined=0.01 allows" in told
    assert "raysample retry" in told
    assert main.main(["retry", str(poisoned), "score.max_quarantined=0.01"]) == 0
    assert table(poisoned).counts["scored"] == 200


def test_what_fails_for_every_row_is_no_row_s_fault(poisoned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "")
    with pytest.raises(ValueError, match="cannot read"):
        main.main(["score", str(poisoned)])
    assert quarantine(poisoned) == []


def test_a_shard_over_which_too_many_workers_died_is_set_aside_and_comes_back(
    poisoned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["score", str(poisoned)]) == 0
    whole = table(poisoned).to_pandas()
    folder = str(next((poisoned.parent / "runs/small/scores").glob("parts-*")))
    shard = shards(poisoned)[1]
    Path(folder, part_name(shard)).unlink()
    Path(folder, "attempts").mkdir(exist_ok=True)
    assert crash_counter.deaths(folder, shard) == crash_counter.CrashCount()
    Path(folder, "attempts", f"{shard.name}.json").write_text('{"attempts": 10, "scoring": 10}')
    assert crash_counter.deaths(folder, shard).enough
    assert main.main(["score", str(poisoned), "score.max_quarantined=0.3"]) == 0
    assert table(poisoned).counts == {"in": 200, "scored": 150, "quarantined": 50}
    assert {row["reason"] for row in quarantine(poisoned)} == {"its shard crashed 10 workers"}
    assert main.main(["retry", str(poisoned), "score.max_quarantined=0.3"]) == 0
    assert table(poisoned).to_pandas().equals(whole)
    assert "50 of them have scores now" in capsys.readouterr().out


def test_halving_finds_exactly_the_bad_rows() -> None:
    import numpy as np

    rows, calls = pa.table({"x": list(range(100))}), []

    def work(part: pa.Table, encoded: Any = None) -> tuple[Any, dict[str, Any]]:
        values = part["x"].to_numpy()
        calls.append(len(values))
        if np.isin(values, [0, 41, 99]).any():
            raise KeyError
        return np.ones(len(values), np.int32), {"s": values.astype(np.float32)}

    found = score_with_isolation(work, rows)
    assert sorted(found.reasons) == [0, 41, 99]
    good = np.setdiff1d(np.arange(100), [0, 41, 99])
    assert np.array_equal(found.column("s")[good], good)
    assert np.isnan(found.column("s")[[0, 41, 99]]).all()
    assert len(calls) < 60
    few = score_with_isolation(work, rows.slice(41, 1))
    assert few.reasons == {0: "KeyError while it was scored"}
    assert np.isnan(few.column("s")).all()
    assert Scored.nothing(2, "why").then(few).reasons == {0: "why", 1: "why", 2: "KeyError while it was scored"}
