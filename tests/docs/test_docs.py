"""What README.md, CONTRIBUTING.md and docs/ say is held against the code; the notebook page's snippets really run."""

from __future__ import annotations

import json
import re
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raysample.cli import main
from raysample.core.config import ArmConfig, RunConfig, parse
from raysample.core.errors import SelectionError
from raysample.influence.scores import SCORES, create_scores
from raysample.selection.policies import POLICIES, create_policy
from tests.helpers.every_policy import HIGHER_IS
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced code of a page that is marked as one of the languages."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(code) for _, language, code in found if language in languages]


def all_blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(code, id=f"{page.name}-{number}")
        for page in PAGES
        for number, code in enumerate(blocks(page, *languages), start=1)
    ]


def configuration() -> dict[str, list[str]]:
    """Return the rows of the tables in docs/configuration.md: key -> type, default, meaning."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    keys = [row[0].removeprefix("| ").strip("`") for row in rows]
    assert len(set(keys)) == len(keys), "a key is described twice"
    return {key: row[1:] for key, row in zip(keys, rows, strict=True)}


def parts(annotation: Any) -> Iterator[Any]:
    """Yield everything that a type annotation is made of."""
    yield annotation
    for argument in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from parts(argument)


def sections(field: FieldInfo) -> list[type[BaseModel]]:
    return [kind for kind in parts(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def walked(model: type[BaseModel], prefix: str, seen: set[type[BaseModel]]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield prefix + name, field
        many = "[]" if any(get_origin(part) is list for part in parts(field.annotation)) else ""
        for section in sections(field):
            if section not in seen:
                seen.add(section)
                yield from walked(section, f"{prefix}{name}{many}.", seen)


KEYS = dict((*walked(RunConfig, "", {ArmConfig}), *walked(ArmConfig, "compare.arms[].", {ArmConfig})))
"""Every key of a configuration, with dots; a section that occurs twice (`corpus.test`) is walked where it is first.

The keys of an arm are described where most arms are: in the comparison.
"""


def test_every_key_is_in_the_configuration_page_and_no_other() -> None:
    assert set(configuration()) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_types_and_defaults_of_the_configuration_page_are_true(key: str) -> None:
    field = KEYS[key]
    kind, default = configuration()[key][:2]
    options = [option for part in parts(field.annotation) if get_origin(part) is Literal for option in get_args(part)]
    assert re.findall(r"`(\w+)`", kind) == options
    if field.is_required():
        assert default == "required"
    elif not sections(field):
        expected = field.get_default(call_default_factory=True)
        assert yaml.safe_load(default.strip("`")) == json.loads(json.dumps(expected))


@pytest.mark.parametrize("code", all_blocks("python", "py"))
def test_python_in_the_docs_compiles(code: str) -> None:
    compile(code, "docs", "exec")


@pytest.mark.parametrize("code", all_blocks("yaml", "yml"))
def test_yaml_in_the_docs_is_a_valid_configuration(code: str) -> None:
    for data in yaml.safe_load_all(code):
        if not isinstance(data, dict) or not set(data) & set(RunConfig.model_fields):
            continue  # not ours, or an excerpt without its section
        config = parse(data)
        directions = {name: kind.higher_is for name, kind in SCORES.items()}
        directions |= {column: score.higher_is for column, score in create_scores(config.score.scores).items()}
        for arm in config.compare.arms:
            create_policy(arm, directions)


@pytest.mark.parametrize("code", all_blocks("sh", "bash", "console"))
def test_commands_in_the_docs_exist(code: str) -> None:
    words = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^\$? ?make ([a-z-]+)", code, re.MULTILINE)) <= set(words)
    assert set(re.findall(r"^\$? ?(?:\S*/)?raysample ([a-z][a-z-]*)", code, re.MULTILINE)) <= set(main.VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_docs_exist(page: Path) -> None:
    rooms = "raysample|tests|docs|examples|jobs|k8s"
    named = set(re.findall(rf"`((?:{rooms})/[\w./*-]*)`", page.read_text(encoding="utf-8")))
    assert {name for name in named if "NAME" not in name and not list(ROOT.glob(name.rstrip("/")))} == set()


def test_the_architecture_page_has_the_layers_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = ROOT / "docs/architecture.md"
    assert "\n".join(layers).replace("raysample.", "") + "\n" in blocks(page, "text")
    modules = {path.stem for path in (ROOT / "raysample").iterdir() if path.suffix == ".py" or path.is_dir()}
    shown = set(re.findall(r"^\| `(\w+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert modules - {"__init__", "__main__", "__pycache__", "py"} <= shown


def named_first(row: str) -> list[str]:
    """Return the names in code in the first cell of a table's row."""
    return re.findall(r"`(\w+)`", row.split("|")[1])


def test_sections_of_scores_and_policies_are_true() -> None:
    # A score may do without a section, and a policy without a row: the docstring, which the contract asks for, then is
    # the documentation.
    text = (ROOT / "docs/scores.md").read_text(encoding="utf-8")
    titles = re.findall(r"^### `(\w+)`", text, re.MULTILINE)
    assert titles == [name for name in SCORES if name in titles]
    assert len(titles) >= 22
    table = text.partition("## Policies")[2].partition("\n### ")[0]
    rows = {name: row for row in re.findall(r"^\| `.*", table, re.MULTILINE) for name in named_first(row)}
    assert [*rows] == [name for name in POLICIES if name in rows]
    assert len(rows) >= 13
    for name, row in rows.items():
        unknown = ArmConfig(policy=name, **{**POLICIES[name].example, "no_such_option": 1})
        with pytest.raises(SelectionError, match="no_such_option") as refused:
            create_policy(unknown, HIGHER_IS)
        own = str(refused.value).partition("its options: ")[2].split(", ")
        assert [option for option in own if f"`{option.strip()}`" not in row] in ([], [""]), name
    for name in titles:
        kind = SCORES[name]
        section = text.partition(f"### `{name}`")[2].partition("\n### ")[0]
        assert f"**{kind.higher_is}**" in section
        options = [option for option in kind().options() if option != "checkpoints"]
        assert all(f"`{option}" in section for option in options), options


def test_the_notebook_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    for code in blocks(ROOT / "docs/notebook.md", "python"):
        exec(compile(code, "docs/notebook.md", "exec"), names)
    frame, kept = names["frame"], names["kept"]
    assert list(frame.columns) == ["row_id", "label", "class", "tokens", "vog", "el2n"]
    assert len(frame) == names["train"].rows
    assert names["arrow"].num_rows == len(frame)
    assert len(kept) == round(0.5 * len(frame))
    assert set(kept["id"]) == set(names["half"].kept_ids().to_pylist())
    assert names["again"].columns == ("el2n",)
