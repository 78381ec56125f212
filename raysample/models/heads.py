"""Heads without a class in transformers: one per level of a hierarchical label, and multi-layer perceptrons.

In training the last linear layer holds the heads of all levels, concatenated, or is replaced by a perceptron with such
a last layer. In a folder:

* `model.safetensors` is the plain classifier of the scored level, so transformers loads that level alone;
* `heads.safetensors` has the weights of every level, `level.NAME.weight` and `level.NAME.bias`;
* a perceptron has no place in transformers' classes. `heads.safetensors` has all of it (`hidden.0.weight`, ...,
  `output.weight` without levels), and the classifier's weight in `model.safetensors` is a single zero, a shape at which
  transformers stops: otherwise it would draw a new head, warn, and continue. `AutoModel` loads the encoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from raysample.core import manifests
from raysample.core.errors import ModelError
from raysample.core.numerics.forward_hooks import classifier
from raysample.data.labels.levels import Levels

HEADS_FILE = "heads.safetensors"
ENTRY = "raysample"
"""Key of the description of the heads in `config.json`."""

DROPOUT = 0.1


@dataclass(frozen=True)
class Head:
    """The difference of a head from the family's own: widths of hidden layers, and levels with one head each."""

    hidden: tuple[int, ...] = ()
    dropout: float = DROPOUT
    levels: Levels | None = None

    @property
    def is_default(self) -> bool:
        """Whether it is the family's own head."""
        return not self.hidden and self.levels is None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the last layers in `HEADS_FILE`, one per level."""
        return ("output",) if self.levels is None else tuple(f"level.{name}" for name in self.levels.names)

    def described(self) -> dict[str, Any]:
        """Return JSON-able data for `config.json`."""
        levels = self.levels
        data = None if levels is None else {"names": levels.names, "classes": levels.classes, "label": levels.label}
        return {"hidden": list(self.hidden), "dropout": self.dropout, "levels": data}


def head_of(model: nn.Module) -> Head:
    """Return the head of a model, as recorded in its configuration."""
    data = getattr(model.config, ENTRY, None)
    return Head() if data is None else _read(data)


def stored_head(place: str) -> Head:
    """Return the head described in the `config.json` of a local folder; the default head without a description."""
    file = Path(place) / "config.json"
    if not file.exists():
        return Head()
    data = manifests.mapping(str(file), foreign=True).get(ENTRY)
    if data is None:
        return Head()
    with manifests.damaged(str(file)):
        return _read(data)


def _read(data: Mapping[str, Any]) -> Head:
    """Build a head from its description."""
    levels = None if data["levels"] is None else Levels.from_dict(data["levels"])
    return Head(tuple(data["hidden"]), float(data["dropout"]), levels)


def give(model: PreTrainedModel, head: Head) -> None:
    """Give a model a head: a new perceptron, initialised as torch initialises linear layers.

    Record it in the configuration.

    Replaces the family's last linear layer; modules before it (a pooler, a dense layer) stay.
    """
    note(model, head)
    if head.hidden:
        name, last = last_linear(model)
        replace_at(model, name, perceptron([last.in_features, *head.hidden, last.out_features], head.dropout))


def note(model: PreTrainedModel, head: Head) -> None:
    """Record the head in a model's configuration, replacing an earlier record."""
    if not head.is_default:
        setattr(model.config, ENTRY, head.described())
    elif hasattr(model.config, ENTRY):
        delattr(model.config, ENTRY)


