"""CONTRIBUTING.md is followed to the letter in a copy of the tree: one file, one entry, and every test is green."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import warm
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

NAME = "least_confidence"
POLICY = "extremes"
COPIED = ("raysample", "tests", "docs", "examples", "pyproject.toml", "CONTRIBUTING.md", "CHANGELOG.md", "README.md")
POLICY_TESTS = (
    "tests/selection/policies/test_public_contract.py",
    "tests/selection/policies/test_create.py",
    "tests/selection/policies/test_contract.py",
    "tests/selection/test_chances.py",
    "tests/docs/test_docs.py",
)
TESTS = (
    "tests/influence/scores/test_contract.py",
    "tests/influence/scores/test_folds.py",
    "tests/influence/scores/test_registry.py",
    "tests/docs/test_docs.py",
)


@pytest.fixture(scope="module")
def tree(forking: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree with the score and the policy of CONTRIBUTING.md in it."""
    copy = tmp_path_factory.mktemp("contributing") / "tree"
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    follow(copy, "Add a score", NAME, "raysample/influence/scores/catalogue.py", "SCORES")
    follow(copy, "Add a policy", POLICY, "raysample/selection/policies/__init__.py", "POLICIES")
    return copy


def follow(copy: Path, title: str, name: str, registry: str, entries: str) -> None:
    """Do what a section of CONTRIBUTING.md says: write the file, list its class in the registry."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = guide.partition(f"## {title}")[2].partition("\n## ")[0]
    code, entry = re.findall(r"```(?:python|text)\n(.*?)```", section, re.DOTALL)
    place = re.search(r"`(raysample/[\w/]+)/NAME\.py`", section)
    kind = re.search(r"^class (\w+)", code, re.MULTILINE)
    assert place is not None
    assert kind is not None
    (copy / place[1] / f"{name}.py").write_text(code, encoding="utf-8")
    listed = copy / registry
    text = listed.read_text(encoding="utf-8")
    module = f"{place[1]}/{name}".replace("/", ".")
    text = re.sub(r"(?m)^from raysample\.", f"from {module} import {kind[1]}\n\\g<0>", text, count=1)
    text = re.sub(rf"(?m)^({entries}: .*\{{\n)", lambda found: found[1] + entry, text, count=1)
    listed.write_text(text, encoding="utf-8")


OF_THE_COPY = """
import sys
from tests.helpers.warm import forget
forget("raysample")
forget("tests")
"""
"""Lets a process that is forked with this tree's modules import those of the copy."""
NEW_ALONE = f"""{OF_THE_COPY}
import pytest

class NewAlone:
    def pytest_collection_modifyitems(self, items):
        from raysample.influence.scores import SCORES
        from raysample.selection.policies import POLICIES

        others = {{*SCORES, *POLICIES}} - {{{NAME!r}, {POLICY!r}}}
        given = [set(map(str, item.callspec.params.values())) if hasattr(item, "callspec") else set() for item in items]
        items[:] = [item for item, values in zip(items, given) if not values & others]

sys.exit(pytest.main(sys.argv[1:], plugins=[NewAlone()]))
"""
"""Runs tests without those of other scores and policies, which nothing new has changed."""


def in_tree(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, which is imported in place of this tree."""
    env = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*warm.python(), *command], cwd=tree, env=env, capture_output=True, text=True)


def test_the_new_score_passes_the_tests_of_scores_and_of_the_docs(tree: Path) -> None:
    chosen = f"{NAME} or tied or label or twin or alone or cut or order or section or contract"
    done = in_tree(tree, "-c", NEW_ALONE, "-v", "-x", "-p", "no:cacheprovider", "-k", chosen, *TESTS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    # It was this tree that was tested.
    assert f"test_every_score_keeps_the_contract[{NAME}] PASSED" in done.stdout


def test_the_new_score_is_linted_and_scores(tree: Path) -> None:
    checked = in_tree(tree, "-m", "ruff", "check", f"raysample/influence/scores/predictions/{NAME}.py")
    assert checked.returncode == 0, checked.stdout
    code = f"from raysample.influence.scores import create_score; print(create_score({NAME!r})[1].checkpoints)"
    done = in_tree(tree, "-c", OF_THE_COPY + code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "last"


def test_the_new_policy_passes_the_tests_of_policies_and_of_the_docs(tree: Path) -> None:
    chosen = f"{POLICY} or every or section or twin_is"
    done = in_tree(tree, "-c", NEW_ALONE, "-v", "-x", "-p", "no:cacheprovider", "-k", chosen, *POLICY_TESTS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert f"test_every_policy_keeps_the_contract[{POLICY}] PASSED" in done.stdout
    checked = in_tree(tree, "-m", "ruff", "check", f"raysample/selection/policies/{POLICY}.py")
    assert checked.returncode == 0, checked.stdout
