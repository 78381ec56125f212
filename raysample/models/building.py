"""Prepare a base once, build one model per seed from it, save and load checkpoints: always float32, on the CPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from raysample.core import storage
from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError, RaysampleError
from raysample.data.labels.levels import Levels
from raysample.models import heads
from raysample.models.adapters import base_of, is_adapter, load_adapters
from raysample.models.compatibility import check_vocabulary
from raysample.models.completeness import check_finite, randomly_initialized, refuse
from raysample.models.folders import at_hand, check_files, has_tokenizer, locate, silence_transformers, written_to
from raysample.models.heads import Head
from raysample.models.layers import check_padding, check_positions, keep_layers
from raysample.models.padding import count_positions
from raysample.models.tiny import tiny_config, train_tokenizer
from raysample.models.weights import stored_names

if TYPE_CHECKING:
    from raysample.data.corpus import Corpus

TINY = "tiny"
T = TypeVar("T")


def prepare_base(config: ModelConfig, corpus: Corpus, folder: str) -> str:
    """Return the base for `build_model`; problems of the model are found here, before any training.

    `tiny`: trains the tokenizer on `corpus` and writes it, with the configuration, into `folder`, whose absolute URI is
    returned. A local folder or hub name is loaded once as a trial and returned (absolute) itself.

    Raises:
        ModelError: the folder or name cannot be used: missing or damaged files, unknown to the hub, no padding token,
            fewer layers or positions than configured, a tokenizer with more ids than the model has embeddings.
    """
    if config.path == TINY:
        text_tokenizer = train_tokenizer(config, corpus)
        with written_to(folder) as place, silence_transformers():
            text_tokenizer.save_pretrained(place)
            tiny_config(config, len(text_tokenizer)).save_pretrained(place)
        return storage.absolute(folder)
    base = locate(config.path)
    text_tokenizer = tokenizer(base, trust_remote_code=config.trust_remote_code)
    if text_tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {config.path!r} has no padding token", "choose an encoder, or set pad_token and save it"
        )
    model = build_model(base, config, ("one", "other"), seed=0)
    check_positions(model, config)
    check_padding(model, text_tokenizer.pad_token_id, config)
    check_vocabulary(model, text_tokenizer, config.path)
    return base


def build_model(
    base: str, config: ModelConfig, labels: Sequence[str], seed: int, levels: Levels | None = None
) -> nn.Module:
    """Return a `*ForSequenceClassification` in eval mode, its head drawn from `seed`: same arguments, same weights.

    All weights of `tiny` are drawn. Of a pretrained encoder only those outside the encoder are, even if the folder
    holds a trained head: the classes of another task would otherwise be taken for these. `config.layers` keeps the
    first n layers; parameters that match `config.freeze` require no gradient. `config.head_hidden` replaces the last
    linear layer by a perceptron. With `levels` the logits are those of all levels, concatenated as in `levels.spans`.
    The global random state is restored.

    Raises:
        ModelError: the base cannot be loaded, its weights are of another architecture, it has too few layers, or
            `config.freeze` does not fit it.
    """
    names = dict(enumerate(labels if levels is None else _side_by_side(levels)))
    options: dict[str, Any] = {
        "num_labels": len(names),
        "id2label": names,
        "label2id": {name: i for i, name in names.items()},
    }
    with at_hand(base) as place, silence_transformers(), torch.random.fork_rng(devices=[]):
        options |= _dropout(place, base, config)
        # The CPU generator only: torch.manual_seed would also reseed accelerators, which fork_rng does not restore.
        torch.default_generator.manual_seed(seed)
        if config.path == TINY:
            model = _tiny(place, base, options)
        else:
            model = _pretrained(place, base, config.trust_remote_code, options)
            keep_layers(model, config)
            torch.default_generator.manual_seed(seed)
            _draw_head(model)
        dropout = heads.DROPOUT if config.dropout is None else config.dropout
        heads.give(model, Head(tuple(config.head_hidden), dropout, levels))
    return _ready(model, config.freeze, base)


def _side_by_side(levels: Levels) -> list[str]:
    """Return the names of the outputs of all levels: `level: class`."""
    return [f"{level}: {name}" for level, known in zip(levels.names, levels.classes, strict=True) for name in known]


def load_model(
    checkpoint_uri: str, *, trust_remote_code: bool = False, freeze: Sequence[str] = (), levels: bool = False
) -> nn.Module:
    """Return a saved checkpoint in float32 and eval mode with its head, or adapters on their base.

    A checkpoint does not record which parameters were frozen in training: pass `freeze`, as in `ModelConfig`. For a
    checkpoint with several levels, returns the classifier of the scored level; with `levels` that of all levels, their
    logits concatenated.

    Raises:
        ModelError: the folder cannot be loaded, lacks weights or holds some that are not finite, has no levels although
            `levels` is set, or `freeze` does not fit it.
    """
    with at_hand(checkpoint_uri) as place, silence_transformers():
        if is_adapter(place):
            adapted = _explained(checkpoint_uri, lambda: load_adapters(place, checkpoint_uri, trust_remote_code))
            return _ready(adapted, freeze, checkpoint_uri)
        head = heads.stored_head(place)
        if levels and head.levels is None:
            raise ModelError(f"{checkpoint_uri!r} has one head and no levels", "leave levels out")
        model, found = _load(place, checkpoint_uri, trust_remote_code, {}, mismatched=bool(head.hidden))
        root, lost = heads.last_linear(model)[0], randomly_initialized(model, found, stored_names(place))
        if head.hidden or levels:
            heads.load_heads(model, head, place, checkpoint_uri, levels)
        else:
            heads.note(model, Head())
    # A perceptron has weights in a file of its own.
    refuse(checkpoint_uri, lost, allowed=lambda key: bool(head.hidden) and key.startswith(f"{root}."))
    return _ready(model, freeze, checkpoint_uri)


def tokenizer(uri: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base or checkpoint folder; raises ModelError if it has none."""
    with at_hand(uri) as place, silence_transformers():
        if is_adapter(place) and not has_tokenizer([path.name for path in Path(place).iterdir()]):
            return _explained(uri, lambda: AutoTokenizer.from_pretrained(base_of(place)))
        return _explained(uri, lambda: AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code))


