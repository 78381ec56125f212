"""What a configuration file may hold, and how everything else is refused: at once, with file, line and key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from raysample.api.coercion import section, source_from
from raysample.cli.main import main
from raysample.core.config import ArmConfig, FineTuneConfig, ModelConfig, SourceConfig, load, parse
from raysample.core.config.yaml_text import BYTES, values_of
from raysample.core.errors import ConfigError


def written(folder: Path, data: bytes | str) -> Path:
    path = folder / "given.yaml"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "fine_tune: {epochs: 50}\nfine_tune: {batch_size: 16}\n",
            "line 2: the key 'fine_tune' stands twice, in line 1",
        ),
        ("fine_tune:\n  epochs: 1\n  seed: 2\n  epochs: 3\n", "line 4: the key 'epochs' stands twice, in line 2"),
        ("score: {scores: [{name: vog, name: el2n}]}\n", "line 1: the key 'name' stands twice"),
        ("name: a\n'name': b\n", "line 2: the key 'name' stands twice"),
        ("corpus:\n  train: {path: x, where: {1: a, 1.0: b}}\n", "line 2: the key '1.0' stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        load(written(tmp_path, text))
    assert "only the last one would count" in caught.value.advice
    assert "given.yaml" in caught.value.problem


@pytest.mark.parametrize(
    ("data", "expected", "advice"),
    [
        (b"name: caf\xe9\n", r"not UTF-8: byte 0xe9 at position 9, in line 1", "save it as UTF-8"),
        (b"name: a\nmodel: \xff\xfe\n", r"not UTF-8: byte 0xff at position 15, in line 2", "save it as UTF-8"),
        ("name: a".encode("utf-16"), "not UTF-8", "save it as UTF-8"),
        (bomb(9), "line 5: there are more than 50,000 values, aliases", "fewer aliases"),
        ("a: &a\n  b: *a\n", "line 2: an alias stands inside of what it names", "write the value out"),
        ("name: " + "[" * 5000 + "]" * 5000, "line 1: more than 32 sections or lists lie in each other", "flatten"),
        ("\n".join(" " * n + "a:" for n in range(100)), "line 32: more than 32 sections", "flatten"),
        ("a: [" + "1, " * 60_000, "more than 50,000 values", "shorter lists"),
        (
            "name: !!python/object/apply:os.system [ls]",
            "the tag '!!python/object/apply:os.system'",
            "leave the tag out",
        ),
        ("name: !!binary aGk=", "the tag '!!binary' is not plain data", "leave the tag out"),
        ("name: !mine x", "the tag '!mine' is not plain data", "leave the tag out"),
        ("fine_tune: {seed: " + "9" * 5000 + "}", "line 1: a number has 5,000 digits", "quote it"),
        ("fine_tune: {seed: !!int many}", "line 1: 'many' is no number", "mend it"),
        ("name: a\n---\nname: b\n", "not valid YAML: line 2", "mend the line"),
        ("? [a]\n: b\n", "line 1: a key is a list or a section", "use a string"),
        ("name: '\\x", "not valid YAML", "mend the line"),
        ('name: "\\U99999999"', "not valid YAML", "quote the value"),
        ("x" * (BYTES + 1), "a configuration has at most 1,048,576", "name the YAML file"),
        ("3", "holds a int, not a mapping", "examples/"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_damaged_and_hostile_files_are_refused_by_name(
    tmp_path: Path, data: bytes | str, expected: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        load(written(tmp_path, data))
    assert advice in caught.value.advice
    assert "given.yaml" in caught.value.problem


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, expected in {
        tmp_path: "is a folder",
        tmp_path / "pipe": "is not a regular file",
        tmp_path / "none.yaml": "there is no configuration at",
        "nul\0.yaml": "cannot read",
        "x" * 5000: "cannot read",
    }.items():
        with pytest.raises(ConfigError, match=expected):
            load(path)


def test_words_mean_what_they_mean_in_yaml_1_2() -> None:
    text = "[on, yes, No, 2024-01-01, 1:30, 010, 0x1f, 1_000, 5e-5, 1., -0, true, ~, 12e3, '7', .5, <, 1e3x]"
    values: Any = values_of(text, "x")
    expected = ["on", "yes", "No", "2024-01-01", "1:30", "010", "0x1f", 1000, 5e-5, 1.0, 0, True, None, 12e3, "7", 0.5]
    assert values == [*expected, "<", "1e3x"]
    assert [type(value) for value in values[7:11]] == [int, float, float, int]


def test_anchors_and_merges_of_ordinary_size_work() -> None:
    text = "a: &a {epochs: 2, seed: 1}\nb: {<<: *a, seed: 3}\nc: *a\n"
    assert values_of(text, "x") == {
        "a": {"epochs": 2, "seed": 1},
        "b": {"epochs": 2, "seed": 3},
        "c": {"epochs": 2, "seed": 1},
    }


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("fine_tune.max_grad_norm=.inf", "fine_tune.max_grad_norm: expected a finite number, got inf"),
        ("fine_tune.learning_rate=.nan", "fine_tune.learning_rate: expected a finite number, got nan"),
        ("fine_tune.weight_decay=1e999", "fine_tune.weight_decay: expected a finite number"),
        ("compare.arms=[{policy: softmax, temperature: .inf}]", "compare.arms.0.temperature: expected a finite"),
        ("corpus.train={path: x, where: {a: -.inf}}", "corpus.train.where.a: expected a finite number"),
        ("fine_tune.seed=99999999999999999999", "fine_tune.seed: expected a whole number between"),
        ("compare.seeds=[4294967296]", "compare.seeds.0: .*less than 4294967296"),
        ("corpus.simulated.seed=-1", "corpus.simulated.seed: .*greater than or equal to 0"),
        ("fine_tune.epochs=99999999999999", "fine_tune.epochs: .*less than 2147483648"),
        ("model.hidden_size=1000000000000", "model.hidden_size: .*less than or equal to 16384"),
        (
            "model.path=" + "9" * 5000,
            "the value of 'model.path' on the command line, line 1: a number has 5,000",
        ),
        ("model.path=" + "x" * 5000, "model.path: expected at most 4,096 characters, got 5,000"),
        ('model.path="a\\0b"', "model.path: expected a text, got one with a NUL"),
        ('output="a\\nb"', "output: .*match pattern"),
        ('tracking.experiment="\\ud800"', "tracking.experiment: .*lone surrogate"),
        ("name=" + "x" * 300, "name: .*at most 200 characters"),
        ("name=a/b", "name: .*match pattern"),
        ("name={a: 1, a: 2}", "the value of 'name' on the command line, line 1: the key 'a' stands twice"),
        ("name=[", "the value of 'name' on the command line is not valid YAML"),
        (".".join("a" * 5000) + "=1", "is not of the form key=value"),
        ("a..b=1", "is not of the form key=value"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_values_are_refused_at_once_and_name_their_key(override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        parse({}, [override])
    assert caught.value.advice
    assert len(str(caught.value)) < 1000


def test_an_override_that_would_undo_another_is_refused() -> None:
    for overrides in (
        ["fine_tune.epochs=1", "fine_tune.epochs=2"],
        ["fine_tune.epochs=1", "fine_tune={batch_size: 2}"],
        ["name=a", "output=b", "name=a"],
    ):
        with pytest.raises(ConfigError, match="is given twice on the command line") as caught:
            parse({}, overrides)
        assert "only the last one would count" in caught.value.advice
    refined = parse({}, ["fine_tune={batch_size: 2}", "fine_tune.epochs=7"]).fine_tune
    assert (refined.batch_size, refined.epochs) == (2, 7)


def test_sections_given_in_python_go_through_the_same_rules() -> None:
    nested: dict[str, Any] = {}
    nested["again"] = nested
    for kind, values, expected in (
        (FineTuneConfig, {"max_grad_norm": float("inf")}, "max_grad_norm: expected a finite number"),
        (FineTuneConfig, {"seed": 10**20}, "seed: expected a whole number between"),
        (ModelConfig, {"path": "x" * 5000}, "path: expected at most 4,096 characters"),
        (ArmConfig, {"policy": "softmax", "temperature": float("nan")}, "temperature: expected a finite number"),
        (ArmConfig, nested, "there are more than 32 sections"),
    ):
        with pytest.raises(ConfigError, match=expected):
            section(kind, values)
    with pytest.raises(ConfigError, match="path: expected a text, got one with a NUL"):
        source_from("a\0b", None)
    assert isinstance(source_from("a b.jsonl", None), SourceConfig)


def test_many_wrong_keys_are_told_in_few_lines() -> None:
    with pytest.raises(ConfigError, match="and 480 more"):
        parse({"compare": {"seeds": ["x"] * 500}})


def test_the_command_line_says_it_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "name: a\nname: b\n")
    assert main(["plan", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"raysample: '{path}', line 2: the key 'name' stands twice")
    assert "Traceback" not in said
