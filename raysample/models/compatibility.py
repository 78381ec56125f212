"""Whether a tokenizer and a model's embedding table match: every possible id must have a row in the table."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from raysample.core.errors import ModelError


def check_vocabulary(model: nn.Module, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError if a tokenizer can return ids without a row in the model's embedding table.

    Models that look up nothing by id (CANINE hashes characters) accept every tokenizer.
    """
    table = _table(model)
    if table is not None:
        check_rows(int(table.num_embeddings), tokenizer, name)


def check_rows(rows: int, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError if a tokenizer can return ids beyond the `rows` of the embedding table of the model `name`."""
    token, largest = largest_id(tokenizer)
    if largest >= rows:
        raise ModelError(
            f"the tokenizer of {name!r} gives ids up to {largest} (token {token!r}), and the embedding table has "
            f"{rows} rows, for the ids 0 to {rows - 1}",
            "after add_tokens call model.resize_token_embeddings(len(tokenizer)), train, and save both again; or save "
            "the tokenizer that the model was trained with",
        )


def largest_id(tokenizer: PreTrainedTokenizerBase) -> tuple[str, int]:
    """Return the token with the largest possible id, and that id.

    Ids are taken from the vocabulary, added tokens and padding, not from its size (`len(tokenizer)`): there may be
    gaps.
    """
    known: dict[str, int] = dict(tokenizer.get_vocab())
    known |= {str(token): place for place, token in tokenizer.added_tokens_decoder.items()}
    if tokenizer.pad_token_id is not None:
        known.setdefault(str(tokenizer.pad_token), int(tokenizer.pad_token_id))
    token = max(known, key=lambda token: known[token])
    return token, known[token]


def _table(model: nn.Module) -> nn.Embedding | None:
    """Return the embedding table of a model, also below an adapter; None if it looks up nothing by id."""
    inner: Any = getattr(model, "get_base_model", None)
    bare: Any = inner() if callable(inner) else model
    try:
        found = bare.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    found = getattr(found, "base_layer", getattr(found, "original_module", found))  # under an adapter
    return found if isinstance(found, nn.Embedding) else None
