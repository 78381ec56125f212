"""Position terms that a model computes once per mini-batch, computed once per example during a visit.

MPNet's relative biases and DeBERTa's relative embeddings are equal for all examples, so the model makes one copy, and a
gradient at that copy is a sum over examples. During a visit each example gets a copy of its own, computed by the
model's own modules: the numbers stay the same, and every module then has one row per example.

The methods below replace the model's methods during a visit. At the first visit of a model `collect` compares the
logits of one example with and without them, so that another version of the model's code is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from raysample.influence.visits.gradient_rules import qualified

Methods = dict[str, Callable[..., Any]]


def _mpnet_encoder(encoder: Any, examples: int) -> Methods:
    """Compute the position bias per example, [examples, heads, T, T], instead of once, [T, T, heads]."""

    def compute_position_bias(x: Tensor, position_ids: None = None, num_buckets: int = 32) -> Tensor:
        """Return the position bias, [examples, heads, T, T]."""
        assert position_ids is None
        places = torch.arange(x.shape[1], device=x.device)
        buckets = encoder.relative_position_bucket(places[None, :] - places[:, None], num_buckets=num_buckets)
        bias: Tensor = encoder.relative_attention_bias(buckets.expand(examples, -1, -1))
        return bias.permute(0, 3, 1, 2).contiguous()

    return {"compute_position_bias": compute_position_bias}


def _deberta_encoder(encoder: Any, examples: int) -> Methods:
    """Return the relative embeddings per example, [examples, entries, H], instead of the table [entries, H]."""

    def get_rel_embedding() -> Tensor | None:
        """Return the relative embeddings, [examples, entries, H]; None for a model without any."""
        if not encoder.relative_attention:
            return None
        table = encoder.rel_embeddings
        entries = torch.arange(table.num_embeddings, device=table.weight.device)
        found: Tensor = table(entries.expand(examples, -1))
        return encoder.LayerNorm(found) if "layer_norm" in encoder.norm_rel_ebd else found

    return {"get_rel_embedding": get_rel_embedding}


def _deberta_attention(attention: Any, _examples: int) -> Methods:
    """Compute the content-to-position and position-to-content scores with one table of relative embeddings per example.

    He et al. 2021, arXiv 2006.03654, equation 4.
    """

    def disentangled_attention_bias(
        query: Tensor, key: Tensor, relative_pos: Tensor, rel_embeddings: Tensor, scale_factor: int
    ) -> Tensor | int:
        """Return the sum of both scores, [examples · heads, T, T]; 0 without either."""
        # query, key [examples · heads, T, d]; relative_pos [1, T, T]; rel_embeddings [examples, entries, H].
        span = attention.pos_ebd_size
        distance = relative_pos.reshape(1, query.shape[1], key.shape[1])
        table = rel_embeddings[:, : 2 * span]
        # In float32 first, as the model does, whatever its precision.
        scale = torch.tensor(query.shape[-1] * scale_factor, dtype=torch.float).sqrt().to(query.dtype)

        def looked_up(content: Tensor, projection: nn.Module, at: Tensor) -> Tensor:
            """Return the products of the content with the projected embedding of each distance."""
            places: Tensor = attention.transpose_for_scores(projection(table), attention.num_attention_heads)
            index = (at + span).clamp(0, 2 * span - 1).expand(len(content), -1, -1)
            return (content @ places.mT).gather(-1, index) / scale

        shared = attention.share_att_key
        total: Tensor | int = 0
        if "c2p" in attention.pos_att_type:
            total = total + looked_up(query, attention.key_proj if shared else attention.pos_key_proj, distance)
        if "p2c" in attention.pos_att_type:
            projection = attention.query_proj if shared else attention.pos_query_proj
            total = total + looked_up(key, projection, -distance).mT
        return total

    return {"disentangled_attention_bias": disentangled_attention_bias}


_FAMILIES = "transformers.models"
REPLACEMENTS: dict[str, Callable[[Any, int], Methods]] = {
    f"{_FAMILIES}.mpnet.modeling_mpnet.MPNetEncoder": _mpnet_encoder,
    f"{_FAMILIES}.deberta_v2.modeling_deberta_v2.DebertaV2Encoder": _deberta_encoder,
    f"{_FAMILIES}.deberta_v2.modeling_deberta_v2.DisentangledSelfAttention": _deberta_attention,
}
"""Qualified type -> function from a module and the number of examples to its replacement methods, by name."""


def spreads(model: nn.Module) -> str | None:
    """Return the name of the first module with methods to replace, or None."""
    return next((name for name, module in model.named_modules() if qualified(module) in REPLACEMENTS), None)


@contextmanager
def per_example_positions(model: nn.Module, examples: int | None) -> Iterator[None]:
    """Make modules that share position terms compute them for each of `examples` examples; None changes nothing."""
    replaced: list[tuple[nn.Module, str]] = []
    try:
        for module in () if examples is None else model.modules():
            if make := REPLACEMENTS.get(qualified(module)):
                for name, method in make(module, examples or 0).items():
                    object.__setattr__(module, name, method)
                    replaced.append((module, name))
        yield
    finally:
        for module, name in replaced:
            object.__delattr__(module, name)
