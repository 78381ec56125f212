"""Optional dependencies: which extra of the package brings a library, and the error that names the extra."""

from __future__ import annotations

import importlib.util

from raysample.core.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {
    "ray": ("ray",),
    "mlflow": ("mlflow",),
    "report": ("matplotlib", "jinja2"),
    "s3": ("s3fs",),
}
"""Extra of `pip install 'raysample[EXTRA]'` -> the modules that it brings. pyproject.toml has their versions."""


def is_installed(extra: str) -> bool:
    """Tell whether the modules of an extra are installed; imports none of them."""
    return all(importlib.util.find_spec(module) is not None for module in EXTRAS[extra])


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'raysample[{extra}]'"


def require_extra(extra: str, purpose: str, otherwise: str = "") -> None:
    """Raise a MissingExtraError unless the modules of an extra are installed.

    Args:
        extra: a key of EXTRAS.
        purpose: what needs it, as the subject of "needs": `engine.kind: ray`.
        otherwise: what the user can do without the extra.
    """
    if is_installed(extra):
        return
    missing = [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]
    advice = install_command(extra) + (f", or {otherwise}" if otherwise else "")
    raise MissingExtraError(f"{purpose} needs {' and '.join(missing)}: not installed", advice)
