"""Text -> plain data: YAML 1.2 scalars, nothing silently lost, bounded in size and depth.

PyYAML alone takes the last of two equal keys, expands nested aliases without bound, reads `on` as true and `1:30` as
ninety, ends in RecursionError on deep nesting and in ValueError on long numbers. Here each of these is an error with
its line, or a string.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from raysample.core.errors import ConfigError

BYTES = 1 << 20
"""The largest configuration file."""
DEPTH = 32
"""Largest nesting depth of sections and lists."""
VALUES = 50_000
"""Largest number of values, with every alias expanded."""
CHARACTERS = 4_096
"""The longest string."""
INTEGER_BOUND = 2**63
"""Bound of integers in absolute value: what files, tensors and tables hold."""

_CORE = "tag:yaml.org,2002:"
_KNOWN = {_CORE + name for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
_WORDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+[eE][-+]?[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": (r"<<", ["<"]),
}


class _Refused(yaml.YAMLError):
    """An error for valid YAML that is refused here; `line` counts from 1."""

    def __init__(self, problem: str, advice: str, line: int) -> None:
        super().__init__(problem)
        self.problem, self.advice, self.line = problem, advice, line


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, equal keys refused, and limits on depth and size."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}
        self._composed = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose one node; refuses excessive depth and size, and tags that create objects."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        self._depth += 1
        self._composed += 1
        if self._composed > VALUES:
            raise _Refused(f"there are more than {VALUES:,} values", "use shorter lists", line)
        if self._depth > DEPTH:
            raise _Refused(f"more than {DEPTH} sections or lists lie in each other", "flatten it", line)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, MappingNode | SequenceNode) and id(node) not in self._sizes:
            raise _Refused("an alias stands inside of what it names", "write the value out", line)
        if isinstance(node, ScalarNode):
            self._sizes.setdefault(id(node), 1)
        if node is not None and node.tag not in _KNOWN:
            tag = node.tag.replace(_CORE, "!!")
            raise _Refused(f"the tag {tag!r} is not plain data", "leave the tag out", line)
        return node

    def compose_sequence_node(self, anchor: Any) -> SequenceNode:
        """Compose a list and count its values."""
        node: SequenceNode = super().compose_sequence_node(anchor)
        self._count(node, node.value)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Compose a section; refuses equal keys, and keys that are not scalars."""
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise _Refused("a key is a list or a section", "use a string as a key", line)
            name = key.value if key.tag == _CORE + "merge" else self.construct_object(key)
            if name in seen:
                raise _Refused(
                    f"the key {_brief(key.value)} stands twice, in line {seen[name]} and in line {line}",
                    "keep one of them: only the last one would count",
                    line,
                )
            seen[name] = line
        self._count(node, [part for pair in node.value for part in pair])
        return node

    def _count(self, node: Node, parts: list[Node]) -> None:
        """Record the size of a node, with aliases expanded; refuses a size above VALUES."""
        self._sizes[id(node)] = size = 1 + sum(self._sizes[id(part)] for part in parts)
        if size > VALUES:
            raise _Refused(
                f"there are more than {VALUES:,} values, aliases (*name) written out",
                "use fewer aliases, or shorter lists",
                node.start_mark.line + 1,
            )

    def construct_number(self, node: Node) -> int | float:
        """Construct a number as in YAML 1.2, with `_` between digits allowed."""
        kind = node.tag.removeprefix(_CORE)
        text = self.construct_scalar(node).replace("_", "")  # type: ignore[arg-type]
        if not text or not re.fullmatch(_WORDS[kind][0], text):
            raise _Refused(f"{_brief(text)} is no number", "mend it, or leave the tag out", node.start_mark.line + 1)
        if len(text) > 400:
            raise _Refused(f"a number has {len(text):,} digits", "quote it if it is a name", node.start_mark.line + 1)
        return int(text) if kind == "int" else float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def construct_truth(self, node: Node) -> bool:
        """Construct true or false."""
        text = self.construct_scalar(node).lower()  # type: ignore[arg-type]
        if text not in ("true", "false"):
            raise _Refused(f"{_brief(text)} is neither true nor false", "mend it", node.start_mark.line + 1)
        return bool(text == "true")


