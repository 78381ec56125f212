"""The example configurations of the package: list them, or copy one."""

from __future__ import annotations

from pathlib import Path

import raysample
from raysample.core.errors import ConfigError, StorageError
from raysample.core.progress import Reporter


def run_examples(reporter: Reporter, name: str | None = None, output: str | None = None) -> None:
    """List the example configurations, or copy one.

    Args:
        reporter: where lines are printed.
        name: the example to copy; without it all are listed.
        output: the file to write, NAME.yaml in the working directory by default; an existing file is never replaced.
    """
    found = {path.stem: path for path in sorted(examples_folder().glob("*.yaml"))}
    if name is None:
        for stem, path in found.items():
            reporter.say(f"{stem:10}{_first_sentence(path)}")
        return
    if name not in found:
        raise ConfigError(f"there is no example {name!r}", f"choose one of: {', '.join(found)}")
    target = Path(output or f"{name}.yaml")
    try:
        with target.open("xb") as stream:
            stream.write(found[name].read_bytes())
    except OSError as error:
        raise StorageError(
            f"cannot write {str(target)!r}: {error.strerror}", "give another file by --output"
        ) from error
    reporter.say(f"example: {target}")
    reporter.say(f"to run it: raysample run {target}")


def examples_folder() -> Path:
    """Return the folder of the examples: inside an installed package, or at the top of a source tree."""
    package = Path(raysample.__file__).parent
    inside = package / "examples"
    return inside if inside.is_dir() else package.parent / "examples"


def _first_sentence(path: Path) -> str:
    """Return the first sentence of the comment that every example begins with."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.lstrip("# ").partition(". ")[0].removesuffix(".")
