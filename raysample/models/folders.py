"""Model folders: their location, their required content, and transformers without its progress output."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging as chatter

from raysample.core import storage
from raysample.core.errors import ModelError

# Patterns of weight files, one file or numbered parts with an index, as `from_pretrained` reads them.
WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
# Keys of config.json that decide a model's size -> (limit, bytes per unit, power): a value above the limit needs weight
# files of at least bytes x value^power. Power 2: the value is both sides of a matrix.
SIZES = {
    **dict.fromkeys(("hidden_size", "dim", "n_embd", "d_model", "embedding_size"), (4_096, 1, 2)),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers"), (200, 1_000, 1)),
    **dict.fromkeys(("intermediate_size", "hidden_dim"), (65_536, 100, 1)),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "type_vocab_size"), (1_000_000, 1, 1)),
}


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Suppress transformers' load reports and progress bars in the block; errors pass, settings are restored."""
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()


def check_files(place: str) -> None:
    """Raise ModelError for a local folder with pipes or the like, or with sizes that its files cannot hold.

    Opening a pipe would wait for ever; sizes in config.json are allocated before the weights are read.
    """
    folder = Path(place.removeprefix("file://"))
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not path.is_file() and not path.is_dir():
            raise ModelError(f"{str(path)!r} is neither a file nor a folder", "restore it, or remove it")
    _check_shape(folder)


def _check_shape(folder: Path) -> None:
    """Refuse sizes in config.json that the weight files cannot hold, before transformers allocates them."""
    weights = [path for pattern in (*WEIGHT_PATTERNS, "adapter_model*") for path in folder.glob(pattern)]
    if not (folder / "config.json").is_file() or not weights:
        return
    config = storage.read_json(str(folder / "config.json"), foreign=True)
    if not isinstance(config, dict):
        raise ModelError(f"{str(folder / 'config.json')!r} holds no mapping", "restore it")
    there = sum(path.stat().st_size for path in weights)
    for key, (free, per_unit, power) in SIZES.items():
        value = config.get(key)
        if isinstance(value, int | float) and value > free and not per_unit * value**power <= there:
            raise ModelError(
                f"{str(folder / 'config.json')!r} says {key}: {value:.6g}, and the folder's weights are not that large",
                "restore it, or save the model again with save_pretrained",
            )


@contextmanager
def at_hand(uri: str) -> Iterator[str]:
    """Yield a path for transformers.

    A local folder or hub name unchanged, an object store's folder as a temporary copy.
    """
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
    """Yield a local folder to write into; its content is in folder `uri` at the end, wherever that is."""
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
        ModelError: `path` looks like a folder but does not exist, or the folder lacks config.json, weights or a
            tokenizer.
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
    """Return whether file names include those of a tokenizer."""
    return any(name in names for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json"))


def check_folder(path: str, names: list[str]) -> None:
    """Raise ModelError unless a folder with these file names can be a pretrained encoder."""
    if "config.json" not in names:
        raise ModelError(
            f"the model folder {path!r} holds no config.json", "give a folder that save_pretrained wrote, or a hub name"
        )
    if not any(Path(name).match(pattern) for name in names for pattern in WEIGHT_PATTERNS):
        raise ModelError(
            f"the model folder {path!r} holds no weights (model.safetensors or pytorch_model.bin)",
            "complete the folder, or use model.path: tiny, which is built from the corpus",
        )
    if not has_tokenizer(names):
        raise ModelError(
            f"the model folder {path!r} holds no tokenizer",
            "save it there as well: tokenizer.save_pretrained(folder)",
        )
