"""The size of a saved model, from the headers of its files: no weight is read."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import PurePosixPath

from raysample.core import manifests, storage
from raysample.models import adapters, heads
from raysample.models.folders import WEIGHT_PATTERNS

HEADER = 100_000_000
"""Largest header of a weight file in bytes, the limit of safetensors itself."""

FLOAT = 4
_WIDTH = ("hidden_size", "dim", "n_embd", "d_model")
_DEPTH = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a saved model, and width and depth of its encoder; 0 if its configuration does not say."""

    parameters: int
    hidden: int
    layers: int

    @property
    def bytes(self) -> int:
        """Its memory in float32, in bytes."""
        return FLOAT * self.parameters


def model_size(uri: str) -> ModelSize:
    """Return the size of a checkpoint folder; for adapters including their base, if that is a folder."""
    files = storage.list_files(uri)
    named = {PurePosixPath(file).name: file for file in files}
    kinds = (WEIGHT_PATTERNS[0], WEIGHT_PATTERNS[1], adapters.ADAPTER_WEIGHTS)
    found = next(
        (chosen for kind in kinds if (chosen := [f for n, f in named.items() if PurePosixPath(n).match(kind)])), []
    )
    # A perceptron's weights are in a file of their own; heads of other levels in it are counted too, which is a small
    # overestimate.
    parameters = sum(_parameters(file) for file in [*found, *(named[n] for n in (heads.HEADS_FILE,) if n in named)])
    if adapters.CONFIG in named and "config.json" not in named:
        base = manifests.mapping(named[adapters.CONFIG], foreign=True).get("base_model_name_or_path") or ""
        under = model_size(base) if base and storage.exists(base) else ModelSize(0, 0, 0)
        return ModelSize(parameters + under.parameters, under.hidden, under.layers)
    config = manifests.mapping(named["config.json"], foreign=True) if "config.json" in named else {}
    with manifests.damaged(named.get("config.json", uri)):
        hidden, layers = (next((int(config[key]) for key in keys if config.get(key)), 0) for keys in (_WIDTH, _DEPTH))
    return ModelSize(parameters, hidden, layers)


def _parameters(uri: str) -> int:
    """Return the number of parameters in a weight file; for a pickle its length divided by that of a float32."""
    fs, path = storage.filesystem(uri)
    if not path.endswith(".safetensors"):
        return int(fs.size(path)) // FLOAT
    with fs.open(path, "rb") as stream, manifests.damaged(uri):
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(min(length, HEADER)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
