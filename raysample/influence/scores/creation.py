"""From what a configuration says to scores, their columns, and how a table describes them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from raysample.core.errors import ScoreError
from raysample.core.registry import PluginIdentity
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.base import Score
from raysample.influence.scores.catalogue import SCORE_REGISTRY, SCORES
from raysample.influence.scores.window import CheckpointWindow

Spec = str | Mapping[str, Any]
PLUGIN = "plugin"
"""Where the definition of a column keeps what a plug-in score says of itself."""

_RESERVED = ("row_id", "label", "tokens", "group", "group_code", "class")


def create_score(spec: Spec) -> tuple[str, Score[Any]]:
    """Build one score and name its column.

    Args:
        spec: a name (`"vog"`; of a plug-in `"package.module:Class"`), or a mapping with `name`, options of that score,
            and optionally `as`, the column's name (`{"name": "vog", "objective": "loss", "as": "vog_loss"}`).

    Raises:
        ScoreError: the name, an option or its value is unknown, an option is missing, or the column's name cannot be
            used.
    """
    given: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    kind = SCORE_REGISTRY.find(name)
    column = _column(given.pop("as", kind.name))
    known = [option.name for option in fields(kind)]
    for option in given:
        if option not in known:
            raise _unknown(f"option of score {name!r}", option, ["as", *known])
    if "checkpoints" in given:
        given["checkpoints"] = CheckpointWindow.parse(given["checkpoints"])
    score = kind(**given)
    score.check()
    return column, score


def create_scores(specs: Iterable[Spec]) -> dict[str, Score[Any]]:
    """Build scores as `create` does, by column; raises ScoreError where two would have the same column."""
    found: dict[str, Score[Any]] = {}
    for spec in specs:
        column, score = create_score(spec)
        if column in found:
            raise ScoreError(
                f"two scores would be written to the column {column!r}",
                f"name one of them, for example {{name: {score.name}, ..., as: {column}_2}}",
            )
        found[column] = score
    return found


def define_score(score: Score[Any], checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """Return the definition that a table keeps of a column, with the checkpoints that the score uses.

    A plug-in describes itself there, so that a table can be read where the plug-in is not installed.
    """
    plugin = SCORE_REGISTRY.plugin(type(score))
    identity: dict[str, Any] = {"version": score.version}
    if plugin is not None:
        identity = {PLUGIN: {**plugin.to_dict(), **{name: getattr(score, name) for name in _DESCRIBED}}}
    return {"score": score.name, "higher_is": score.higher_is, **score.options(checkpoints), **identity}


@dataclass(frozen=True)
class ScoreDescription:
    """What a score says of itself; the attributes are those of `Score`."""

    uses_label: bool
    label_error_rank: int
    discrete: bool
    designed_runs: int


_DESCRIBED = ("uses_label", "label_error_rank", "discrete", "designed_runs")


def describe_column(definition: Mapping[str, Any]) -> ScoreDescription:
    """Return what the score of a table's column says of itself, from the definition that the table keeps.

    A score that is neither a plug-in nor known here may use the label and points at no label errors.
    """
    known = SCORES.get(str(definition.get("score")))
    said = definition.get(PLUGIN, {} if known is None else {name: getattr(known, name) for name in _DESCRIBED})
    return ScoreDescription(
        uses_label=bool(said.get("uses_label", True)),
        label_error_rank=int(said.get("label_error_rank", 0)),
        discrete=bool(said.get("discrete", False)),
        designed_runs=int(said.get("designed_runs", 1)),
    )


def describe_few_runs(definitions: Mapping[str, Mapping[str, Any]], runs: int) -> str:
    """Say which columns are averaged over fewer runs than in the source of their score; nothing where none is."""
    designed = {column: describe_column(definition).designed_runs for column, definition in definitions.items()}
    few = [f"{column} ({count})" for column, count in designed.items() if count > runs]
    if not few:
        return ""
    return f"scores have the noise of few runs: of {runs} here (score.runs), of more in their sources: {', '.join(few)}"


def score_plugins(specs: Iterable[Spec]) -> tuple[PluginIdentity, ...]:
    """Return the identities of the plug-in scores among these, each once."""
    found = (SCORE_REGISTRY.plugin(type(score)) for score in create_scores(specs).values())
    return tuple(dict.fromkeys(plugin for plugin in found if plugin is not None))


def resolve_specs(specs: Iterable[Spec]) -> list[str | dict[str, Any]]:
    """Return the specs with the path of its class in place of a plug-in's name, and its column.

    A worker then needs no entry point to find the class.
    """
    return [_resolved(spec) for spec in specs]


def _resolved(spec: Spec) -> str | dict[str, Any]:
    """Return a specification with the path of a plug-in in place of its name, so that workers find the same class."""
    column, score = create_score(spec)
    plugin = SCORE_REGISTRY.plugin(type(score))
    if plugin is None:
        return spec if isinstance(spec, str) else dict(spec)
    return {**({} if isinstance(spec, str) else spec), "name": plugin.path, "as": column}


def _unknown(what: str, name: Any, known: Iterable[str]) -> ScoreError:
    """Return the error for an unknown name, with the closest known name and all known names."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ScoreError(f"there is no {what} called {name!r}", f"{hint}known: {', '.join(known)}")


def _column(name: Any) -> str:
    """Return a column name if it is valid; raises ScoreError otherwise."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name) or name in _RESERVED:
        raise ScoreError(
            f"{name!r} cannot be the name of a score's column",
            f"use letters, digits, '_', '.' and '-', starting with a letter, and none of {', '.join(_RESERVED)}",
        )
    return name
