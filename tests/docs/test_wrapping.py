"""Prose of the documentation wraps at 100 columns; tables, code, headings and long addresses may be longer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("k8s/*.md"), *ROOT.glob("benchmarks/*.md")])
COLUMNS = 100


def long_prose(text: str) -> list[str]:
    """Return the lines of a page that could be wrapped and are too long."""
    found, fenced = list[str](), False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and len(line) > COLUMNS and not re.match(r"\s*[|#<]", line):
            words = re.sub(r"`[^`]*`|\]\([^)]*\)", "x", line)  # code and addresses stay in one piece
            if " " in words.strip().lstrip("-* "):
                found.append(line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_wraps(page: Path) -> None:
    assert long_prose(page.read_text(encoding="utf-8")) == []


def test_long_prose_is_found() -> None:
    line = "words " * 20
    assert long_prose(f"{line}\n") == [line.rstrip("\n")]
    assert long_prose(f"| {line} |\n```sh\n{line}\n```\n# {line}\n") == []
