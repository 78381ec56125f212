"""Public names of a package that are imported on first use, so that importing the package stays cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package whose public names are imported on first use.

    `__dir__` lists the names whether imported or not, for tab completion.

    Args:
        package: `__name__` of the package.
        homes: module -> its names, which are attributes or submodules.

    Example:
        >>> getattribute, names = lazy_names("raysample.report", {"raysample.report.page": ["write_report"]})
        >>> getattribute("write_report").__module__
        'raysample.report.page'
        >>> "write_report" in names()
        True
    """
    home = {name: module for module, names in homes.items() for name in names}

    def getattribute(name: str) -> Any:
        """Return a public name of the package, imported now; raises AttributeError for any other name."""
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(home[name])
        return getattr(module, name) if hasattr(module, name) else importlib.import_module(f"{home[name]}.{name}")

    def names() -> list[str]:
        """Return the names of the package, imported or not, sorted."""
        return sorted({*vars(sys.modules[package]), *home})

    return getattribute, names
