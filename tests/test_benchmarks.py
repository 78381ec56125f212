"""The contract of the scripts in benchmarks/: `main(argv)`, `--quick`, a table, JSON as the last line, an exit code."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
SMALL = ["--quick", "--hidden=16", "--layers=1", "--rows=5", "--repetitions=3"]


def imported(path: Path) -> ModuleType:
    name = f"benchmark_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scoring() -> Iterator[ModuleType]:
    module = imported(FOLDER / "scoring.py")
    yield module
    del sys.modules[module.__name__]


def assert_targets(targets: dict[str, dict[str, Any]]) -> None:
    """Every target says what it is, what it should be, and whether the one fits the other."""
    assert targets
    for found in targets.values():
        assert set(found) == {"value", "target", "met"}
        match = re.fullmatch(r"(<=|>=) (\d+(?:\.\d+)?)", found["target"])
        assert match is not None
        limit = float(match[2])
        assert found["met"] is (found["value"] <= limit if match[1] == "<=" else found["value"] >= limit)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_of_every_script_offers_quick_and_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        imported(path).main(["--help"])
    assert stop.value.code == 0
    assert {"--quick", "--json"} <= set(re.findall(r"--\w+", capsys.readouterr().out))


def test_scoring_prints_a_table_and_json(
    scoring: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "result.json"
    assert scoring.main([*SMALL, f"--json={written}"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert json.loads(written.read_text()) == found
    assert {"date", "cpu", "threads", "versions", "peak_rss_mib", "sizes", "errors", "ratios"} <= set(found)
    assert_targets(found["targets"])
    for name, aim in found["targets"].items():
        assert aim["value"] == found["ratios"][name]["median"]
        assert any(line.startswith(name) and aim["target"] in line for line in shown)
    for name, method in found["methods"].items():
        assert any(name in line for line in shown)
        assert method["rows_per_cpu_second"] > 0
        assert method["cpu_seconds"]["lowest"] <= method["cpu_seconds"]["median"] <= method["cpu_seconds"]["highest"]
    assert found["methods"]["plain forward"]["over_forward"] == 1
    assert found["sizes"] == {"hidden": 16, "layers": 1, "rows": 5, "checkpoints": 2, "repetitions": 3}
    assert max(found["errors"].values()) <= found["tolerance"]


def test_scoring_counts_the_checkpoints_that_a_score_looks_at(scoring: ModuleType) -> None:
    block = scoring.made_up(scoring.Sizes(hidden=8, layers=1, rows=5, checkpoints=3))
    rows = {name: method.rows for name, method in scoring.methods(block).items()}
    sweeps = {name: n for name, n in rows.items() if name.startswith("sweep")}
    assert {name for name, n in sweeps.items() if n != 15} == {"sweep: loss alone"}
    assert sweeps["sweep: loss alone"] == 5
    assert {n for name, n in rows.items() if name not in sweeps} == {5}


def test_scoring_compares_costs_per_row_within_each_repetition(scoring: ModuleType) -> None:
    one, other = scoring.Cost(10, [4.0, 1.0, 9.0], []), scoring.Cost(5, [1.0, 1.0, 1.0], [])
    assert one.over(other) == {"median": 2.0, "lowest": 0.5, "highest": 4.5}
    assert_targets({"met": scoring.target(1.0, "<=", 1.0), "missed": scoring.target(1.0, ">=", 1.5)})
    assert not scoring.target(1.0, ">=", 1.5)["met"]


def test_scoring_succeeds_where_a_target_is_missed(
    scoring: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(scoring.TARGETS, "all_eight_over_vog_and_grand", ("<=", 0.001))
    assert scoring.main(SMALL) == 0
    out = capsys.readouterr().out
    assert "target <= 0.001: MISSED" in out
    assert not json.loads(out.splitlines()[-1])["targets"]["all_eight_over_vog_and_grand"]["met"]


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_scoring_times_nothing_where_numbers_are_wrong(
    scoring: ModuleType, factor: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = scoring.loop_norms
    monkeypatch.setattr(scoring, "loop_norms", lambda *args: slow(*args) * factor)
    monkeypatch.setattr(scoring, "measure", lambda *_: pytest.fail("timed"))
    assert scoring.main(SMALL) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "grad norms against the loop" in err


def test_scoring_refuses_sizes_that_mean_nothing(scoring: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        scoring.main(["--checkpoints", "1"])
    assert stop.value.code == 2
    assert "--checkpoints is 1, but must be at least 2" in capsys.readouterr().err
