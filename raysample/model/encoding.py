"""Rows of text -> token ids without padding -> padded mini-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

IntArray = npt.NDArray[np.int32]
Rows = Sequence[int] | npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Encoded:
    """Token ids of a table's rows, in its order, not padded.

    Attributes:
        ids: per row int32 [length].
        types: per row the token types (0 text, 1 text pair), int32 [length]; None where the model takes none.
        lengths: tokens per row, specials included, int32 [rows].
    """

    ids: list[IntArray]
    types: list[IntArray] | None
    lengths: IntArray

    def take(self, rows: Rows) -> Encoded:
        """Return some of the rows, in the given order, without copying their tokens."""
        types = None if self.types is None else [self.types[i] for i in rows]
        return Encoded([self.ids[i] for i in rows], types, self.lengths[np.asarray(rows, np.int64)])

    def distinct(self, labels: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the first row of every (tokens, label) that occurs, in order, and each row's place among them."""
        seen: dict[tuple[bytes, bytes, int], int] = {}
        first, place = list[int](), np.empty(len(self.ids), np.int64)
        for row, label in enumerate(labels.tolist()):
            types = b"" if self.types is None else self.types[row].tobytes()
            known = seen.setdefault((self.ids[row].tobytes(), types, label), len(first))
            if known == len(first):
                first.append(row)
            place[row] = known
        return np.array(first, np.int64), place


def encode(tokenizer: PreTrainedTokenizerBase, table: pa.Table, max_length: int) -> Encoded:
    """Tokenise `text` and, where it is not null, `text_pair`; the longer of a pair is shortened first.

    A row with a null pair is encoded as a single text, also beside rows that have one.
    """
    texts, pairs = table.column("text").to_pylist(), table.column("text_pair").to_pylist()
    single = [i for i, pair in enumerate(pairs) if pair is None]
    double = [i for i, pair in enumerate(pairs) if pair is not None]
    typed = "token_type_ids" in tokenizer.model_input_names
    ids: list[IntArray] = [np.empty(0, np.int32)] * len(texts)
    types: list[IntArray] = list(ids)
    for rows, seconds in ((single, None), (double, [pairs[i] for i in double])):
        if rows:
            found = _tokenise(tokenizer, [texts[i] for i in rows], seconds, max_length, typed)
            for place, i in enumerate(rows):
                ids[i] = np.asarray(found["input_ids"][place], np.int32)
                if typed:
                    types[i] = np.asarray(found["token_type_ids"][place], np.int32)
    return Encoded(ids, types if typed else None, np.fromiter(map(len, ids), np.int32, len(ids)))


def _tokenise(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], pairs: list[str] | None, max_length: int, typed: bool
) -> Any:
    return tokenizer(
        texts,
        pairs,
        truncation="longest_first",
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=typed,
    )


def pad(encoded: Encoded, rows: Rows, pad_id: int) -> dict[str, Tensor]:
    """Return one mini-batch, padded on the right to the longest of `rows`: int64 tensors [len(rows), longest].

    `input_ids`, `attention_mask` (1 for real tokens) and, where the model takes them, `token_type_ids`.
    """
    lengths = encoded.lengths[np.asarray(rows, np.int64)]
    width = int(lengths.max(initial=0))
    batch = {
        "input_ids": _filled([encoded.ids[i] for i in rows], width, pad_id),
        "attention_mask": torch.from_numpy((np.arange(width) < lengths[:, None]).astype(np.int64)),
    }
    if encoded.types is not None:
        batch["token_type_ids"] = _filled([encoded.types[i] for i in rows], width, 0)
    return batch


def _filled(sequences: Sequence[IntArray], width: int, value: int) -> Tensor:
    block = np.full((len(sequences), width), value, np.int64)
    for row, sequence in zip(block, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(block)
