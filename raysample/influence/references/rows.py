"""The rows that references are made from, tokenised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from raysample import models
from raysample.core.config import ModelConfig
from raysample.training import Examples


def tokenize_rows(table: pa.Table, tokenizer: Any, spec: ModelConfig) -> Examples:
    """Return the rows tokenised, in their order."""
    encoded = models.encode(tokenizer, table, spec)
    labels = table["label"].to_numpy().astype(np.int64)
    ids = np.array(table["row_id"].to_pylist(), dtype=object)
    return Examples(encoded, labels, int(tokenizer.pad_token_id), ids)
