"""A tiny random classifier of any family that transformers has, with a tokenizer and rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

LABELS = ("neg", "pos")
WORDS = tuple(f"w{place}" for place in range(50))
SPECIAL = ("<pad>", "<unk>", "<cls>", "<sep>", "<mask>")
MOST = 5_000_000
"""Parameters of what still counts as tiny."""

ALIKE = {"mra": "its attention gives zeros without a CUDA kernel from the hub: all rows are alike"}
"""Why families give all rows the same values here."""
WINDOW = 8
"""Tokens that attention sees where a family has a sliding window by default: fewer than most rows have."""

# What families call their sizes; those that a configuration has are set.
SIZES: Mapping[str, int] = {
    name: value
    for value, names in {
        32: "hidden_size d_model n_embd dim emb_dim embedding_size word_embed_proj_dim d_latents embed_dim",
        2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
        "num_key_value_heads num_experts_per_tok cls_token_id bos_token_id decoder_start_token_id",
        4: "num_attention_heads n_head n_heads num_heads num_kv_heads encoder_attention_heads decoder_attention_heads "
        "qk_rope_head_dim num_experts num_local_experts n_routed_experts",
        64: "intermediate_size d_inner dff d_ff ffn_dim n_inner hidden_dim ffn_hidden_size encoder_ffn_dim "
        "decoder_ffn_dim moe_intermediate_size shared_expert_intermediate_size vocab_size pronunciation_vocab_size "
        "shape_vocab_size",
        128: "max_position_embeddings n_positions max_seq_len max_2d_position_embeddings",
        8: "head_dim d_head d_kv v_head_dim qk_nope_head_dim pronunciation_embed_dim shape_embed_dim num_latents",
        16: "kv_lora_rank q_lora_rank",
        1: "n_group topk_group num_self_attends_per_block",
        0: "pad_token_id",
        3: "eos_token_id sep_token_id forced_eos_token_id",
    }.items()
    for name in names.split()
}
# Latent attention: keys and values have a head for each of the queries (`num_key_value_heads` groups nothing), and the
# rotary part of a head is what `head_dim` means. One dense layer, then one of experts.
LATENT: Mapping[str, Any] = {"num_key_value_heads": 4, "head_dim": 4, "first_k_dense_replace": 1}
# A layer with a recurrent state, then one of attention: transformers' cache asks an attention layer how long a row is.
MIXED: Mapping[str, Any] = {"layer_types": ["linear_attention", "full_attention"]}
# The hybrid layers share one transformer; a single one would have nobody to share it with.
SHARED: Mapping[str, Any] = {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]}
ROTARY: Mapping[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
# What a size of a family's own needs beside these.
OWN: Mapping[str, Mapping[str, Any]] = {
    "axk1": LATENT,
    # Fewer places are attended to than a long row has, so that the choice of them is tried, too.
    "axk2": LATENT | {"index_topk": 8, "index_head_dim": 8, "index_n_heads": 2},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "minicpm3": LATENT,
    "mistral4": LATENT | {"head_dim": 12},  # of this family both parts of a head, 8 without and 4 with rotation
    # The default names no rotation for either kind of layer; published configurations name one for each.
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": ROTARY, "full_attention": ROTARY},
    },
    "esmc": {"num_key_value_heads": 4},  # it knows no grouped queries, and says so
    "gptj": {"rotary_dim": 4},  # part of a head of 8, as 64 is of 256
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lilt": {"hidden_size": 48},  # six coordinates share it evenly, and four heads
    "qwen3_5_text": MIXED,
    "qwen3_5": {"text_config": MIXED},
    "qwen3_next": MIXED,
    "t5": {"decoder_start_token_id": 0},  # not in the default; the published configurations have it
    "zamba": SHARED,
    "zamba2": SHARED,
    "big_bird": {"block_size": 2, "num_random_blocks": 1, "attention_type": "block_sparse"},
    "bigbird_pegasus": {"block_size": 2, "num_random_blocks": 1, "attention_type": "block_sparse"},
    "canine": {
        "local_transformer_stride": 4,
        "downsampling_rate": 2,
        "upsampling_kernel_size": 2,
        "num_hash_functions": 4,
        "num_hash_buckets": 64,
    },
    "convbert": {"head_ratio": 2, "conv_kernel_size": 3},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    "funnel": {"block_sizes": [1, 1], "d_head": 8},
    "longformer": {"attention_window": [4, 4]},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    "nystromformer": {"num_landmarks": 4, "segment_means_seq_len": 4},
    "reformer": {
        "attn_layers": ["local", "local"],
        "local_attn_chunk_length": 4,
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [8, 24],
        "is_decoder": False,
    },
    "squeezebert": {"embedding_size": 32},
    "mpt": {"max_seq_len": 128},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "layoutlmv3": {"visual_embed": False, "coordinate_size": 4, "shape_size": 8},
    "layoutlmv2": {"coordinate_size": 4, "shape_size": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
    "phimoe": {"num_local_experts": 4},
    "markuplm": {"xpath_unit_hidden_size": 4, "max_depth": 4},
    "esm": {"mask_token_id": 4, "token_dropout": False},
    "mra": {"block_per_row": 1},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 32},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "reference_compile": False},
}
NOT_SET: Mapping[str, frozenset[str]] = {
    "funnel": frozenset({"num_hidden_layers"}),
    "xlnet": frozenset({"max_position_embeddings"}),
}
"""Sizes that a family has and does not let anyone set."""
PARTS = ("text_config", "vision_config", "encoder", "decoder")
"""What configurations call the configurations within them."""
LEFT = frozenset({"xlnet"})
"""Families whose published tokenizers pad on the left and end with the class token."""
LETTERS = frozenset({"qwen2", "qwen3_5"})
"""Families whose tokenizer classes cut texts by bytes, whatever was saved: whole words would come back as nothing."""


def configured(family: str) -> Any:
    """Return a tiny configuration: the family's defaults, and every size that it has made small."""
    default = AutoConfig.for_model(family)
    own = dict(OWN.get(family, {}))
    small = _small(default)
    within = {name: small[name] | own.pop(name) for name in PARTS if name in own}
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: place for place, name in enumerate(LABELS)}}
    return AutoConfig.for_model(family, **{**small, **own, **within, **names})


