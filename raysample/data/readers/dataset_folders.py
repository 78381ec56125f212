"""Checks of a `save_to_disk` folder before `datasets` opens it, which would block forever on a pipe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from raysample.core import storage

DATASET_STATE = "state.json"
_NUMBERED = re.compile(r"(?P<stem>.*)-(?P<place>\d{5})-of-(?P<of>\d{5})\.arrow")


def check_dataset_folder(uri: str) -> None:
    """Raise ValueError if a local `save_to_disk` folder holds a pipe or device, or a state with paths outside it.

    `datasets` opens every file that a `state.json` names, of any kind. Remote folders are fetched by fsspec, and object
    stores hold regular files only.
    """
    if not storage.is_local(uri):
        return
    root = Path(storage.absolute(uri))
    for path in _below(root):
        if storage.is_special_file(path):
            raise ValueError(f"{_inner(path, root)!r} in it is a pipe, socket or device, not a file")
    for state in (path for path in _below(root) if path.name == DATASET_STATE and path.is_file()):
        names = data_files(state)
        _check_inside(names)
        _check_numbered(names)


def state_files(root: Path) -> list[Path]:
    """Return the existing Arrow files that the states in a folder list."""
    states = [path for path in _below(root) if path.name == DATASET_STATE and path.is_file()]
    files = [state.parent / name for state in states for name in data_files(state)]
    return [path for path in files if path.is_file()]


def data_files(state: Path) -> list[str]:
    """Return the names of the Arrow files in a `state.json`; raises ValueError if the file has another structure."""
    return names_in(json.loads(state.read_text(encoding="utf-8")))


def names_in(found: Any) -> list[str]:
    """Return the names of the Arrow files in the content of a `state.json`; raises as `data_files`."""
    files = found.get("_data_files") if isinstance(found, dict) else None
    if not isinstance(files, list):
        raise ValueError(f"its {DATASET_STATE} lists no _data_files")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in files]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"an entry of _data_files in its {DATASET_STATE} has no filename")
    return [str(name) for name in names]


def _below(root: Path) -> list[Path]:
    """Return everything below a folder, including linked folders one level down."""
    # rglob does not follow links, and a split's folder may be a link
    links = [path for path in root.iterdir() if path.is_symlink() and path.is_dir()]
    return [path for folder in (root, *links) for path in folder.rglob("*")]


def _inner(path: Path, root: Path) -> str:
    """Return a path relative to the folder."""
    return path.relative_to(root).as_posix()


def _check_inside(names: list[str]) -> None:
    """Raise ValueError for names outside the folder, or listed twice."""
    for name in names:
        if name != Path(name).name or name in ("", ".", ".."):
            raise ValueError(f"its {DATASET_STATE} names {name!r}, which does not lie in it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"its {DATASET_STATE} names {twice[0]!r} twice")


def _check_numbered(names: list[str]) -> None:
    """Raise ValueError for an incomplete set of numbered files, such as `data-00000-of-00003.arrow` alone."""
    matches = [found for name in names if (found := _NUMBERED.fullmatch(name))]
    for stem, of in sorted({(found["stem"], found["of"]) for found in matches}):
        places = {int(found["place"]) for found in matches if (found["stem"], found["of"]) == (stem, of)}
        absent = sorted(set(range(int(of))) - places)
        if absent:
            raise ValueError(
                f"its {DATASET_STATE} lacks {stem}-{absent[0]:05d}-of-{of}.arrow, one of {int(of)} data files"
            )