def perceptron(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Return linear layers of these widths with ReLU and dropout between them: z = W_n … ReLU(W_1 x + b_1) … + b_n."""
    layers: list[nn.Module] = []
    for given, made in pairwise(widths):
        layers += [nn.Linear(given, made), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


def last_linear(model: nn.Module) -> tuple[str, nn.Linear]:
    """Return the layer that computes the logits, and its name."""
    last = classifier(model)
    return next(name for name, module in model.named_modules() if module is last), last


def replace_at(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a submodule by another module."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def save_heads(model: PreTrainedModel, head: Head, folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model with a head that is not the default: the classifier of the scored level, and all heads beside it.

    Args:
        model: as in training, all levels concatenated. state: its weights. head: its head.
        folder: a local folder.
    """
    name, last = last_linear(model)
    root = name.rpartition(".")[0] if head.hidden else name
    weights = _weights(head, name, root, model.get_submodule(root), state)
    rest = {key: value for key, value in state.items() if not key.startswith(f"{root}.")}
    if head.hidden:
        rest[f"{root}.weight"] = torch.zeros(1)
    else:
        assert head.levels is not None
        scored = head.outputs[head.levels.label]
        rest |= {f"{root}.{kind}": weights[f"{scored}.{kind}"] for kind, _ in last.named_parameters()}
    model.save_pretrained(folder, state_dict=rest)
    save_file(weights, folder / HEADS_FILE, {"format": "pt"})
    _describe(folder / "config.json", head)


def _weights(head: Head, name: str, root: str, module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `HEADS_FILE`: hidden layers, then the rows of the last layer, level by level."""
    found: dict[str, Tensor] = {}
    hidden = [key for key, layer in module.named_children() if isinstance(layer, nn.Linear)][:-1]
    for place, key in enumerate(hidden):
        found |= {f"hidden.{place}.{kind}": state[f"{root}.{key}.{kind}"] for kind in ("weight", "bias")}
    spans = (slice(None),) if head.levels is None else head.levels.spans
    for output, span in zip(head.outputs, spans, strict=True):
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in state:
                found[f"{output}.{kind}"] = state[f"{name}.{kind}"][span]
    return {key: value.detach().cpu().clone().contiguous() for key, value in found.items()}


def _describe(config: Path, head: Head) -> None:
    """Change a saved `config.json` to the scored level's classifier and add the description of the heads."""
    data = json.loads(config.read_text(encoding="utf-8"))
    if head.levels is not None:
        classes = head.levels.classes[head.levels.label]
        data["id2label"] = {str(place): name for place, name in enumerate(classes)}
        data["label2id"] = {name: place for place, name in enumerate(classes)}
    data[ENTRY] = head.described()
    config.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_heads(model: PreTrainedModel, head: Head, place: str, name: str, every: bool) -> None:
    """Load the heads of a folder into a model that transformers loaded from it.

    Args:
        model: its last linear layer is replaced. head: from `stored_head`. place: the local folder.
        name: the user's name of the folder. every: all levels, concatenated; else the scored level only.

    Raises:
        ModelError: `HEADS_FILE` is missing, or lacks weights of the head.
    """
    file = Path(place) / HEADS_FILE
    try:
        layers = _layers(head, load_file(file) if file.exists() else {}, every)
    except KeyError as error:
        raise ModelError(
            f"{name!r}: {HEADS_FILE} lacks {error.args[0]!r}, a weight of the head that config.json describes",
            "copy the whole folder that the training wrote",
        ) from error
    root, _ = last_linear(model)
    replace_at(model, root, layers[0] if len(layers) == 1 else _joined(layers, head.dropout))
    model.config.num_labels = layers[-1].out_features
    note(model, head if every else Head(head.hidden, head.dropout))


def _layers(head: Head, weights: Mapping[str, Tensor], every: bool) -> list[nn.Linear]:
    """Return the hidden layers and the last one."""
    outputs = head.outputs if every or head.levels is None else (head.outputs[head.levels.label],)
    found = [_linear(weights[f"hidden.{i}.weight"], weights[f"hidden.{i}.bias"]) for i in range(len(head.hidden))]
    biased = f"{outputs[0]}.bias" in weights
    last = torch.cat([weights[f"{output}.weight"] for output in outputs])
    return [*found, _linear(last, torch.cat([weights[f"{output}.bias"] for output in outputs]) if biased else None)]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with these weights, without drawing any."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")  # nothing is drawn
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def _joined(layers: Sequence[nn.Linear], dropout: float) -> nn.Sequential:
    """Return a perceptron of linear layers with ReLU and dropout between them."""
    between = [module for layer in layers[:-1] for module in (layer, nn.ReLU(), nn.Dropout(dropout))]
    return nn.Sequential(*between, layers[-1])
