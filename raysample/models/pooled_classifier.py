"""A classifier on the mean of an encoder's last hidden states, whose linear head starts at given coefficients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from raysample.core.config import ModelConfig
from raysample.models.building import build_model


def unit_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of hidden states [B, T, H] over the tokens of a mask [B, T], of length 1, [B, H] float32."""
    states, inside = states.float(), mask[:, :, None].float()
    mean = (states * inside).sum(1) / inside.sum(1).clamp_min(1)
    return nn.functional.normalize(mean, dim=1)


class PooledClassifier(nn.Module):
    """An encoder with a linear head on `unit_mean`: logits = W · f + b.

    Args:
        encoder: the network below the head.
        weight: W [C, H]. bias: b [C].
    """

    base_model_prefix = "encoder"

    def __init__(self, encoder: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(weight.shape[1], weight.shape[0])
        self.head.weight.data, self.head.bias.data = weight.float().clone(), bias.float().clone()
        self.config = SimpleNamespace(num_labels=len(bias))

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """Return an object whose `logits` are [B, C]."""
        states = self.encoder(**inputs).last_hidden_state
        return SimpleNamespace(logits=self.head(unit_mean(states, inputs["attention_mask"])))


def build_encoder(config: ModelConfig) -> nn.Module:
    """Return the encoder of a folder or hub name without a head, in eval mode. Raises ModelError as `build_model`."""
    model = build_model(config.path, config, ("one", "other"), seed=0)
    encoder: nn.Module = getattr(model, str(model.base_model_prefix))
    return encoder
