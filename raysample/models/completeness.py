"""Weights that no file holds, and weights that are no numbers: refused by name, for whole checkpoints and adapters.

transformers draws what a folder lacks, at every load anew: every checkpoint, worker and rerun would be another model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from raysample.core.errors import ModelError


def randomly_initialized(model: nn.Module, report: Mapping[str, Any], stored: Collection[str] = ()) -> set[str]:
    """Return the weights of a model that transformers drew when it loaded a folder.

    Args:
        model: as it came.
        report: the loading info that came with it.
        stored: names of the weights that its files hold, where they are known. Families may list weights that their
            loader does not miss (`_keys_to_ignore_on_load_missing`): of these, parameters that are neither in a file
            nor tied to a weight that is are drawn as well.
    """
    lost = {str(key) for key in report["missing_keys"]} | {str(key) for key, *_ in report["mismatched_keys"]}
    return lost | (_hidden(model, stored) if stored else set())


def _hidden(model: nn.Module, stored: Collection[str]) -> set[str]:
    patterns = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    # Without the base's prefix, as a folder of the encoder alone has them.
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
    """Raise ModelError where weights of a model are in no file.

    Args:
        name: what the user calls the model.
        lost: weights that were not in the file that was loaded first.
        provided: of these, what other files hold: adapters bring a classifier, a folder of heads its own.
        allowed: which may be drawn all the same: the head of a base that is about to be fine-tuned.
        advice: what to do.
    """
    missing = sorted(key for key in lost if key not in provided and not allowed(key))
    if missing:
        raise ModelError(
            f"{name!r} lacks {len(missing)} of its model's weights, for example {_some(missing)}: no file holds them, "
            "so every load would draw them anew",
            advice,
        )


def _some(names: Sequence[str]) -> str:
    """Return a few names, weights before biases."""
    return ", ".join(map(repr, sorted(names, key=lambda name: (name.endswith("bias"), name))[:3]))


def check_finite(model: nn.Module, name: str) -> None:
    """Raise ModelError where a weight holds values that are not finite, which it names.

    Single rows of embedding tables may: the texts with such a token have no finite score, and are set aside by row.
    """
    for place, module in model.named_modules():
        for key, weight in module.named_parameters(recurse=False):
            if not weight.is_floating_point() or weight.is_meta:
                continue
            finite = weight.detach().isfinite()
            # Not what a table may hold beside its rows: a vector for one token apart, say (T5Gemma 2).
            rowwise = isinstance(module, nn.Embedding) and weight is module.weight and bool(finite.all(1).any())
            if not rowwise and not bool(finite.all()):
                raise ModelError(
                    f"{name!r}: the weight {f'{place}.{key}'.lstrip('.')!r} has values that are not finite",
                    "its training diverged, or its file is damaged: leave this checkpoint out, or train with a lower "
                    "learning rate",
                )
