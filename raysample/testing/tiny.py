"""Small things for tests: random classifiers of many families, their rows and checkpoints; shipped for Ray workers.

The rows are *made up*: a sentence of class c holds words of c's own and words that all classes share, so that a model
of two layers learns most of them within seconds and still errs on some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from raysample import models as model
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import CORPUS_SCHEMA

Family = Literal[
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "deberta-v2",
    "modernbert",
    "mpnet",
    "albert",
    "gpt2",
    "llama",
    "qwen2",
    "qwen3",
]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""By their `model_type`; `deberta-v2` is set up as DeBERTa-v3 is."""
TYPED: frozenset[Family] = frozenset({"bert", "electra", "albert"})
"""The families whose tokenizers give token types."""
LABELS = ("calm", "quick", "round")

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_OWN = (
    ("pond", "moss", "dusk", "snow", "hush", "lake"),
    ("dash", "spark", "whip", "race", "bolt", "zip"),
    ("wheel", "moon", "coin", "ring", "ball", "dome"),
)
_SHARED = (
    "the",
    "a",
    "on",
    "near",
    "with",
    "and",
    "old",
    "new",
    "red",
    "blue",
    "we",
    "saw",
    "one",
    "two",
    "some",
    "it",
)


def tiny_model(
    family: Family = "bert",
    labels: int = 3,
    seed: int = 0,
    *,
    hidden: int = 16,
    layers: int = 2,
    vocabulary: int = 100,
    dropout: float = 0.1,
) -> PreTrainedModel:
    """Return a random `*ForSequenceClassification` in eval mode: same arguments, same weights.

    Float32, two heads, at most 64 positions, padding id 0. The weights are drawn ten times as wide as usual
    (standard deviation 0.2), so that examples differ visibly. The global random state is left as it was.
    """
    options = _config(family, hidden, layers, vocabulary, dropout)
    config = AutoConfig.for_model(family, **options, num_labels=labels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return network.eval()


def _config(family: Family, hidden: int, layers: int, vocabulary: int, dropout: float) -> dict[str, Any]:
    """Return the settings of a family's configuration class."""
    shared = {"vocab_size": vocabulary, "initializer_range": 0.2, "max_position_embeddings": 72}
    marks = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    return {**shared, **marks, **_sizes(family, hidden, layers), **_dropouts(family, dropout), **_OWN_WAYS[family]}


def _sizes(family: Family, hidden: int, layers: int) -> dict[str, Any]:
    """Return the sizes under the names that the family has for them."""
    if family == "distilbert":
        return {"dim": hidden, "n_layers": layers, "n_heads": 2, "hidden_dim": 2 * hidden}
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 2}
    if family == "gpt2":
        return {**sizes, "n_inner": 2 * hidden}
    # ELECTRA and ALBERT narrow their embeddings and project them up: that is what makes them different.
    narrow = {"embedding_size": max(4, hidden // 2)} if family in ("electra", "albert") else {}
    return {**sizes, **narrow, "intermediate_size": 2 * hidden}


_DROPOUTS: dict[Family, tuple[str, ...]] = {
    "distilbert": ("dropout", "attention_dropout", "seq_classif_dropout"),
    "albert": ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"),
    "modernbert": ("attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "llama": ("attention_dropout",),
    "qwen2": ("attention_dropout",),
    "qwen3": ("attention_dropout",),
}


def _dropouts(family: Family, dropout: float) -> dict[str, float]:
    """Return the dropout probability under the names that the family has for it."""
    return dict.fromkeys(_DROPOUTS.get(family, ("hidden_dropout_prob", "attention_probs_dropout_prob")), dropout)


_DEBERTA = {"pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "position_buckets": 4, "share_att_key": True}
_OWN_WAYS: dict[Family, dict[str, Any]] = {
    "bert": {"type_vocab_size": 2},
    "roberta": {"type_vocab_size": 1},
    "distilbert": {},
    "electra": {"type_vocab_size": 2},
    "deberta-v2": {**_DEBERTA, "type_vocab_size": 0, "relative_attention": True, "position_biased_input": False},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 2},
    "mpnet": {},
    "albert": {"type_vocab_size": 2},
    "gpt2": {},
    "llama": {"num_key_value_heads": 1},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 8},
}


def tiny_batch(
    rows: int = 6, length: int = 9, labels: int = 3, seed: int = 0, *, vocabulary: int = 100
) -> tuple[dict[str, Tensor], Tensor]:
    """Return (inputs, labels): `input_ids` and `attention_mask` [rows, length], ragged ends; labels [rows] int64."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(len(_SPECIAL), vocabulary, (rows, length), generator=generator)
    lengths = torch.randint(min(3, length), length + 1, (rows,), generator=generator)
    lengths[0] = length
    mask = (torch.arange(length)[None, :] < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}, torch.randint(labels, (rows,), generator=generator)


def tiny_tokenizer(family: Family = "bert") -> PreTrainedTokenizerBase:
    """Return a word-level fast tokenizer of fewer than 100 words that knows every word of `tiny_rows`.

    Token types are made for the families in TYPED.
    """
    words = [*_SPECIAL, *_SHARED, *(word for own in _OWN for word in own)]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=_SPECIAL[1]))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if family in TYPED else [])
    special = dict(zip(("pad", "unk", "cls", "sep", "mask"), _SPECIAL, strict=True))
    tokens = {f"{name}_token": token for name, token in special.items()}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=names, model_max_length=64, **tokens)


def tiny_texts(rows: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Return `rows` made-up sentences of 4 to 12 words and their classes (0, 1, 2); one in ten is ambiguous."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(LABELS), size=rows)
    return [_sentence(rng, int(label)) for label in labels], [int(label) for label in labels]


def tiny_checkpoints(
    folder: str | Path, n: int = 3, *, family: Family = "bert", labels: int = 3, seed: int = 0, drift: float = 0.02
) -> CheckpointSet:
    """Write `n` sealed checkpoints of a made-up run and return their set, its manifest written.

    The first is `tiny_model(family, labels, seed)`; each next adds normal noise of standard deviation `drift` to every
    weight. Step k is 10k at epoch k, the learning rate falls linearly from 1e-3 and never reaches 0.
    """
    folder = Path(folder).absolute()
    network, words = tiny_model(family, labels, seed), tiny_tokenizer(family)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for k in range(1, n + 1):
        place = folder / f"step-{10 * k:06d}"
        model.save_model(network, words, place)
        checkpoint_set.seal_checkpoint(place)
        found.append(Checkpoint(str(place), step=10 * k, epoch=float(k), learning_rate=1e-3 * (n + 1 - k) / n))
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(drift * torch.randn(weight.shape, generator=generator))
    names = LABELS if labels == len(LABELS) else tuple(f"class {i}" for i in range(labels))
    return CheckpointSet(tuple(found), names, seed, config={"family": family, "drift": drift}).save(str(folder))


def _sentence(rng: np.random.Generator, label: int) -> str:
    """Return words that all classes share with, in nine of ten sentences, some of the class."""
    own = 0 if rng.random() < 0.1 else int(rng.integers(1, 4))
    words = [*rng.choice(_OWN[label], own), *rng.choice(_SHARED, int(rng.integers(4, 10)))]
    return " ".join(str(word) for word in rng.permutation(words))


def tiny_rows(rows: int = 64, seed: int = 0) -> pa.Table:
    """Return `rows` made-up sentences as a table in `CORPUS_SCHEMA` (text_pair, group and timestamp are null)."""
    texts, labels = tiny_texts(rows, seed)
    nothing: list[str | None] = [None] * rows
    ids = [f"tiny-{seed}-{i:06d}" for i in range(rows)]
    columns = {"row_id": ids, "text": texts, "text_pair": nothing, "label": labels}
    return pa.table({**columns, "group": nothing, "timestamp": nothing}, schema=CORPUS_SCHEMA)


def tiny_corpus_files(folder: str | Path, rows: int = 200, seed: int = 0, *, files: int = 2) -> str:
    """Write a small learnable Parquet corpus (columns id, text, label as class names) and return its folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts, labels = tiny_texts(rows, seed)
    ids = [f"tiny-{seed}-{i:06d}" for i in range(rows)]
    table = pa.table({"id": ids, "text": texts, "label": [LABELS[label] for label in labels]})
    step = -(-rows // files)
    for i in range(files):
        pq.write_table(table.slice(i * step, step), folder / f"part-{i:05d}.parquet")
    return str(folder)
