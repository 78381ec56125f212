"""A corpus that is read and tokenised once, with the facts that evaluation and run record need about its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysample import models
from raysample.core.config import ModelConfig
from raysample.data.corpus import Corpus
from raysample.data.corpus.judge_rows import text_hashes
from raysample.data.corpus.near_texts import near_text_hashes
from raysample.training.examples import Examples
from raysample.training.levels import LevelLabels


@dataclass(frozen=True)
class TokenizedCorpus:
    """A corpus in memory.

    Attributes:
        examples: its rows.
        truncation: what truncation removed.
        groups: group of each row [N], None for a row without group; None if the corpus has no groups.
        contents: hash of each row's text (pair of texts) [N].
        near: hash of each row's near text [N].
        class_counts: rows of each class [C].
    """

    examples: Examples
    truncation: models.Truncation
    groups: pa.ChunkedArray | None
    contents: NDArray[np.uint64]
    near: NDArray[np.uint64]
    class_counts: tuple[int, ...]

    def seen(self, other: TokenizedCorpus) -> NDArray[np.int64]:
        """Return how often the content of each row occurs in these rows and in `other` together, [N]."""
        both = np.concatenate([self.contents, other.contents])
        _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
        found: NDArray[np.int64] = counts[place[: len(self.contents)]]
        return found

    def new_texts(self, known: Iterable[TokenizedCorpus]) -> NDArray[np.bool_]:
        """Return whether no row of the corpora `known` has the text of a row, or nearly, [N]."""
        return ~np.isin(self.near, np.concatenate([corpus.near for corpus in known]))


def load_tokenized(uri: str, fingerprint: str, base: str, spec: ModelConfig) -> TokenizedCorpus:
    """Read and tokenise a corpus; cached, since a worker trains many arms on the same rows."""
    settings = {"max_length": spec.max_length, "trust_remote_code": spec.trust_remote_code, **spec.tokenising}
    return _tokenised(uri, fingerprint, base, ModelConfig(**settings).model_dump_json())


@lru_cache(maxsize=4)
def _tokenised(uri: str, fingerprint: str, base: str, settings: str) -> TokenizedCorpus:
    """Read and tokenise a corpus; `settings` is the JSON of a ModelConfig, so that the arguments are hashable."""
    del fingerprint  # part of the cache key: a corpus that changed is read again
    spec, corpus = ModelConfig.model_validate_json(settings), Corpus.load(uri)
    tokenizer = models.tokenizer(base, trust_remote_code=spec.trust_remote_code)
    table = corpus.table()
    labels = table["label"].to_numpy().astype(np.int64)
    ids = table["row_id"].to_numpy(zero_copy_only=False)
    encoded = models.encode(tokenizer, table, spec)
    levels = None if corpus.levels is None else LevelLabels.read(table, corpus.levels)
    return TokenizedCorpus(
        examples=Examples(encoded, labels, int(tokenizer.pad_token_id), ids, levels=levels),
        truncation=models.truncation(tokenizer, table, encoded, spec, len(corpus.labels)),
        groups=table["group"] if corpus.grouped else None,
        contents=text_hashes(table),
        near=near_text_hashes(table),
        class_counts=tuple(corpus.class_counts),
    )
