"""Names lead to built-ins, to classes by their path, to entry points; whatever else they lead to is refused by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raysample.core.errors import ConfigError, PluginError, ScoreError, SelectionError
from raysample.core.registry import identify, import_class, plugin_problems, refuse_plugins, require_plugins
from raysample.execution.create import EXECUTOR_REGISTRY
from raysample.influence.scores import SCORE_REGISTRY, SCORES, Score
from raysample.selection.policies import POLICIES, POLICY_REGISTRY
from raysample.tracking import TRACKER_REGISTRY, MemoryTracker
from tests.helpers.plugin_package import write_package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a package with plug-ins and put it on the path, with its entry points."""
    write_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside"]:
        del sys.modules[name]


def test_built_in_names_win_and_import_nothing() -> None:
    assert SCORE_REGISTRY.find("vog") is SCORES["vog"]
    assert SCORE_REGISTRY.plugin(SCORES["vog"]) is None
    assert POLICY_REGISTRY.find("hard") is POLICIES["hard"]


def test_a_path_and_an_entry_point_lead_to_the_same_class(package: Path) -> None:
    assert "outside.plugins" not in sys.modules
    found = SCORE_REGISTRY.find("outside.plugins:Doubt")
    assert issubclass(found, Score)
    assert SCORE_REGISTRY.find("doubt-by-entry-point") is found
    identity = SCORE_REGISTRY.plugin(found)
    assert identity is not None
    assert (identity.path, identity.version, len(identity.source)) == ("outside.plugins:Doubt", "3", 12)
    assert "doubt-by-entry-point" in SCORE_REGISTRY.names()
    assert POLICY_REGISTRY.find("nearest-by-entry-point") is POLICY_REGISTRY.find("outside.plugins:Nearest")
    assert TRACKER_REGISTRY.find("outside.plugins:ListTracker").__name__ == "ListTracker"
    assert EXECUTOR_REGISTRY.find("outside.plugins:CountingExecutor").__name__ == "CountingExecutor"


def test_a_re_exported_class_has_the_path_of_its_definition(package: Path) -> None:
    found = SCORE_REGISTRY.find("outside:Doubt")
    assert identify("score", found).path == "outside.plugins:Doubt"
    assert import_class("outside.plugins:Doubt") is found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vgo",
            r"no score called 'vgo'\n.*did you mean 'vog'\? known: vog, .*or a class of yours: package.module:Class",
        ),
        ("nowhere.at.all:Cls", r"cannot be imported: ModuleNotFoundError: No module named 'nowhere'[^$]*PYTHONPATH"),
        ("outside.plugins:Missing", r"cannot be imported: AttributeError"),
        ("outside.broken:Anything", r"cannot be imported: RuntimeError: this module never loads"),
        ("outside.plugins:Nearest", r"is no score: the class derives from Ranked\n.*derive it from raysample.Score"),
        ("outside.plugins:HALF", r"is no score: it is float, not a class"),
        ("outside.plugins:Unfinished", r"is no score: it does not define fold, init, value, name, higher_is"),
        ("outside.plugins:Numbered", r"is no score: its `version` is not a string"),
        (7, r"there is no score called 7"),
    ],
)
def test_what_is_no_score_is_refused_by_name(package: Path, name: str, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        SCORE_REGISTRY.find(name)


def test_other_kinds_have_errors_of_their_own(package: Path) -> None:
    with pytest.raises(SelectionError, match="is no policy: the class derives from MeanScore"):
        POLICY_REGISTRY.find("outside.plugins:Doubt")
    with pytest.raises(ConfigError, match=r"is no tracker: it lacks .*run"):
        TRACKER_REGISTRY.find("outside.plugins:Doubt")
    with pytest.raises(ConfigError, match=r"no executor called 'rya'\n.*did you mean 'ray'\? known: ray, local"):
        EXECUTOR_REGISTRY.find("rya")
    assert TRACKER_REGISTRY.find("raysample.tracking.memory:MemoryTracker") is MemoryTracker


def test_two_packages_with_one_name_are_told_apart_by_path(package: Path) -> None:
    write_package(package / "second", name="other_outside")
    sys.path.insert(0, str(package / "second"))
    try:
        with pytest.raises(
            ScoreError, match=r"several installed packages call a score 'doubt-by-entry-point'[^$]*path|name the class"
        ):
            SCORE_REGISTRY.find("doubt-by-entry-point")
    finally:
        sys.path.remove(str(package / "second"))


def test_a_worker_tells_what_it_lacks_and_what_is_another_version(package: Path) -> None:
    here = identify("score", import_class("outside.plugins:Doubt"))
    assert plugin_problems([here]) == []
    require_plugins([here])
    refuse_plugins([])
    (missing,) = plugin_problems([replace(here, path="gone.plugins:Doubt")])
    assert missing == "the score 'gone.plugins:Doubt' (version 3): ModuleNotFoundError: No module named 'gone'"
    (older,) = plugin_problems([replace(here, version="2")])
    assert older == "the score 'outside.plugins:Doubt' (version 2): version 3 is installed there"
    (edited,) = plugin_problems([replace(here, source="0" * 12)])
    assert "the file that defines it is another one there" in edited
    with pytest.raises(PluginError, match=r"a worker cannot use the score 'outside.plugins:Doubt'[^$]*py_modules"):
        require_plugins([replace(here, version="2")])
