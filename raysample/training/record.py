"""The origin of a fine-tuned model, for the record of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from raysample import models
from raysample.core.config import ModelConfig
from raysample.training.tokenized import TokenizedCorpus


def recorded(
    core: nn.Module, base: str, spec: ModelConfig, seed: int, corpora: Mapping[str, TokenizedCorpus]
) -> dict[str, Any]:
    """Return `model` (see `models.initialisation`), and `tokens`: corpus -> `Truncation.to_dict`."""
    tokenizer = models.tokenizer(base, trust_remote_code=spec.trust_remote_code)
    return {
        "model": models.initialisation(core, tokenizer, base, spec, seed),
        "tokens": {name: rows.truncation.to_dict() for name, rows in corpora.items()},
    }
