from __future__ import annotations

from pathlib import Path

import pytest

from raysample.core.config import RunConfig, load, parse
from raysample.core.errors import ConfigError
from tests.helpers.paths import EXAMPLES

CONFIGS = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    assert load(path).name == path.stem


def test_random_and_stratified_random_are_always_compared() -> None:
    config = parse({"compare": {"arms": [{"policy": "hard", "score": "vog", "normalise": "class"}]}})
    assert [arm.name for arm in config.compare.arms] == ["random", "stratified_random", "hard(vog|class)"]


def test_overrides_reach_deep_keys_and_are_typed() -> None:
    config = parse({"fine_tune": {"epochs": 3}}, ["fine_tune.epochs=7", "compare.seeds=[4, 5]", "engine.kind=local"])
    assert config.fine_tune.epochs == 7
    assert config.compare.seeds == [4, 5]
    assert config.engine.kind == "local"


def test_columns_given_once_hold_for_train_and_test() -> None:
    part = {"path": "x.parquet"}
    config = parse({"corpus": {"columns": {"text": "utterance"}, "train": part, "test": part}})
    assert config.corpus.train is not None
    assert config.corpus.test is not None
    assert config.corpus.train.columns.text == config.corpus.test.columns.text == "utterance"


def test_a_config_survives_yaml(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "config.yaml"
    config = RunConfig(name="again")
    path.write_text(yaml.safe_dump(config.to_dict()))
    assert load(path) == config


@pytest.mark.parametrize(
    ("data", "overrides", "expected"),
    [
        ({"fine_tune": {"epoch": 2}}, [], r"unknown key 'fine_tune.epoch' \(did you mean 'epochs'"),
        ({"zzz": 1}, [], r"unknown key 'zzz' \(known: name, output"),
        ({}, ["fine_tune.epochs"], "is not of the form key=value"),
        ({}, ["fine_tune.epochs=many"], r"fine_tune.epochs: .*integer.* \(got 'many'\)"),
        ({}, ["compare.fractions=[0]"], r"compare.fractions.0: .*greater than 0 \(got 0\)"),
        ({}, ["compare.fractions=[1.5]"], r"compare.fractions.0: .*less than 1 \(got 1.5\)"),
        ({"corpus": {}}, [], "give either corpus.train or corpus.simulated"),
        ({"corpus": {"train": {"path": "x"}}}, [], "give either corpus.test, or corpus.holdout"),
        ({"corpus": {"simulated": {}, "holdout": 0.1}}, [], "corpus.simulated brings its own test days"),
        ({"fine_tune": {"checkpoints": 3, "checkpoint_every": 5}}, [], "give one of checkpoints"),
        ({"compare": {"arms": [{"policy": "random"}, {"policy": "random"}]}}, [], "listed twice"),
        ({"compare": {"seeds": [1, 1]}}, [], "must not repeat"),
        ({"name": "../up"}, [], "name: .*pattern"),
    ],
)
def test_wrong_configurations_are_explained(data: dict, overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse(data, overrides)


def test_unreadable_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration"):
        load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="holds a list, not a mapping"):
        load(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("former", "name", "value"),
    [
        ("fine_tune.warmup", "warmup_ratio", 0.2),
        ("fine_tune.retain", "keep_checkpoints", "scored"),
        ("score.economy.least", "min_correlation", 0.9),
    ],
)
def test_the_former_name_of_a_key_is_an_error_that_names_the_key(former: str, name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"the key '{former.rpartition('.')[2]}' is now called '{name}'"):
        parse({}, [f"{former}={value}"])
    assert parse({}, [f"{former.rpartition('.')[0]}.{name}={value}"])


def test_labels_and_landmarks_say_what_their_former_keys_are_called() -> None:
    with pytest.raises(ConfigError, match="'least_confidence' is now called 'min_confidence'"):
        parse({"corpus": {"train": {"path": "x", "labels": {"least_confidence": 0.3}}, "test": "y"}})
    with pytest.raises(ConfigError, match="'least' is now called 'min_correlation'"):
        parse({"score": {"landmarks": {"scores": ["vog"], "least": 0.5}}})
