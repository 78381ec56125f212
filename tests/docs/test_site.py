"""The pages of the site: every public name has an entry and an example, the examples and the tutorial run."""

from __future__ import annotations

import doctest
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import raysample
import raysample.core.config
import raysample.errors
from raysample.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
ANY = {"Fraction", "LIMITS"}
"""Names of `raysample.core.config` that are no section."""


def entries(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each entry of a reference page: the dotted name, and the text up to the next one."""
    parts = re.split(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def test_every_public_name_has_an_entry_with_an_example() -> None:
    found = {name: text for page in REFERENCE for name, text in entries(page)}
    public = {f"raysample.{name}" for name in raysample.__all__ if not name.startswith("__")}
    public |= {f"raysample.core.config.{name}" for name in raysample.core.config.__all__ if name not in ANY}
    public |= {"raysample.errors"}
    assert public <= set(found)
    assert [name for name in public if ">>> " not in found[name]] == []
    short = {name: name.rpartition(".")[2] for name in public - {"raysample.errors"}}
    assert [name for name, word in short.items() if word not in found[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_the_examples_of_the_reference_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    failures, tried = doctest.testfile(str(page), module_relative=False, optionflags=OPTIONS)
    assert tried > 0
    assert failures == 0


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ran = list[str]()
    for language, code in FENCE.findall((DOCS / "tutorial.md").read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, "docs/tutorial.md", "exec"), {})
        elif language == "yaml":
            shorter = code.replace("epochs: 3", "epochs: 1").replace("seeds: [0, 1]", "seeds: [0]")
            assert shorter.count("epochs: 1") == shorter.count("seeds: [0]") == 1
            (tmp_path / "tickets.yaml").write_text(shorter)
        elif language == "sh":
            for line in code.splitlines():
                program, *arguments = shlex.split(line)
                if program == "raysample":
                    assert main.main(arguments) == 0, line
                    ran.append(arguments[0])
                else:
                    assert line.startswith("pip install ")
    assert ran == ["fine-tune", "score", "sample", "compare", "recommend", "explain", "apply"]
    said = capsys.readouterr().out
    assert "test: 200 rows, 3 classes" in said
    assert (tmp_path / "runs/tickets/report.html").exists()
    assert list((tmp_path / "pruned").rglob("*.parquet"))


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert site["theme"]["font"] is False
    plugins = [plugin if isinstance(plugin, str) else next(iter(plugin)) for plugin in site["plugins"]]
    assert plugins == ["search", "mkdocstrings"]


def test_the_walk_names_files_and_functions_that_exist() -> None:
    walk = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## The walk of one row")[2]
    walk = walk.partition("\n## ")[0]
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`(?:\s+`([\w.]+)`)?", walk)
    assert len(named) > 30
    for path, name in named:
        text = (ROOT / "raysample" / path).read_text(encoding="utf-8")
        for word in name.split(".") if name else ():
            assert re.search(rf"\b(?:def|class) {word}\b", text), f"{path} has no {word}"


def test_the_walk_enters_each_package_once() -> None:
    walk = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## The walk of one row")[2]
    for command in ("score", "sample", "compare"):
        part = walk.partition(f"### Through `raysample {command}`")[2].partition("\n##")[0]
        packages = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
        assert len(packages) >= 5
        assert len(packages) == len(set(packages))
