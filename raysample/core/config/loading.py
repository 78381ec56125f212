"""YAML and dotted overrides -> RunConfig, with every wrong key and value explained."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raysample.core.config import yaml_text
from raysample.core.config.run import RunConfig
from raysample.core.config.section import HOLDS_CREDENTIALS, RENAMED, UNSOUND
from raysample.core.errors import ConfigError

MAX_WRONG_KEYS = 20
"""Number of wrong keys in one error message."""


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply dotted `key=value` overrides; raises ConfigError naming each wrong key and value."""
    data = yaml_text.values_of(yaml_text.read_file(path), repr(str(path)))
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{str(path)!r} holds a {type(data).__name__}, not a mapping", "see examples/ for the form")
    return parse(data, overrides)


def parse(data: dict[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Build a RunConfig from plain data and overrides; raises ConfigError naming each wrong key and value."""
    given: list[list[str]] = []
    for override in overrides:
        path, value = _parsed(override)
        _check_once(given, path)
        given.append(path)
        data = _replaced(data, path, value)
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain_errors(error), "see docs/configuration.md for every key") from error


def _parsed(override: str) -> tuple[list[str], Any]:
    """Split an override `key=value` into its path and its YAML value."""
    key, equals, text = override.partition("=")
    path = key.split(".")
    if not equals or not all(path) or len(path) > yaml_text.DEPTH:
        raise ConfigError(f"{_short(override)} is not of the form key=value", "write for example fine_tune.epochs=2")
    return path, yaml_text.values_of(text, f"the value of {_short(key)} on the command line")


def _check_once(given: Sequence[Sequence[str]], path: Sequence[str]) -> None:
    """Raise ConfigError for an override that undoes an earlier one: the same key, or the section around it."""
    for earlier in given:
        if list(earlier[: len(path)]) == list(path):
            again = "" if len(earlier) == len(path) else f", after {'.'.join(earlier)!r} in it"
            raise ConfigError(
                f"the key {'.'.join(path)!r} is given twice on the command line{again}",
                "keep one of them: only the last one would count",
            )


def _replaced(data: Any, path: list[str], value: Any) -> Any:
    """Return data with the value at a path replaced; missing sections are created."""
    if not path:
        return value
    inner = data if isinstance(data, dict) else {}
    return {**inner, path[0]: _replaced(inner.get(path[0]), path[1:], value)}


def explain_errors(error: ValidationError) -> str:
    """Return the problems of a configuration, one line per key."""
    problems = error.errors()
    lines = [_explained(problem) for problem in problems[:MAX_WRONG_KEYS]]
    lines += [f"and {len(problems) - MAX_WRONG_KEYS:,} more"] if len(problems) > MAX_WRONG_KEYS else []
    return "the configuration is not valid:\n  " + "\n  ".join(lines)


def _explained(problem: ErrorDetails) -> str:
    """Return the explanation of one problem in one line."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {_short(where)}{_suggest(problem['loc'])}"
    came = "" if isinstance(problem["input"], dict) else f" (got {_short(problem['input'])})"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == UNSOUND:  # it names its key itself
        return message
    if problem["type"] in (HOLDS_CREDENTIALS, RENAMED):
        return f"{where}: {message}"
    return f"{where}: {message}{came}" if where else f"{message}{came}"


def _short(value: Any) -> str:
    """Return a value in at most 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text):,} characters)"


def _suggest(location: tuple[int | str, ...]) -> str:
    """Return a hint for an unknown key: the closest known key, or all known keys."""
    model: Any = RunConfig
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        options = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    names = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(names)})" if names else ""