def _small(default: Any) -> dict[str, Any]:
    there = {name for name in SIZES if isinstance(getattr(default, name, ...), int | None)}
    fixed = {
        name for name in there if isinstance(found := getattr(type(default), name, None), property) and not found.fset
    }
    kinds = default.to_dict().get("layer_types")
    free = sorted(there - fixed - NOT_SET.get(default.model_type, frozenset()))
    parts = {name: _small(part) for name in PARTS if hasattr(part := getattr(default, name, None), "to_dict")}
    if kinds:
        parts["layer_types"] = kinds[:2]
    if isinstance(getattr(default, "sliding_window", None), int):
        parts["sliding_window"] = WINDOW
    return {**{name: SIZES[name] for name in free}, **parts}


def network(family: str, seed: int) -> Any:
    """Return a classifier in eval mode whose weights tell rows apart; raises ValueError where it does not get tiny."""
    config = configured(family)
    with torch.device("meta"):
        size = sum(weight.numel() for weight in AutoModelForSequenceClassification.from_config(config).parameters())
    if size > MOST:
        raise ValueError(f"{size:,} parameters where its sizes are small")
    torch.manual_seed(seed)
    found = AutoModelForSequenceClassification.from_config(config).float().eval()
    with torch.no_grad():
        for weight in found.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return found


def tokenizer(family: str, side: str | None = None) -> PreTrainedTokenizerBase:
    """Return a tokenizer of whole words, or of letters and digits, that pads on a side (or as the family's own do)."""
    left = family in LEFT
    known = _letters() if family in LETTERS else _words()
    known.post_processor = processors.TemplateProcessing(
        single="$A <sep> <cls>" if left else "<cls> $A <sep>", special_tokens=[("<cls>", 2), ("<sep>", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    inputs = ["input_ids", "attention_mask"]
    side = side or ("left" if left else "right")
    return PreTrainedTokenizerFast(tokenizer_object=known, padding_side=side, model_input_names=inputs, **names)


def _words() -> Tokenizer:
    known = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *WORDS))}, unk_token=SPECIAL[1]))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return known


def _letters() -> Tokenizer:
    pieces = (*SPECIAL, *"w0123456789", "\u0120", "\u0120w")  # U+0120 is how byte-level tokenizers write a space
    known = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges=[("\u0120", "w")]))
    known.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return known


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Return rows of 3 to 27 words."""
    draw = random.Random(seed)
    return [
        {"id": f"r{i}", "text": " ".join(draw.choices(WORDS, k=draw.randint(3, 27))), "label": LABELS[i % 2]}
        for i in range(count)
    ]


def saved(family: str, folder: Path, side: str | None = None, count: int = 2) -> list[str]:
    """Save checkpoints of a family with a tokenizer; returns their folders. ValueError if it comes back another."""
    words, places = tokenizer(family, side), []
    for seed in range(count):
        places.append(str(folder / f"{family}-{seed}"))
        network(family, seed).save_pretrained(places[-1])
        words.save_pretrained(places[-1])
    text, again = " ".join(WORDS), AutoTokenizer.from_pretrained(places[0])
    if again(text)["input_ids"] != words(text)["input_ids"] or again.padding_side != words.padding_side:
        raise ValueError(f"{type(again).__name__} reads the words as other tokens than were saved")
    return places
