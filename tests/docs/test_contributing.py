"""CONTRIBUTING.md is followed to the letter in a copy of the tree: one file, one entry, and every test is green."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

NAME, KIND = "least_confidence", "LeastConfidence"
COPIED = ("raysample", "tests", "docs", "examples", "pyproject.toml", "CONTRIBUTING.md", "CHANGELOG.md", "README.md")
TESTS = (
    "tests/influence/scores/test_contract.py",
    "tests/influence/scores/test_folds.py",
    "tests/influence/scores/test_registry.py",
    "tests/docs/test_docs.py",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree with the score of CONTRIBUTING.md in it."""
    copy = tmp_path_factory.mktemp("contributing") / "tree"
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    section = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a score")[2].partition("\n## ")[0]
    )
    code, entry = re.findall(r"```(?:python|text)\n(.*?)```", section, re.DOTALL)
    place = re.search(r"`(raysample/[\w/]+)/NAME\.py`", section)
    assert place is not None
    file = copy / place[1] / f"{NAME}.py"
    file.write_text(code, encoding="utf-8")
    catalogue = copy / "raysample/influence/scores/catalogue.py"
    text = catalogue.read_text(encoding="utf-8")
    module = f"{place[1]}/{NAME}".replace("/", ".")
    text = re.sub(r"(?m)^(from raysample\.influence\.scores\.base)", f"from {module} import {KIND}\n\\1", text, count=1)
    text = re.sub(r"(?m)^(SCORES: .*\{\n)", lambda found: found[1] + entry, text, count=1)
    catalogue.write_text(text, encoding="utf-8")
    return copy


def in_tree(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in the copy, which is imported in place of this tree."""
    env = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *command], cwd=tree, env=env, capture_output=True, text=True)


def test_the_new_score_passes_the_tests_of_scores_and_of_the_docs(tree: Path) -> None:
    chosen = f"{NAME} or tied or label or twin or alone or cut or order or section or contract"
    done = in_tree(tree, "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", chosen, *TESTS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    listed = in_tree(tree, "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", TESTS[0])
    assert f"test_every_score_keeps_the_contract[{NAME}]" in listed.stdout  # it was this tree that was tested


def test_the_new_score_is_linted_and_scores(tree: Path) -> None:
    checked = in_tree(tree, "ruff", "check", f"raysample/influence/scores/predictions/{NAME}.py")
    assert checked.returncode == 0, checked.stdout
    code = f"from raysample.influence.scores import create_score; print(create_score({NAME!r})[1].checkpoints)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "last"