def save_model(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write model (safetensors) and tokenizer into a local folder, as `save_pretrained` does.

    `weights` replace the model's own, which may be shards. With several levels the model file is the classifier of the
    scored level, and the heads of all levels are beside it (`heads`).
    """
    assert isinstance(model, PreTrainedModel), "models of this package are PreTrainedModels"
    head = heads.head_of(model)
    with silence_transformers():
        if head.is_default:
            model.save_pretrained(folder, state_dict=weights)
        else:
            heads.save_heads(model, head, Path(folder), model.state_dict() if weights is None else weights)
        tokenizer.save_pretrained(folder)


def _ready(model: nn.Module, freeze: Sequence[str], name: str) -> nn.Module:
    """Check and prepare a loaded model: finite weights, positions under left padding, frozen parameters, eval mode."""
    check_finite(model, name)
    count_positions(model)
    freeze_parameters(model, freeze)
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False  # type: ignore[union-attr]  # a decoder's cache is for generation only
    return model.eval()


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> None:
    """Set `requires_grad` to False for parameters whose names match a regular expression (`re.search`).

    Raises:
        ModelError: a pattern is not a regular expression or matches no parameter, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        try:
            matching = [name for name in parameters if re.search(pattern, name)]
        except re.error as error:
            raise ModelError(f"model.freeze: {pattern!r} is no regular expression ({error})", "correct it") from error
        if not matching:
            raise ModelError(
                f"model.freeze: {pattern!r} matches no parameter of {type(model).__name__}, whose names look like "
                f"{next(iter(parameters))!r}",
                "correct the pattern, or leave it out",
            )
        for name in matching:
            parameters[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ModelError(
            f"model.freeze: {', '.join(map(repr, patterns))} match every parameter, so nothing is left to train",
            "leave the classifier at least, for example freeze: ['^bert\\.']",
        )


def _dropout(place: str, name: str, config: ModelConfig) -> dict[str, float]:
    """Return every dropout probability of the architecture, set to `config.dropout`; empty if that is None."""
    if config.dropout is None:
        return {}
    shape = _explained(name, lambda: AutoConfig.from_pretrained(place, trust_remote_code=config.trust_remote_code))
    kinds = {key: value for key, value in shape.to_dict().items() if "drop" in key}
    return {key: config.dropout for key, value in kinds.items() if value is None or type(value) in (int, float)}


def _tiny(place: str, name: str, options: dict[str, Any]) -> PreTrainedModel:
    """Return a model with drawn weights from a configuration."""
    shape = _explained(name, lambda: AutoConfig.from_pretrained(place, **options))
    return AutoModelForSequenceClassification.from_config(shape, dtype=torch.float32)


def _pretrained(place: str, name: str, trust: bool, options: dict[str, Any]) -> PreTrainedModel:
    """Return a pretrained encoder; raises ModelError if weights of the encoder are missing."""
    model, found = _load(place, name, trust, options)
    prefix = model.base_model_prefix + "."
    # Masked-language-model checkpoints have no pooler: it is drawn like the head.
    refuse(
        name, randomly_initialized(model, found), allowed=lambda key: not key.startswith(prefix) or ".pooler." in key
    )
    return model


def _load(
    place: str, name: str, trust: bool, options: dict[str, Any], mismatched: bool = False
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a model and its loading info; the random state is restored, as missing weights are drawn."""
    with torch.random.fork_rng(devices=[]):  # missing weights are drawn, even if replaced later
        loaded: tuple[PreTrainedModel, dict[str, Any]] = _explained(
            name,
            lambda: AutoModelForSequenceClassification.from_pretrained(
                place,
                dtype=torch.float32,
                trust_remote_code=trust,
                ignore_mismatched_sizes=mismatched or bool(options),
                output_loading_info=True,
                **options,
            ),
        )
    return loaded


def _explained(name: str, read: Callable[[], T]) -> T:
    """Run one of transformers' loaders; re-raise its errors as a ModelError with matching advice.

    Damaged files raise errors of any type, including panics of Rust, which are not Exceptions.
    """
    check_files(name)
    try:
        return read()
    except RaysampleError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:500]
        raise ModelError(f"cannot load the model {name!r}: {reason}", _advice(str(error), name)) from error


def _advice(reason: str, name: str) -> str:
    """Return the advice for an error of a loader."""
    if "trust_remote_code" in reason:
        return "it brings its own Python code: read it, then set model.trust_remote_code: true"
    if Path(name).is_dir() or "://" in name:
        return "the folder is damaged or of a kind unknown to transformers: save it again with save_pretrained"
    return "check the spelling; without network give a local folder that holds the model, or model.path: tiny"


def _draw_head(model: PreTrainedModel) -> None:
    """Initialise all modules outside the encoder by the family's own rule."""
    for name, child in model.named_children():
        if name != model.base_model_prefix:
            for parameter in child.parameters():
                # transformers skips parameters with this mark.
                parameter._is_hf_initialized = False
            child.apply(model._init_weights)
