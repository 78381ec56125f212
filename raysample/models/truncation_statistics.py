"""What truncation removed: how many rows, how many tokens, of which classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from raysample.core.arrays import FloatArray, IntArray
from raysample.core.config import ModelConfig
from raysample.data.row_sampling import generator
from raysample.models.encoding import Encoded

EFFORT = 0.08
"""Largest share of all characters that is tokenised again to measure rows that may have been cut."""
FREE_CHARACTERS = 1_000_000
"""Characters that may be tokenised again in any case: less than a second."""
ALWAYS = 200
"""Rows that are tokenised again in any case."""
LENGTH_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_BLOCK = 1_000


@dataclass(frozen=True)
class Truncation:
    """The length of a corpus' rows in tokens including special tokens, and what `model.max_length` cut off.

    Attributes:
        max_length: tokens that a row may have. rows: number of rows.
        cut: number of longer rows. tokens: tokens of all rows before truncation; lost: tokens cut off.
        quantiles: share of the rows -> the smallest length, before truncation, that this share does not exceed.
        by_class: share of each class's rows that were cut, [C]; None for a class without rows.
        full: rows with `max_length` tokens after truncation: only these can have been cut.
        measured: how many of these were tokenised again without truncation. If fewer than `full`, they are a seeded
            sample, and `cut`, `tokens`, `lost`, `quantiles` and `by_class` are estimates from it.
    """

    max_length: int
    rows: int
    cut: int
    tokens: int
    lost: int
    quantiles: dict[str, int]
    by_class: tuple[float | None, ...]
    full: int
    measured: int

    @property
    def share(self) -> float:
        """Share of the rows that were cut."""
        return self.cut / max(1, self.rows)

    @property
    def share_lost(self) -> float:
        """Share of the tokens that were cut off."""
        return self.lost / max(1, self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {**asdict(self), "by_class": list(self.by_class)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Truncation:
        """Read the result of `to_dict`."""
        return Truncation(**{**data, "by_class": tuple(data["by_class"])})

    def describe(self, corpus: str) -> str:
        """Describe what was cut of the `corpus` (training, test), and a longer `max_length` if that helps."""
        roughly = "about " if self.measured < self.full else ""
        text = f"{roughly}{self.share:.1%} of the {corpus} rows are longer than model.max_length {self.max_length} and "
        text += f"lose {self.share_lost:.1%} of all tokens"
        enough = self.quantiles["0.95"]
        if enough > self.max_length:
            text += f"; model.max_length {enough} would keep 95 % of the rows whole, if the model has the positions"
        return text


def truncation(
    tokenizer: PreTrainedTokenizerBase, table: pa.Table, encoded: Encoded, spec: ModelConfig, classes: int
) -> Truncation:
    """Return what truncation removed when the rows of `table` became `encoded`.

    Rows with fewer than `spec.max_length` tokens are complete. The others are tokenised again without truncation; if
    they have more than a million characters, only a seeded sample of them with 8 % of the characters of all texts (at
    least a million characters and 200 rows).
    """
    lengths = encoded.lengths.astype(np.int64)
    full = np.flatnonzero(lengths >= spec.max_length)
    chosen = _affordable(full, _signs(table))
    before = lengths.astype(np.float64)
    before[chosen] = _uncut(tokenizer, table.take(pa.array(chosen)))
    weights = np.ones(len(lengths))
    weights[full] = 0.0
    weights[chosen] = len(full) / max(1, len(chosen))
    longer = before > spec.max_length
    tokens, lost = (weights * before).sum(), (weights * (before - lengths)).sum()
    rate = longer[chosen].mean() if len(chosen) else 0.0
    chances = longer.astype(np.float64)
    chances[np.setdiff1d(full, chosen)] = rate
    return Truncation(
        max_length=spec.max_length,
        rows=len(lengths),
        cut=round(float((weights * longer).sum())),
        tokens=round(float(tokens)),
        lost=round(float(lost)),
        quantiles=_quantiles(before, weights),
        by_class=_by_class(table["label"].to_numpy().astype(np.int64), chances, classes),
        full=len(full),
        measured=len(chosen),
    )


def _signs(table: pa.Table) -> IntArray:
    """Return the number of characters of each row, text and pair together."""
    both = [pc.fill_null(pc.utf8_length(table[name]), 0).to_numpy() for name in ("text", "text_pair")]
    return np.asarray(both[0] + both[1], np.int64)


def _affordable(full: IntArray, signs: IntArray) -> IntArray:
    """Return the positions of the rows to measure, rising: all that may have been cut, or a sample of them."""
    order = generator(0, 0x7C07).permutation(full)
    paid = np.cumsum(signs[order]) <= max(FREE_CHARACTERS, EFFORT * signs.sum())
    return np.sort(order[: max(ALWAYS, int(paid.sum()))])


def _uncut(tokenizer: PreTrainedTokenizerBase, table: pa.Table) -> list[int]:
    """Return the number of tokens of each row without truncation."""
    found = np.zeros(len(table), np.int64)
    alone = pc.is_null(table["text_pair"]).to_numpy()
    for rows, paired in ((np.flatnonzero(alone), False), (np.flatnonzero(~alone), True)):
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            block = table.take(pa.array(some))
            texts: Sequence[list[str] | None] = [block[name].to_pylist() for name in ("text", "text_pair")]
            ids = tokenizer(
                texts[0],
                texts[1] if paired else None,
                truncation=False,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
            found[some] = [len(row) for row in ids]
    return found.tolist()


def _quantiles(lengths: FloatArray, weights: FloatArray) -> dict[str, int]:
    """Return the weighted quantiles of lengths."""
    if not len(lengths):
        return {str(share): 0 for share in LENGTH_QUANTILES}
    order = np.argsort(lengths, kind="stable")
    held = np.cumsum(weights[order])
    # Slightly less, so that rounding in the sum of the weights does not require one row more.
    places = np.searchsorted(held, np.array(LENGTH_QUANTILES) * held[-1] * (1 - 1e-12))
    return {str(share): int(lengths[order[place]]) for share, place in zip(LENGTH_QUANTILES, places, strict=True)}


def _by_class(labels: IntArray, chances: FloatArray, classes: int) -> tuple[float | None, ...]:
    """Return the share of each class that was cut, [C]; None for a class without rows."""
    rows, cut = np.bincount(labels, minlength=classes), np.bincount(labels, weights=chances, minlength=classes)
    return tuple(float(c / n) if n else None for n, c in zip(rows, cut, strict=True))
