"""A small part of benchmarks/fuzz.py, seeded, and its own rules: what is a finding, and that none is missed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.helpers.hostile import damage, running
from tests.helpers.hostile.every_way import EVERY_WAY
from tests.helpers.hostile.kinds import LostError
from tests.helpers.hostile.rows import Truth, check
from tests.helpers.paths import BENCHMARKS

sys.path.insert(0, str(BENCHMARKS))

import fuzz

SMALL = {"config": 150, "jsonl": 25, "csv": 25, "tsv": 25, "parquet": 25}


@pytest.fixture(autouse=True, scope="module")
def off_the_path_again() -> Iterator[None]:
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("name", SMALL)
def test_hostile_inputs_are_accepted_or_refused_by_name(name: str, tmp_path: Path) -> None:
    first = 10_000_000  # other inputs than those of the benchmark's own runs
    for seed in range(first, first + SMALL[name]):
        verdict = running.tried(fuzz.KINDS[name], seed, tmp_path, limit=60)
        assert verdict.outcome in ("accepted", "refused"), f"--only {name} --seed {seed}: {verdict.details}"


def test_an_input_is_a_function_of_its_seed() -> None:
    data = bytes(range(256)) * 10
    assert damage.byte_damage(Random(3), data) == damage.byte_damage(Random(3), data) != data
    value = {"a": [1, {"b": None}], "c": "x"}
    assert damage.json_damage(Random(5), value) == damage.json_damage(Random(5), value) != json.dumps(value)


def test_rows_that_vanish_are_a_silent_loss(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"t {i}", "label": "ab"[i % 2]}) + "\n" for i in range(4)))
    texts = tuple(f"t {i}" for i in range(4))
    check(path, tmp_path, Truth(texts, 0), lines=4)
    for truth, lines in ((Truth(texts, 1), None), (Truth((*texts[:3], "other"), 0), None), (None, 5)):
        with pytest.raises(LostError):
            check(path, tmp_path, truth, lines=lines)


@pytest.mark.slow
def test_whatever_an_input_does_the_work_goes_on_and_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "GRACE", 1.0)
    ways = ["accepted", "refused", "traceback", "lost", "waits", "dies", "accepted", "deaf", "refused"]
    (tmp_path / "ways").write_text(" ".join(ways))
    found = list(running.run([EVERY_WAY], [("every_way", 0, len(ways))], tmp_path, limit=2.0, workers=1))
    assert [seed for _, seed, _ in found] == list(range(len(ways)))
    expected = ["accepted", "refused", "traceback", "lost", "hang", "traceback", "accepted", "hang", "refused"]
    assert [verdict.outcome for _, _, verdict in found] == expected
    assert found[5][2].where == "worker died (-9) at every_way"
    assert found[7][2].where == "worker hangs at every_way"


@pytest.mark.slow
def test_the_script_prints_a_table_and_its_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "result.json"
    assert fuzz.main(["--only=config", "--inputs=40", f"--json={written}"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert json.loads(written.read_text()) == result
    assert any("silent losses" in line for line in shown)
    assert result["inputs"] == result["accepted"] + result["refused"] == 40
    assert result["targets"] == {key: {"value": 0, "target": "== 0", "met": True} for key in fuzz.FINDINGS}
    assert fuzz.WHOLE >= 100_000
    assert sum(fuzz.QUICK.values()) == 2_000
    assert set(fuzz.QUICK) == set(fuzz.KINDS)


def test_one_input_is_made_again_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--only=config", "--seed=7"]) == 0
    said = capsys.readouterr().out
    assert "config 7: " in said
    assert Path(said.rpartition("the input is in ")[2].strip(), "given.yaml").exists()
