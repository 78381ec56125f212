"""Plug-ins from outside the tree do what built-ins do: in tables, selections, tracking and execution."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import raysample
from raysample.core.config import EngineConfig, parse
from raysample.core.errors import PluginError
from raysample.data.score_table import ScoreTable
from raysample.influence.label_origin import relative
from raysample.influence.scores import describe_column
from raysample.report.examples import rules
from raysample.selection import Selection
from raysample.testing import check_policy, check_score, tiny_checkpoints
from raysample.workflow import opening, score
from raysample.workflow.layout import RunFolder
from tests.helpers.corpora import tiny_corpus
from tests.helpers.plugin_package import write_package

DOUBT, NEAREST = "outside.plugins:Doubt", "outside.plugins:Nearest"


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside"]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder on the path that holds a package of plug-ins."""
    folder = tmp_path / "site"
    write_package(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    forget()


def doubts(tmp_path: Path, scores: list[object], **more: object) -> ScoreTable:
    """Score sixty rows at three checkpoints, in the folder of that name."""
    corpus, run = tiny_corpus(tmp_path / "rows", 60, shard_rows=16), tiny_checkpoints(tmp_path / "run", 3)
    return raysample.score(run, corpus, scores, str(tmp_path / "scores"), max_length=16, **more)  # type: ignore[arg-type]


def test_a_plug_in_score_keeps_the_contract_and_fills_a_column(package: Path, tmp_path: Path) -> None:
    from outside.plugins import Doubt  # type: ignore[import-not-found]

    check_score(Doubt)
    check_score(Doubt, squared=True)
    table = doubts(tmp_path, ["entropy", DOUBT, {"name": "doubt-by-entry-point", "squared": True, "as": "squared"}])
    frame = table.to_pandas()
    np.testing.assert_allclose(frame["squared"], frame["doubt"] ** 2, rtol=1e-5)
    assert frame["doubt"].between(0, 2 / 3).all()
    assert frame["doubt"].nunique() > 50
    told = table.scores["doubt"]
    assert (told["score"], told["higher_is"]) == ("doubt", "harder")
    assert (told["plugin"]["class"], told["plugin"]["version"]) == (DOUBT, "3")


def test_a_table_describes_the_plug_in_where_it_is_not_installed(package: Path, tmp_path: Path) -> None:
    table = doubts(tmp_path, ["loss", DOUBT])
    forget()
    sys.path.remove(str(package))
    read = ScoreTable.load(table.uri)
    assert relative(read.scores) == (["loss"], ["doubt"])
    assert describe_column(read.scores["doubt"]).label_error_rank == 9
    assert rules(read)[2].column == "doubt"


def test_another_version_or_file_is_new_work(package: Path, tmp_path: Path, visited: list[int]) -> None:
    first = doubts(tmp_path, [DOUBT])
    visited.clear()
    assert doubts(tmp_path, [DOUBT]).fingerprint == first.fingerprint
    assert visited == []
    write_package(package, version="4")
    forget()
    second = doubts(tmp_path, [DOUBT])
    assert sum(visited) >= 60
    assert second.fingerprint != first.fingerprint
    assert second.parts != first.parts


def test_a_policy_from_outside_selects_and_leaves_its_version(package: Path, tmp_path: Path) -> None:
    from outside.plugins import Nearest

    check_policy(Nearest)
    table = doubts(tmp_path, [DOUBT])
    half = raysample.sample(table, NEAREST, score="doubt", fraction=0.5, output=str(tmp_path / "half"))
    frame = table.to_pandas()
    expected = set(frame["row_id"][(frame["doubt"] - 0.3).abs().argsort()[:30]])
    assert set(half.kept_ids().to_pylist()) == expected
    assert half.plugin is not None
    assert (half.plugin["class"], half.plugin["version"]) == (NEAREST, "1")
    assert Selection.load(half.uri).fingerprint == half.fingerprint
    by_name = raysample.sample(table, "nearest-by-entry-point", score="doubt", fraction=0.5)
    assert set(by_name.kept_ids().to_pylist()) == expected
    plain = raysample.sample(table, "hard", score="doubt", fraction=0.5, output=str(tmp_path / "hard"))
    assert plain.plugin is None
    assert "plugin" not in (tmp_path / "hard/selection.json").read_text()


def test_a_worker_with_another_version_refuses_before_the_work(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visited: list[int]
) -> None:
    real = score.score_plugins

    def older(specs: object) -> object:
        from dataclasses import replace

        return tuple(replace(plugin, version="2") for plugin in real(specs))  # type: ignore[arg-type]

    monkeypatch.setattr(score, "score_plugins", older)
    with pytest.raises(PluginError, match=r"score 'outside.plugins:Doubt' \(version 2\): version 3 is installed there"):
        doubts(tmp_path, [DOUBT])
    assert visited == []


def test_an_executor_and_a_tracker_from_outside(package: Path, tmp_path: Path) -> None:
    from outside.plugins import CountingExecutor, ListTracker

    doubts(tmp_path, ["el2n"], engine=EngineConfig(kind="outside.plugins:CountingExecutor"))
    assert sum(CountingExecutor.scorings) == 4
    config = parse(
        {
            "output": str(tmp_path / "runs"),
            "tracking": {"tracker": "outside.plugins:ListTracker", "experiment": "mine"},
            "engine": {"kind": "local"},
        }
    )
    tracker = opening._plugin_tracker(config, RunFolder.from_config(config))
    ((uri, experiment, folder, made),) = ListTracker.made
    assert (uri, experiment, made) == (None, "mine", tracker)
    assert folder.endswith("runs/run")
