"""Plug-ins by name: a built-in, a dotted path `package.module:Class`, or an entry point of an installed package.

Nothing is imported but what a name leads to. A class is identified by its path, its own `version` and a hash of the
file that defines it: results keep that identity, and a worker refuses a class that is another one.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from raysample.core.errors import PluginError, RaysampleError

T = TypeVar("T")

PLUGIN_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]*(:[A-Za-z_][A-Za-z0-9_.]*)?$"
"""What a name looks like in a configuration, as a regular expression."""


@dataclass(frozen=True)
class PluginIdentity:
    """Which class outside this package a name led to.

    Attributes:
        kind: what it is used as, for example `score`.
        path: `package.module:Class`.
        version: its class attribute `version`.
        source: hash of the file that defines it; empty where there is none to read.
    """

    kind: str
    path: str
    version: str
    source: str

    def to_dict(self) -> dict[str, str]:
        """Return JSON-able data for a manifest."""
        return {"class" if name == "path" else name: value for name, value in asdict(self).items() if name != "kind"}

    def __str__(self) -> str:
        return f"{self.kind} {self.path!r} (version {self.version})"


class Registry(Generic[T]):
    """The classes of one kind that configurations may name."""

    def __init__(
        self,
        kind: str,
        base: type[Any] | tuple[type[Any], ...],
        builtin: Mapping[str, type[T]],
        error: type[RaysampleError],
        also: Collection[str] = (),
        required: Collection[str] = (),
    ) -> None:
        """Describe the kind.

        Args:
            kind: what a class is used as; the entry points are those of the group `raysample.KINDs`.
            base: what a class derives from; a protocol asks for its members instead.
            builtin: name -> class.
            error: what is raised for names that lead to no such class.
            required: class attributes that have no default.
            also: names that are known and are no classes (`auto`), for the list in an error.
        """
        self.kind, self.builtin, self.error, self.also, self.required = kind, builtin, error, also, required
        self.bases = base if isinstance(base, tuple) else (base,)
        self.group = f"raysample.{kind[:-1]}ies" if kind.endswith("y") else f"raysample.{kind}s"

    def find(self, name: Any) -> type[T]:
        """Return the class that a name leads to; raises the kind's error, which names what is known."""
        if isinstance(name, str) and name in self.builtin:
            return self.builtin[name]
        path = name if isinstance(name, str) and ":" in name else self._entry_point(name)
        try:
            found = import_class(path)
        except Exception as error:  # whatever the module does when it is imported
            raise self.error(
                f"the {self.kind} {name!r} cannot be imported: {type(error).__name__}: {error}",
                "install its package where raysample runs, or put its folder on PYTHONPATH",
            ) from error
        problem = self._misfit(found)
        if problem:
            raise self.error(f"{name!r} is no {self.kind}: {problem}", f"derive it from raysample.{self._base_name()}")
        fitting: type[T] = found
        return fitting

    def plugin(self, found: type[Any]) -> PluginIdentity | None:
        """Return the identity of a class, or None for a built-in one."""
        return None if found in self.builtin.values() else identify(self.kind, found)

    def names(self) -> tuple[str, ...]:
        """Return the built-in names, then those of entry points, of which none is imported."""
        return tuple(dict.fromkeys((*self.also, *self.builtin, *self._entry_points())))

    def _entry_points(self) -> dict[str, str]:
        """Return the name and the path of every installed entry point of this kind."""
        return {point.name: point.value for point in metadata.entry_points(group=self.group)}

    def _entry_point(self, name: Any) -> str:
        """Return the path of one entry point; raises the kind's error if there is none, or more than one."""
        found = {point.value for point in metadata.entry_points(group=self.group) if point.name == name}
        if len(found) > 1:
            raise self.error(
                f"several installed packages call a {self.kind} {name!r}: {', '.join(sorted(found))}",
                "name the class itself: package.module:Class",
            )
        if not found:
            known = self.names()
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            advice = f"{hint}known: {', '.join(known)}; or a class of yours: package.module:Class"
            raise self.error(f"there is no {self.kind} called {name!r}", advice)
        return found.pop()

    def _misfit(self, found: Any) -> str:
        """Return why an object is no class of this kind; an empty string if it is one."""
        if not isinstance(found, type):
            return f"it is {type(found).__name__}, not a class"
        if getattr(self.bases[0], "_is_protocol", False):
            members = [name for base in self.bases for name in vars(base) if not name.startswith("_")]
            lacking = [name for name in members if not hasattr(found, name)]
            return f"it lacks {', '.join(lacking)}" if lacking else ""
        if not issubclass(found, self.bases):
            return f"the class derives from {', '.join(base.__name__ for base in found.__bases__)}"
        abstract = sorted(getattr(found, "__abstractmethods__", ()))
        abstract += [name for name in self.required if not hasattr(found, name)]
        if abstract:
            return f"it does not define {', '.join(abstract)}"
        return "" if isinstance(getattr(found, "version", None), str) else "its `version` is not a string"

    def _base_name(self) -> str:
        """Return the name of the base class that plug-ins of this kind derive from."""
        return self.bases[0].__name__


def import_class(path: str) -> Any:
    """Import `package.module:Class` and return the class; raises what the import raises."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def identify(kind: str, found: type[Any]) -> PluginIdentity:
    """Return the identity of a class."""
    path = f"{found.__module__}:{found.__qualname__}"
    return PluginIdentity(kind, path, str(getattr(found, "version", "1")), _source_hash(found))


def _source_hash(found: type[Any]) -> str:
    """Return a hash of the source file of a class; empty if it has none."""
    try:
        file = inspect.getsourcefile(found)
        return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]
    except (OSError, TypeError):
        return ""  # a class of a notebook, or one without source: its version alone tells


def plugin_problems(plugins: Iterable[PluginIdentity]) -> list[str]:
    """Return, in words, which of these classes this process cannot import, or has otherwise than where they come from.

    Needs none of the classes to be unpickled, so that it can be asked of a worker before any work.
    """
    found = []
    for plugin in plugins:
        try:
            here = identify(plugin.kind, import_class(plugin.path))
        except Exception as error:  # noqa: BLE001 - whatever the module does when it is imported
            found.append(f"the {plugin}: {type(error).__name__}: {error}")
            continue
        if here.version != plugin.version:
            found.append(f"the {plugin}: version {here.version} is installed there")
        elif here.source != plugin.source:
            found.append(f"the {plugin}: the file that defines it is another one there")
    return found


def require_plugins(plugins: Iterable[PluginIdentity]) -> None:
    """Raise PluginError where this process lacks one of these classes, or has another version of it."""
    refuse_plugins(plugin_problems(plugins))


def refuse_plugins(problems: Iterable[str]) -> None:
    """Raise PluginError for what `plugin_problems` found on a worker; nothing where it found nothing."""
    listed = "; ".join(problems)
    if listed:
        raise PluginError(
            f"a worker cannot use {listed}",
            "ship the same code to the workers (ray job submit --working-dir FOLDER, or runtime_env with working_dir "
            "or py_modules), install its package in their image, or set engine.kind=local",
        )
