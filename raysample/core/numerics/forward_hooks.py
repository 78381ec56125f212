"""The embedding module and the last linear layer of a classifier, and hooks that record their values in one forward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from raysample.core.errors import UnsupportedModelError
from raysample.core.numerics.predictions import widened

# BERT-like encoders; GPT-2; Llama-like decoders.
_SITES = ("embeddings", "wte", "embed_tokens")
_HEADS = ("classifier", "score")


def embedding_module(model: nn.Module) -> nn.Module:
    """Return the module whose output is the embedding site of VoG.

    * Encoders: `base_model.embeddings`, the sum of the tables with the LayerNorm over it. ELECTRA and ALBERT: before
      the projection to the hidden width. DeBERTa: after its mask, so padding gets no gradient.
    * GPT-2: `base_model.wte`. Its position embeddings are added to that output, so a gradient with respect to it is
      the gradient with respect to the sum.
    * Llama-like decoders (rotary positions): `base_model.embed_tokens`.

    Raises:
        UnsupportedModelError: the model has none of these.
    """
    base = getattr(_bare(model), "base_model", None)
    for site in _SITES:
        found = getattr(base, site, None)
        if isinstance(found, nn.Module):
            return found
    raise no_site(f"{type(model).__name__} has no module `base_model.embeddings` (nor `wte`, nor `embed_tokens`)")


def classifier(model: nn.Module) -> nn.Linear:
    """Return the last linear layer, which computes the logits; that of `classifier` or `score` if the model has one.

    Raises:
        UnsupportedModelError: there is no linear layer.
    """
    bare = _bare(model)
    heads = [head for name in _HEADS if isinstance(head := getattr(bare, name, None), nn.Module)]
    for place in (*heads, bare):
        linear = [module for module in place.modules() if isinstance(module, nn.Linear)]
        if linear:
            return linear[-1]
    raise _no_features(f"{type(model).__name__} has no linear layer that could be its classifier")


def _bare(model: nn.Module) -> Any:
    """Return the classifier inside a peft model; any other model as it is."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def no_site(problem: str) -> UnsupportedModelError:
    """Return the error for a model whose embedding output cannot be found."""
    return UnsupportedModelError(
        f"embedding gradients: {problem}",
        "use an encoder or decoder of a kind that the documentation lists (BERT, DeBERTa, GPT-2, Llama, ...), or leave "
        "out the scores that need them (such as `vog`)",
    )


def _no_features(problem: str) -> UnsupportedModelError:
    """Return the error for a model whose classifier input cannot be found."""
    return UnsupportedModelError(f"the classifier's input: {problem}", "leave out the scores that need it")


def require_grad(output: Tensor) -> tuple[Tensor, Tensor]:
    """Return a layer's output as a tensor with a gradient, and the tensor that the model continues with.

    If everything below is frozen the graph starts here, at a leaf. The model then gets a copy: some models change the
    output in place (CTRL scales its embeddings), which a leaf does not allow.
    """
    if output.requires_grad or not torch.is_grad_enabled():
        return output, output
    leaf = output.detach().requires_grad_(True)
    return leaf, leaf.clone()


def check_padded_inside(module: nn.Module, ids: Tensor | None, given: tuple[Any, ...], output: Tensor) -> None:
    """Raise UnsupportedModelError for an embedding output longer than the tokens, unless the tokens come first.

    Longformer pads to its attention window, inside the model and on the right.
    """
    if ids is None or output.shape[1] == ids.shape[1]:
        return
    width = ids.shape[1]
    padded = [value for value in given if isinstance(value, Tensor) and value.shape == output.shape[:2]]
    if output.shape[1] < width or not any(torch.equal(value[:, :width], ids) for value in padded):
        raise no_site(f"{type(module).__name__} gives {output.shape[1]} places for {width} tokens")


class ForwardHooks:
    """The embedding output and the classifier's input and output in one forward of `examples` examples.

    `ids` [examples, T] are the input tokens, for models that pad inside.
    """

    def __init__(self, examples: int, ids: Tensor | None = None) -> None:
        self.examples, self.ids = examples, ids
        self.embedding: Tensor | None = None
        self._classified: tuple[Tensor, Tensor] | None = None

    def attach(self, model: nn.Module, embedding: bool, features: bool) -> Iterator[RemovableHandle]:
        """Register hooks on the embedding output and the classifier, as far as needed; the caller removes them."""
        if embedding:
            yield embedding_module(model).register_forward_hook(self._at_embedding, with_kwargs=True)
        if features:
            yield classifier(model).register_forward_hook(self._at_classifier)

    def _at_embedding(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor:
        """Record the embedding output [examples, T, D] and make it part of the graph."""
        fits = isinstance(output, Tensor) and output.dim() == 3 and len(output) == self.examples
        if self.embedding is not None or not fits:
            raise no_site(f"{type(module).__name__} does not give one tensor [batch, tokens, dims], once")
        check_padded_inside(module, self.ids, (*args, *kwargs.values()), output)
        self.embedding, passed = require_grad(output)
        return passed

    def real(self, gradient: Tensor) -> Tensor:
        """Return a gradient at the embedding output without the positions that the model padded inside."""
        return gradient if self.ids is None else gradient[:, : self.ids.shape[1]]

    def _at_classifier(self, _module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Record input and output of the classifier."""
        self._classified = (args[0].detach(), output.detach())

    def features(self, model: nn.Module, inputs: dict[str, Tensor], logits: Tensor) -> Tensor:
        """Return the classifier's input [B, H] from which the logits [B, C] were computed.

        A decoder classifies every token and returns the logits of one, its last token that is not padding; the features
        are the input at that token.

        Raises:
            UnsupportedModelError: the logits are not the output of the last linear layer.
        """
        if self._classified is None:
            raise _no_features(f"the last linear layer of {type(model).__name__} is not called in the forward")
        given, made = self._classified
        if made.dim() == 3 and made.shape[:2] == inputs["input_ids"].shape:
            rows, last = torch.arange(len(made), device=made.device), last_tokens(model, inputs["input_ids"])
            given, made = given[rows, last], made[rows, last]
        same = made.shape == logits.shape and torch.allclose(widened(made), widened(logits), 0, 0, equal_nan=True)
        if not same:
            raise _no_features(f"the logits of {type(model).__name__} are not the output of its last linear layer")
        return widened(given)


def last_tokens(model: nn.Module, ids: Tensor) -> Tensor:
    """Return the positions whose logits a decoder returns, [B].

    The last token of ids [B, T] that is not `pad_token_id`.

    Without a padding id (possible for a single example only) that is the last token.
    """
    config = getattr(_bare(model), "config", None)
    padding = None if config is None else config.get_text_config().pad_token_id
    if padding is None:
        return torch.full((len(ids),), -1, device=ids.device)
    places = torch.arange(ids.shape[1], device=ids.device)
    return (places * ids.ne(padding)).argmax(1)
