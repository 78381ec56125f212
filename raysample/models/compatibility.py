"""Whether a tokenizer and a model's embedding table go together: every id that can come must have a row there."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from raysample.core.errors import ModelError


def check_vocabulary(model: nn.Module, words: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError where a tokenizer can give ids for which a model has no embedding.

    Models that look nothing up by id (CANINE hashes characters) take every tokenizer.
    """
    table = _table(model)
    if table is not None:
        check_rows(int(table.num_embeddings), words, name)


def check_rows(rows: int, words: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError where a tokenizer can give ids beyond the `rows` of the embedding table of the model `name`."""
    token, largest = largest_id(words)
    if largest >= rows:
        raise ModelError(
            f"the tokenizer of {name!r} gives ids up to {largest} (token {token!r}), and the embedding table has "
            f"{rows} rows, for the ids 0 to {rows - 1}",
            "after add_tokens call model.resize_token_embeddings(len(tokenizer)), train, and save both again; or save "
            "the tokenizer that the model was trained with",
        )


def largest_id(words: PreTrainedTokenizerBase) -> tuple[str, int]:
    """Return the token with the largest id that can be produced, and that id; `len(tokenizer)` may tell of more.

    Ids are counted over the vocabulary, added tokens and the padding included, not by its size: there may be gaps.
    """
    known: dict[str, int] = dict(words.get_vocab())
    known |= {str(token): place for place, token in words.added_tokens_decoder.items()}
    if words.pad_token_id is not None:
        known.setdefault(str(words.pad_token), int(words.pad_token_id))
    token = max(known, key=lambda token: known[token])
    return token, known[token]


def _table(model: nn.Module) -> nn.Embedding | None:
    inner: Any = getattr(model, "get_base_model", None)
    bare: Any = inner() if callable(inner) else model
    try:
        found = bare.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    found = getattr(found, "base_layer", getattr(found, "original_module", found))  # under an adapter
    return found if isinstance(found, nn.Embedding) else None
