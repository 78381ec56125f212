"""Render the templates of this package: HTML pages without scripts or external resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

_STYLE = "style.css"


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a template of this package rendered with automatic escaping; `style` is the pages' style sheet."""
    style = Markup(_source(_STYLE))  # noqa: S704 - a file of this package
    return _environment().get_template(template).render({"style": style, **context})


@cache
def _environment() -> jinja2.Environment:
    """Return what compiles the templates, once in a process."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breaks"] = breakable
    return environment


def breakable(name: str) -> Markup:
    """Return an escaped name that may wrap after its punctuation, so that long names keep tables narrow."""
    return Markup("<wbr>").join(re.split(r"(?<=[(|,._/-])(?=\w)", name))


def _source(name: str) -> str:
    """Return the text of a file beside this module."""
    return resources.files("raysample.report").joinpath(name).read_text(encoding="utf-8")
