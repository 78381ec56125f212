"""Rows of text -> token ids without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from raysample.core.arrays import Int32Array
from raysample.core.config import ModelConfig

RowIndices = Sequence[int] | npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Encoded:
    """Token ids of a table's rows, in its order, not padded.

    Attributes:
        ids: per row int32 [length].
        types: per row the token types (0 text, 1 text pair), int32 [length]; None if the model takes none.
        lengths: tokens per row including special tokens, int32 [rows].
        multiple: the width of a mini-batch is a multiple of this, `room` at most.
        room: number of positions of the model, if known.
        side: the side of the padding: the tokenizer's, whose model may read the last position.
        pad_type: the token type of padding.
    """

    ids: list[Int32Array]
    types: list[Int32Array] | None
    lengths: Int32Array
    multiple: int = 1
    room: int | None = None
    side: Literal["right", "left"] = "right"
    pad_type: int = 0

    def width(self, rows: RowIndices) -> int:
        """Return the width of a mini-batch of some rows: their largest length, rounded up to `multiple`."""
        longest = int(self.lengths[np.asarray(rows, np.int64)].max(initial=0))
        rounded = -(-longest // self.multiple) * self.multiple
        return rounded if self.room is None else max(longest, min(rounded, self.room))

    def take(self, rows: RowIndices) -> Encoded:
        """Return some of the rows, in the given order, without copying their tokens."""
        types = None if self.types is None else [self.types[i] for i in rows]
        lengths = self.lengths[np.asarray(rows, np.int64)]
        return replace(self, ids=[self.ids[i] for i in rows], types=types, lengths=lengths)

    def distinct(self, labels: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the first row of every distinct (tokens, label), in order, and the index of each row in that list."""
        seen: dict[tuple[bytes, bytes, int], int] = {}
        first, place = list[int](), np.empty(len(self.ids), np.int64)
        for row, label in enumerate(labels.tolist()):
            types = b"" if self.types is None else self.types[row].tobytes()
            known = seen.setdefault((self.ids[row].tobytes(), types, label), len(first))
            if known == len(first):
                first.append(row)
            place[row] = known
        return np.array(first, np.int64), place


def encode(tokenizer: PreTrainedTokenizerBase, table: pa.Table, spec: ModelConfig) -> Encoded:
    """Tokenise `text` and, if not null, `text_pair`, truncated to `spec.max_length`.

    A row with a null pair is encoded as a single text, also beside rows with a pair. If a pair is too long,
    `spec.pair_truncation` names the text to truncate; if nothing of that text would remain, the longer text is
    truncated first, as for `longest_first`.
    """
    texts, pairs = table.column("text").to_pylist(), table.column("text_pair").to_pylist()
    single = [i for i, pair in enumerate(pairs) if pair is None]
    double = [i for i, pair in enumerate(pairs) if pair is not None]
    tokenise = Tokenising(tokenizer, spec)
    ids: list[Int32Array] = [np.empty(0, np.int32)] * len(texts)
    types: list[Int32Array] = list(ids)
    for rows, seconds in ((single, None), (double, [pairs[i] for i in double])):
        if rows:
            for i, (tokens, kinds) in zip(rows, tokenise([texts[i] for i in rows], seconds), strict=True):
                ids[i] = np.asarray(tokens, np.int32)
                types[i] = np.asarray(kinds, np.int32)
    lengths = np.fromiter(map(len, ids), np.int32, len(ids))
    return Encoded(
        ids,
        types if tokenise.typed else None,
        lengths,
        spec.pad_to_multiple_of,
        spec.max_length,
        "left" if tokenizer.padding_side == "left" else "right",
        int(tokenizer.pad_token_type_id or 0),
    )


class Tokenising:
    """A tokenizer with the settings of a run; `typed` is True if its model takes token types."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, spec: ModelConfig) -> None:
        self.tokenizer, self.spec = tokenizer, spec
        self.typed = "token_type_ids" in tokenizer.model_input_names
        if spec.truncation_side is not None:
            tokenizer.truncation_side = spec.truncation_side

    def __call__(self, texts: list[str], pairs: list[str] | None) -> list[tuple[Any, Any]]:
        """Return token ids and token types (empty if the model takes none) of texts, or of pairs of texts."""
        found = self._cut(texts, pairs, "longest_first")
        if pairs is None or self.spec.pair_truncation == "longest_first":
            return found
        # A pair shorter than the limit is equal under every strategy.
        full = [i for i, (ids, _) in enumerate(found) if len(ids) >= self.spec.max_length]
        spared = pairs if self.spec.pair_truncation == "only_first" else texts
        full = [i for i, fits in zip(full, self._fit([spared[i] for i in full]), strict=True) if fits]
        again = self._cut([texts[i] for i in full], [pairs[i] for i in full], self.spec.pair_truncation)
        for i, cut in zip(full, again, strict=True):
            found[i] = cut
        return found

    def _fit(self, texts: list[str]) -> list[bool]:
        """Return which texts leave room for at least one token of another text."""
        if not texts:
            return []
        longest = self.spec.max_length
        found = self.tokenizer(
            texts, add_special_tokens=False, truncation=True, max_length=longest, return_attention_mask=False
        )
        room = longest - self.tokenizer.num_special_tokens_to_add(pair=True)
        return [len(ids) < room for ids in found["input_ids"]]

    def _cut(self, texts: list[str], pairs: list[str] | None, strategy: str) -> list[tuple[Any, Any]]:
        """Tokenise texts or pairs with one truncation strategy."""
        if not texts:
            return []
        found = self.tokenizer(
            texts,
            pairs,
            truncation=strategy,
            max_length=self.spec.max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=self.typed,
        )
        ids = found["input_ids"]
        return list(zip(ids, found["token_type_ids"] if self.typed else [()] * len(ids), strict=True))
