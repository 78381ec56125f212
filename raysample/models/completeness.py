"""Missing weights and weights that are not finite: refused by name, for full checkpoints and adapters.

transformers draws missing weights at random on every load: every checkpoint, worker and rerun would have another model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from raysample.core.errors import ModelError


def randomly_initialized(model: nn.Module, report: Mapping[str, Any], stored: Collection[str] = ()) -> set[str]:
    """Return the names of the weights that transformers drew at random when it loaded a folder.

    Args:
        model: the loaded model.
        report: its loading info.
        stored: names of the weights in its files, if known. Model families may list weights whose absence their loader
            ignores (`_keys_to_ignore_on_load_missing`): a parameter on that list that is neither in a file nor tied to
            a weight that is counts as drawn.
    """
    lost = {str(key) for key in report["missing_keys"]} | {str(key) for key, *_ in report["mismatched_keys"]}
    return lost | (_hidden(model, stored) if stored else set())


def _hidden(model: nn.Module, stored: Collection[str]) -> set[str]:
    """Return the parameters on the ignore list that are neither stored nor tied to a stored weight."""
    patterns = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    # Compared without the base's prefix: a folder of the encoder alone stores its names without it.
    there = {key.removeprefix(prefix) for key in stored}
    kept = {id(p) for key, p in model.named_parameters(remove_duplicate=False) if key.removeprefix(prefix) in there}
    return {
        key
        for key, parameter in model.named_parameters()
        if id(parameter) not in kept and any(re.search(pattern, key) for pattern in patterns)
    }


def refuse(
    name: str,
    lost: Iterable[str],
    provided: Collection[str] = (),
    allowed: Callable[[str], bool] = lambda _: False,
    advice: str = "its config.json and its weights are not of one model: save it again with save_pretrained",
) -> None:
    """Raise ModelError if weights of a model are in no file.

    Args:
        name: the user's name of the model.
        lost: weights missing in the file that was loaded first.
        provided: those of them that other files hold: adapters bring a classifier, a folder of heads its own.
        allowed: weights that may be drawn: the head of a base that will be fine-tuned.
        advice: the advice of the error.
    """
    missing = sorted(key for key in lost if key not in provided and not allowed(key))
    if missing:
        raise ModelError(
            f"{name!r} lacks {len(missing)} of its model's weights, for example {_some(missing)}: no file holds them, "
            "so every load would draw them anew",
            advice,
        )


def _some(names: Sequence[str]) -> str:
    """Return up to three names for a message, weights before biases."""
    return ", ".join(map(repr, sorted(names, key=lambda name: (name.endswith("bias"), name))[:3]))


def check_finite(model: nn.Module, name: str) -> None:
    """Raise ModelError, naming it, for a weight with values that are not finite.

    Single rows of embedding tables may be: texts with such a token have no finite score and are quarantined by row.
    """
    for place, module in model.named_modules():
        for key, weight in module.named_parameters(recurse=False):
            if not weight.is_floating_point() or weight.is_meta:
                continue
            finite = weight.detach().isfinite()
            # No exemption for other parameters of a table, such as a vector for one token (T5Gemma 2).
            rowwise = isinstance(module, nn.Embedding) and weight is module.weight and bool(finite.all(1).any())
            if not rowwise and not bool(finite.all()):
                raise ModelError(
                    f"{name!r}: the weight {f'{place}.{key}'.lstrip('.')!r} has values that are not finite",
                    "its training diverged, or its file is damaged: leave this checkpoint out, or train with a lower "
                    "learning rate",
                )
