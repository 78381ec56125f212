"""YAML and dotted overrides -> RunConfig, with every wrong key and value explained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from raysample.config.sections import RunConfig
from raysample.errors import ConfigError


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply dotted `key=value` overrides; raises ConfigError naming each wrong key and value."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration at {str(path)!r}", "check the path") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{str(path)!r} is not valid YAML: {error}", "mend the line that the message names"
        ) from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{str(path)!r} holds a {type(data).__name__}, not a mapping", "see examples/ for the form")
    return parse(data, overrides)


def parse(data: dict[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Build a RunConfig from plain data and overrides; raises ConfigError naming each wrong key and value."""
    for override in overrides:
        data = _override(data, override)
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error), "see docs/configuration.md for every key") from error


def _override(data: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r} is not of the form key=value", "write for example fine_tune.epochs=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {override!r} is not valid YAML", "quote it") from error
    replaced: dict[str, Any] = _replaced(data, key.split("."), value)
    return replaced


def _replaced(data: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    inner = data if isinstance(data, dict) else {}
    return {**inner, path[0]: _replaced(inner.get(path[0]), path[1:], value)}


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {where!r}{_suggest(problem['loc'])}")
        else:
            came = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r})"
            lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}{came}")
    return "the configuration is not valid:\n  " + "\n  ".join(lines)


def _suggest(location: tuple[int | str, ...]) -> str:
    model: Any = RunConfig
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        options = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    names = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(names)})" if names else ""
