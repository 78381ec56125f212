"""Mini-batches padded on the left: positions, masks and types are those of the row alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.errors import StorageError
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.influence.visits.gradient_loops import alone
from raysample.models.padding import count_positions
from raysample.testing import Family, tiny_model, tiny_rows, tiny_tokenizer
from raysample.workflow.score_identity import padding_side

SPEC = ModelConfig(max_length=24)


def encoded(family: Family, side: str = "left", **options: Any) -> models.Encoded:
    words = tiny_tokenizer(family)
    words.padding_side = side
    return models.encode(words, tiny_rows(8, seed=3), SPEC.model_copy(update=options))


def test_padding_goes_where_the_tokenizer_says() -> None:
    left, right = encoded("bert"), encoded("bert", "right")
    rows = np.array([0, 1, 2, 3])
    one, other = models.pad(left, rows, 7), models.pad(right, rows, 7)
    for name in one:
        for row in range(4):
            assert torch.equal(alone(one, row)[name], alone(other, row)[name]), name
    length, width = int(left.lengths[0]), left.width(rows)
    assert length < width
    assert one["input_ids"][0].tolist() == [7] * (width - length) + left.ids[0].tolist()
    assert one["attention_mask"][0].tolist() == [0] * (width - length) + [1] * length
    assert left.take([2, 1]).side == "left"


def test_padding_has_the_tokenizer_s_own_type() -> None:
    words = tiny_tokenizer("bert")
    words.padding_side, words._pad_token_type_id = "left", 3
    found = models.encode(words, tiny_rows(4, seed=3), SPEC)
    batch = models.pad(found, [0, 1, 2, 3], 0)
    assert set(batch["token_type_ids"][batch["attention_mask"] == 0].tolist()) == {3}
    assert set(batch["token_type_ids"][batch["attention_mask"] == 1].tolist()) == {0}


def test_a_multiple_widens_on_the_left() -> None:
    batch = models.pad(encoded("bert", pad_to_multiple_of=16), [0], 0)
    assert batch["input_ids"].shape == (1, 16)
    assert not batch["attention_mask"][0, 0]
    assert batch["attention_mask"][0, -1]


def logits(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(**inputs).logits
    return found


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "qwen3"])
def test_decoders_padded_on_the_left_see_what_they_see_alone(family: Family) -> None:
    network, found = tiny_model(family), encoded(family)
    count_positions(network)
    together = logits(network, models.pad(found, list(range(8)), 0))
    for row in range(8):
        torch.testing.assert_close(together[row : row + 1], logits(network, models.pad(found, [row], 0)))


def test_xlnet_reads_the_last_place() -> None:
    torch.manual_seed(0)
    shape = AutoConfig.for_model("xlnet", vocab_size=100, d_model=16, n_layer=2, n_head=2, d_inner=32, pad_token_id=0)
    network = AutoModelForSequenceClassification.from_config(shape).eval()
    for weight in network.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    differences = {}
    for side in ("left", "right"):
        found = encoded("roberta", side)
        together = logits(network, models.pad(found, list(range(8)), 0))
        single = torch.cat([logits(network, models.pad(found, [row], 0)) for row in range(8)])
        differences[side] = float((together - single).abs().max())
    assert differences["left"] < 1e-5
    assert differences["right"] > 1e-2


def test_the_hook_leaves_other_mini_batches_and_given_positions_alone() -> None:
    network = tiny_model("gpt2")
    found = encoded("gpt2")
    padded = models.pad(found, list(range(8)), 0)
    plain = logits(network, padded)
    count_positions(network)
    assert not torch.equal(logits(network, padded), plain)
    places = torch.arange(padded["input_ids"].shape[1]).expand_as(padded["input_ids"])
    assert torch.equal(logits(network, {**padded, "position_ids": places}), plain)
    right = models.pad(encoded("gpt2", "right"), list(range(8)), 0)
    torch.testing.assert_close(logits(network, right), logits(network, padded))


@pytest.mark.parametrize(
    ("told", "side"), [('"padding_side": "left",', "left"), ('"padding_side":"right",', "right"), ("", "right")]
)
def test_the_side_is_read_from_a_tokenizer_s_own_file(told: str, side: str, tmp_path: Path) -> None:
    """Transformers writes 10^30 for a tokenizer without a longest text."""
    (tmp_path / "tokenizer_config.json").write_text(f'{{{told} "model_max_length": {10**30}}}')
    trace = CheckpointSet((Checkpoint(str(tmp_path), 1, 1.0, 0.1, {}),), ("a", "b"), 0, uri=str(tmp_path / "set"))
    assert padding_side(trace) == side


def unread(how: str, file: Path) -> None:
    """Put something in the place of a file that is no JSON mapping."""
    if how == "folder":
        file.mkdir()
    elif how == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes({"list": b"[]", "cut": b'{"padding_side": "le', "latin": b'{"a": "\xe9"}'}[how])


@pytest.mark.parametrize("how", ["folder", "pipe", "list", "cut", "latin"])
def test_what_is_no_tokenizer_s_file_is_an_error_that_names_it(how: str, tmp_path: Path) -> None:
    unread(how, tmp_path / "tokenizer_config.json")
    trace = CheckpointSet((Checkpoint(str(tmp_path), 1, 1.0, 0.1, {}),), ("a", "b"), 0, uri=str(tmp_path / "set"))
    with pytest.raises(StorageError, match=r"tokenizer_config\.json"):
        padding_side(trace)
