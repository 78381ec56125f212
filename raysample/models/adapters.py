"""Checkpoints that hold adapters only (peft): their base is loaded and the adapters are attached; only adapters count.

peft is an optional requirement: it is imported when a folder of adapters is loaded.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForSequenceClassification

from raysample.core import storage
from raysample.core.errors import ModelError
from raysample.models.completeness import randomly_initialized, refuse

CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_HEADS = ("score.", "classifier.")
_PREFIX = "base_model.model."
"""Prefix of the names in an adapter file; the rest is the name of the weight in the base."""


def is_adapter(place: str) -> bool:
    """Return whether a local folder holds adapters and no full model."""
    folder = Path(place)
    return (folder / CONFIG).exists() and not (folder / "config.json").exists()


def base_of(place: str) -> str:
    """Return the folder or hub name of the model that adapters were trained on."""
    config = storage.read_json(str(Path(place) / CONFIG), foreign=True)
    found = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not found or not isinstance(found, str):
        raise ModelError(f"{place!r}: {CONFIG} names no base model", "set base_model_name_or_path there")
    return str(found)


def load_adapters(place: str, name: str, trust_remote_code: bool) -> nn.Module:
    """Return a base model with adapters in float32; adapters and the modules saved beside them require gradients.

    Raises:
        ModelError: peft is not installed, the adapters hold no classifier, or a weight is in neither folder.
    """
    try:
        peft = importlib.import_module("peft")
    except ImportError as error:
        raise ModelError(f"{name!r} holds adapters, and peft is not installed", "pip install peft") from error
    base, report = AutoModelForSequenceClassification.from_pretrained(
        base_of(place),
        num_labels=classes(place, name),
        ignore_mismatched_sizes=True,  # the base may have no head or one of another size: adapters bring theirs
        dtype=torch.float32,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    there = adapter_tensors(place)
    base_lost = randomly_initialized(base, report)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses deprecated names of transformers
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # it is an error, below
        model: nn.Module = peft.PeftModel.from_pretrained(base, place, is_trainable=True)
    own = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    lost = {*base_lost, *(key.removeprefix(_PREFIX) for key in own)} - {key.removeprefix(_PREFIX) for key in there}
    refuse(
        name,
        lost,
        allowed=lambda key: key not in base_lost and _shared(key),
        advice="save what was drawn for the training with the adapters (modules_to_save=['classifier', 'pooler'] names "
        "the modules), or give them a base that holds it; or merge them (merge_and_unload) and save the whole model",
    )
    return model.float()


def adapter_tensors(place: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors in a folder's adapter file; empty if there is none."""
    weights = Path(place) / ADAPTER_WEIGHTS
    if not weights.exists():
        return {}
    with safe_open(str(weights), "pt") as tensors:
        return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118 - no dictionary


def _shared(key: str) -> bool:
    """Return whether peft generates a tensor from a seed in the configuration, or shares it by design."""
    return any(part in key for part in ("vblora_vector_bank", "prompt_encoder", "tinylora_v", "vera_A", "vera_B"))


def classes(place: str, name: str) -> int:
    """Return the number of classes of the classifier beside the adapters."""
    shapes = adapter_tensors(place)
    heads = [key for key in shapes if key.endswith("weight") and any(f".{head}" in key for head in _HEADS)]
    if heads:
        return int(shapes[max(heads, key=lambda key: ("out_proj" in key, key))][0])
    raise ModelError(
        f"{name!r}: {ADAPTER_WEIGHTS} holds no classifier",
        "train the classifier with the adapters (modules_to_save=['classifier'], or task_type='SEQ_CLS')",
    )
