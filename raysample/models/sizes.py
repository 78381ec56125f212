"""How large a saved model is, told by the headers of its files: no weight is read."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import PurePosixPath

from raysample.core import manifests, storage
from raysample.models import adapters, heads
from raysample.models.folders import WEIGHTS

HEADER = 100_000_000
"""Bytes that the header of a file of weights has at most, as safetensors itself has it."""

FLOAT = 4
_WIDTH = ("hidden_size", "dim", "n_embd", "d_model")
_DEPTH = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a saved model, and width and depth of its encoder; 0 where its configuration does not tell."""

    parameters: int
    hidden: int
    layers: int

    @property
    def bytes(self) -> int:
        """What it takes in memory, in float32."""
        return FLOAT * self.parameters


def model_size(uri: str) -> ModelSize:
    """Return the size of a checkpoint folder; of adapters that of their base, where it is a folder, with them."""
    files = storage.list_files(uri)
    named = {PurePosixPath(file).name: file for file in files}
    kinds = (WEIGHTS[0], WEIGHTS[1], adapters.WEIGHTS)
    found = next(
        (chosen for kind in kinds if (chosen := [f for n, f in named.items() if PurePosixPath(n).match(kind)])), []
    )
    # A perceptron's weights lie apart; those of other levels' heads are counted with them, which is little too much.
    parameters = sum(_parameters(file) for file in [*found, *(named[n] for n in (heads.FILE,) if n in named)])
    if adapters.CONFIG in named and "config.json" not in named:
        base = manifests.mapping(named[adapters.CONFIG], foreign=True).get("base_model_name_or_path") or ""
        under = model_size(base) if base and storage.exists(base) else ModelSize(0, 0, 0)
        return ModelSize(parameters + under.parameters, under.hidden, under.layers)
    told = manifests.mapping(named["config.json"], foreign=True) if "config.json" in named else {}
    with manifests.damaged(named.get("config.json", uri)):
        hidden, layers = (next((int(told[key]) for key in keys if told.get(key)), 0) for keys in (_WIDTH, _DEPTH))
    return ModelSize(parameters, hidden, layers)


def _parameters(uri: str) -> int:
    """Count the numbers in a file of weights; of a pickled one by its length, as if they were float32."""
    fs, path = storage.filesystem(uri)
    if not path.endswith(".safetensors"):
        return int(fs.size(path)) // FLOAT
    with fs.open(path, "rb") as stream, manifests.damaged(uri):
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(min(length, HEADER)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
