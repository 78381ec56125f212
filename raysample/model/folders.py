"""Model folders: where a path points, what it must hold, and transformers called without its chatter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging as chatter

from raysample import storage
from raysample.errors import ModelError

# Whole, or cut into numbered files with an index beside them: what `from_pretrained` reads.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


@contextmanager
def quiet() -> Iterator[None]:
    """Hold transformers' load reports and progress bars back; its errors still come, its settings come back."""
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()


@contextmanager
def at_hand(uri: str) -> Iterator[str]:
    """Yield what transformers can open: a local folder or hub name as it is, an object store's folder as a copy."""
    if "://" not in uri or storage.is_local(uri):
        yield uri.removeprefix("file://")
        return
    fs, path = storage.filesystem(uri)
    with tempfile.TemporaryDirectory(prefix="raysample-model-") as folder:
        for name in storage.list_files(uri):
            target = Path(folder) / name.removeprefix(uri.rstrip("/") + "/")
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(f"{path.rstrip('/')}/{target.relative_to(folder).as_posix()}", str(target))
        yield folder


@contextmanager
def written_to(uri: str) -> Iterator[Path]:
    """Yield a local folder to write into; what it holds at the end is in folder `uri`, wherever that is."""
    if storage.is_local(uri):
        folder = Path(storage.absolute(uri))
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    fs, path = storage.filesystem(uri)
    with tempfile.TemporaryDirectory(prefix="raysample-model-") as draft:
        yield Path(draft)
        for name in sorted(p for p in Path(draft).rglob("*") if p.is_file()):
            fs.put_file(str(name), f"{path.rstrip('/')}/{name.relative_to(draft).as_posix()}")


def locate(path: str) -> str:
    """Return the absolute folder, URI or hub name that `path` means.

    Raises:
        ModelError: `path` looks like a folder but is none, or the folder lacks config.json, weights or a tokenizer.
    """
    if not storage.is_local(path):
        check_folder(path, [Path(name).name for name in storage.list_files(path)])
        return path
    folder = Path(path.removeprefix("file://")).expanduser()
    if folder.is_dir():
        check_folder(path, [entry.name for entry in folder.iterdir()])
        return str(folder.absolute())
    if folder.exists() or path.count("/") > 1 or path.startswith((".", "/", "~", "file:")):
        raise ModelError(
            f"there is no model folder at {path!r}", "check model.path: a folder, a hub name, or 'tiny' (needs nothing)"
        )
    return path


def has_tokenizer(names: list[str]) -> bool:
    """Tell whether files of these names can be a tokenizer's."""
    return any(name in names for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json"))


def check_folder(path: str, names: list[str]) -> None:
    """Raise ModelError unless a folder with these file names can be a pretrained encoder."""
    if "config.json" not in names:
        raise ModelError(
            f"the model folder {path!r} holds no config.json", "give a folder that save_pretrained wrote, or a hub name"
        )
    if not any(Path(name).match(pattern) for name in names for pattern in WEIGHTS):
        raise ModelError(
            f"the model folder {path!r} holds no weights (model.safetensors or pytorch_model.bin)",
            "complete the folder, or use model.path: tiny, which is built from the corpus",
        )
    if not has_tokenizer(names):
        raise ModelError(
            f"the model folder {path!r} holds no tokenizer",
            "save it there as well: tokenizer.save_pretrained(folder)",
        )
