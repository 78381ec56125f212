"""Names and shapes of the weights in a folder, read from file headers without running any of their code."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from raysample.core.errors import ModelError
from raysample.models.adapters import ADAPTER_WEIGHTS

Shapes = dict[str, tuple[int, ...]]
WEIGHT_FILES = ("model.safetensors", ADAPTER_WEIGHTS, "pytorch_model.bin")
"""Weight files in the order in which transformers looks for them; each may be split into parts with an index."""


def shapes(folder: str) -> Shapes:
    """Return the names and shapes of a local folder's weights.

    Pickled weights are read by torch's `weights_only` reader, which creates only tensors and plain containers.

    Raises:
        ModelError: there are no weights, a file is missing, truncated or damaged, or a pickle holds more than weights.
    """
    found: Shapes = {}
    for name in _files(Path(folder)):
        path = Path(folder) / name
        if not path.is_file():
            raise ModelError(f"{folder!r} lacks {name!r}, which its index names", "complete the folder")
        found |= _safe(path) if name.endswith(".safetensors") else _pickled(path)
    return found


def stored_names(folder: str) -> frozenset[str]:
    """Return the names of a local folder's weights; empty for a hub name.

    Raises:
        ModelError: as `shapes`.
    """
    return frozenset(shapes(folder)) if Path(folder).is_dir() else frozenset()


def _files(folder: Path) -> list[str]:
    """Return the names of the weight files of a folder: one file, or the parts in its index."""
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [name]
        if index.is_file():
            return sorted(set(_index(index)))
    raise ModelError(
        f"{str(folder)!r} holds no weights (model.safetensors, pytorch_model.bin or adapter_model.safetensors)",
        "it was not written to its end, or its weights are in another form: save it with save_pretrained",
    )


def _index(path: Path) -> list[str]:
    """Return the file names in an index; raises ModelError if it is damaged."""
    try:
        return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()]
    except (ValueError, LookupError, AttributeError, TypeError, OSError, RecursionError) as error:
        raise ModelError(f"{str(path)!r} is damaged: {error}", "restore it, or leave its folder out") from error


def _safe(path: Path) -> Shapes:
    """Return names and shapes of a safetensors file; raises ModelError if it is damaged."""
    try:
        with safe_open(str(path), "pt") as stored:
            return {key: tuple(stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118 - no dictionary
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        raise ModelError(
            f"{str(path)!r} is cut off or damaged: {error}", "restore it, or leave its folder out"
        ) from error


def _pickled(path: Path) -> Shapes:
    """Return names and shapes of a pickled file; raises ModelError if it holds more than weights."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # for pickles that torch did not write
            stored = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # a damaged pickle raises errors of any type
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{str(path)!r} is cut off, or a pickle of more than weights, which is not opened: {reason}",
            "save the model again with save_pretrained, which writes safetensors",
        ) from error
    if not isinstance(stored, dict):
        raise ModelError(f"{str(path)!r} holds no weights by name", "save the model again with save_pretrained")
    return {str(key): tuple(value.shape) for key, value in stored.items() if isinstance(value, torch.Tensor)}
