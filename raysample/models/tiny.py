"""`model.path: tiny`: a small BERT whose WordPiece vocabulary comes from the corpus itself, without any download."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError

if TYPE_CHECKING:
    from raysample.data.corpus import Corpus

LAYERS = 2
MAX_TEXTS = 200_000
_NAMES = ("pad", "unk", "cls", "sep", "mask")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny_config(config: ModelConfig, vocabulary: int) -> BertConfig:
    """Return a BERT configuration: `layers` (2 if unset), `hidden_size`, up to 4 heads, `max_length` positions."""
    heads = next(n for n in (4, 2, 1) if config.hidden_size % n == 0)
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers or LAYERS,
        num_attention_heads=heads,
        intermediate_size=4 * config.hidden_size,
        max_position_embeddings=config.max_length,
        pad_token_id=0,
        # The published 0.02 suits a width of 768; a narrow layer needs a larger range to propagate its signal.
        initializer_range=min(0.2, 0.5 / config.hidden_size**0.5),
    )


def train_tokenizer(config: ModelConfig, corpus: Corpus) -> PreTrainedTokenizerBase:
    """Train a lower-casing WordPiece tokenizer on the corpus' texts, streaming; equal texts give equal tokenizers.

    More than 200,000 texts are thinned to every n-th shard, so that the vocabulary covers all days of the corpus.

    Raises:
        ModelError: the texts contain no word.
    """
    core = Tokenizer(models.WordPiece(_vocabulary(config.vocabulary_size, corpus), unk_token=_SPECIAL[1]))
    core.normalizer, core.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, core.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=config.max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in zip(_NAMES, _SPECIAL, strict=True)},
    )


def _vocabulary(size: int, corpus: Corpus) -> dict[str, int]:
    """Train the word pieces.

    The trainer numbers the continuation letters (`##a`) in the order of a randomly seeded hash table and breaks ties
    between pieces by these numbers, so two trainings on the same texts differ. Passing the letters as special tokens
    fixes their numbers.
    """
    letters = _letters(corpus, size // 4)
    core = Tokenizer(models.WordPiece(unk_token=_SPECIAL[1]))
    core.normalizer, core.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        special_tokens=[*_SPECIAL, *(f"##{letter}" for letter in letters)],
        show_progress=False,
    )
    core.train_from_iterator(texts(corpus), trainer)
    vocabulary: dict[str, int] = core.get_vocab()
    return vocabulary


def _letters(corpus: Corpus, limit: int) -> list[str]:
    """Return the corpus' most frequent characters, sorted: a corpus in many scripts must leave room for words."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for batch in texts(corpus):
        counts.update(normalizer.normalize_str(" ".join(batch)))
    frequent = sorted((sign for sign in counts if not sign.isspace()), key=lambda sign: (-counts[sign], sign))
    if not frequent:
        raise ModelError("the corpus' texts hold no words to make a vocabulary of", "check columns.text of the corpus")
    return sorted(frequent[:limit])


def texts(corpus: Corpus, limit: int = MAX_TEXTS) -> Iterator[list[str]]:
    """Yield the texts and text pairs of the corpus, a shard at a time, thinned evenly to about `limit` rows."""
    step = max(1, -(-sum(shard.rows for shard in corpus.shards) // limit))
    for shard in corpus.shards[::step]:
        table = corpus.read(shard.index)
        for column in ("text", "text_pair"):
            yield [text for text in table.column(column).to_pylist() if text]