for _name, (_pattern, _first) in _WORDS.items():
    _Loader.add_implicit_resolver(_CORE + _name, re.compile(rf"(?:{_pattern})\Z"), _first)
for _name in ("int", "float"):
    _Loader.add_constructor(_CORE + _name, _Loader.construct_number)
_Loader.add_constructor(_CORE + "bool", _Loader.construct_truth)


def read_file(path: str | Path) -> str:
    """Return the text of a configuration file; raises ConfigError unless it is a UTF-8 file of at most 1 MiB."""
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise ConfigError(f"{str(path)!r} is {what}", "name the YAML file of the run's configuration")
        if found.st_size > BYTES:
            raise ConfigError(
                f"{str(path)!r} has {found.st_size:,} bytes, and a configuration has at most {BYTES:,}",
                "name the YAML file of the run's configuration",
            )
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration at {str(path)!r}", "check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"cannot read {str(path)!r}: {error}", "check the path and the rights") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{str(path)!r} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start:,}, in line {line}",
            "save it as UTF-8",
        ) from error


def values_of(text: str, where: str) -> Any:
    """Return the plain data of one YAML document; raises ConfigError naming `where` and the line."""
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except _Refused as error:
        raise ConfigError(f"{where}, line {error.line}: {error.problem}", error.advice) from None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{where} is not valid YAML: {_told(error)}", "mend the line that the message names"
        ) from error
    except (ValueError, RecursionError, OverflowError) as error:  # escapes that are no character
        raise ConfigError(f"{where} is not valid YAML: {error}", "mend it, or quote the value") from error
    finally:
        if loader is not None:
            loader.dispose()


def unsound(data: Any) -> Iterator[str]:
    """Yield a problem, with its key, for values that no key accepts.

    Infinite numbers, too long strings, too much data.
    """
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), data)]
    values = 0
    while waiting:
        path, value = waiting.pop()
        values += 1
        if values > VALUES or len(path) > DEPTH:
            limit = f"{DEPTH} sections or lists lie in each other" if values <= VALUES else f"{VALUES:,} values"
            yield f"{_key(path[:3])}: there are more than {limit}"
            return
        problem = _problem(value)
        if problem:
            yield f"{_key(path)}: {problem}"
        elif isinstance(value, dict):
            waiting += [((*path, key), inner) for key, inner in value.items()]
            for key in value:
                if isinstance(key, str) and (problem := _problem(key)):
                    yield f"{_key(path)}: its key {_brief(key)}: {problem}"
        elif isinstance(value, list | tuple):
            waiting += [((*path, index), inner) for index, inner in enumerate(value)]


def _problem(value: Any) -> str:
    """Return the problem of one value, or an empty string."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value!r}"
    if isinstance(value, int) and not -INTEGER_BOUND < value < INTEGER_BOUND:
        return f"expected a whole number between -2^63 and 2^63, got one of {value.bit_length():,} bits"
    return _text_problem(value) if isinstance(value, str) else ""


def _text_problem(value: str) -> str:
    """Return the problem of one string, or an empty string."""
    if len(value) > CHARACTERS:
        return f"expected at most {CHARACTERS:,} characters, got {len(value):,}"
    if "\0" in value:
        return "expected a text, got one with a NUL character"
    if re.search(r"[\ud800-\udfff]", value):
        return "expected a text, got one with half a character (a lone surrogate)"
    return ""


def _key(path: tuple[Any, ...]) -> str:
    """Return the dotted name of a key."""
    return ".".join(_brief(part).strip("'") for part in path) or "the configuration"


def _brief(value: Any) -> str:
    """Return a value in at most 60 characters."""
    text = str(value)
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _told(error: yaml.YAMLError) -> str:
    """Return PyYAML's message in one line, with the line number."""
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"line {mark.line + 1}: {words}" if mark is not None else str(words)
