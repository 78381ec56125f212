"""The loop: what is visited, what is not, and what happens when memory or numbers run out."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.core.config import ModelConfig
from raysample.core.errors import CheckpointError, ScoreError, UnsupportedModelError
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import create_scores
from raysample.influence.visits.sweep import score_block
from raysample.models import Encoded, encode, pad
from raysample.testing import FAMILIES, Family, tiny_model, tiny_rows, tiny_tokenizer

CHECKPOINTS = tuple(Checkpoint(f"step-{10 * k}", 10 * k, float(k), 1e-3) for k in (1, 2, 3, 4))
ALL = ["vog", "el2n", "grand", "forgetting", "loss", "confidence", "variability", "correctness"]


class Block:
    """Tokenised rows with their labels, and the models of a made-up run."""

    def __init__(self, family: Family = "bert", rows: int = 20) -> None:
        table = tiny_rows(rows)
        self.encoded: Encoded = encode(tiny_tokenizer(family), table, ModelConfig(max_length=16))
        self.labels = table["label"].to_numpy().astype(np.int64)
        self.models: list[nn.Module] = [tiny_model(family, seed=seed) for seed in range(len(CHECKPOINTS))]

    def pad(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        return pad(self.encoded, rows, 0)

    def score(self, specs: list[Any], models: Any = None, **more: Any) -> dict[str, NDArray[np.float32]]:
        options = {"pad": self.pad, "batch_tokens": 64, **more}
        trace = self.models if models is None else models
        return score_block(trace, CHECKPOINTS, self.encoded, self.labels, create_scores(specs), **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_every_score(family: Family) -> None:
    block = Block(family)
    found = block.score(ALL)
    assert list(found) == ALL
    assert all(np.isfinite(values).all() and values.dtype == np.float32 for values in found.values())


def test_each_mini_batch_visits_each_checkpoint_once_whatever_is_asked() -> None:
    block, visits = Block(), []
    for k, model in enumerate(block.models):
        model.register_forward_pre_hook(
            lambda _m, _a, kwargs, k=k: visits.append((k, tuple(kwargs["input_ids"].shape))), with_kwargs=True
        )
    block.score(ALL)
    batches = visits[:: len(CHECKPOINTS)]
    assert visits == [(k, shape) for _, shape in batches for k in range(len(CHECKPOINTS))]
    assert sum(shape[0] for _, shape in batches) == 20
    assert all(shape[0] * shape[1] <= 64 or shape[0] == 1 for _, shape in batches)


def test_checkpoints_outside_every_window_are_not_visited() -> None:
    block, fetched = Block(), []

    def fetch(k: int) -> nn.Module:
        fetched.append(k)
        return block.models[k]

    block.score([{"name": "el2n", "checkpoints": {"epochs": [2, 2]}}, "loss"], fetch)
    assert fetched == [1, 3]


def test_a_model_is_let_go_before_the_next_is_fetched() -> None:
    block, alive = Block(), weakref.WeakSet[nn.Module]()

    def fetch(k: int) -> nn.Module:
        gc.collect()
        assert not alive
        model = copy.deepcopy(block.models[k])
        alive.add(model)
        return model

    turning, resident = block.score(ALL, fetch), block.score(ALL)
    for column, values in resident.items():
        np.testing.assert_array_equal(turning[column], values)


def test_a_mini_batch_is_padded_once_for_resident_models() -> None:
    block, padded = Block(), list[int]()

    def pad(rows: NDArray[np.int64]) -> dict[str, Tensor]:
        padded.extend(rows.tolist())
        return block.pad(rows)

    block.score(ALL, pad=pad)
    assert sorted(padded) == list(range(20))


def test_a_score_sees_only_its_window() -> None:
    block = Block()
    late = {"name": "el2n", "checkpoints": "last", "as": "late"}
    found = block.score(["confidence", late, "loss"])
    alone = block.score([late], models=[*([nn.Identity()] * 3), block.models[3]])
    np.testing.assert_array_equal(found["late"], alone["late"])


class Cramped(nn.Module):
    """Runs out of memory above a number of rows, as an accelerator does."""

    def __init__(self, inner: nn.Module, room: int) -> None:
        super().__init__()
        self.base_model = inner.base_model
        self.inner = [inner]  # in a list: not a submodule, as its encoder is one already
        self.room = room
        self.sizes: list[int] = []

    def forward(self, **inputs: Tensor) -> Any:
        rows = len(inputs["input_ids"])
        self.sizes.append(rows)
        if rows > self.room:
            raise torch.OutOfMemoryError(f"{rows} rows are too many")
        return self.inner[0](**inputs)


def test_a_mini_batch_that_does_not_fit_is_halved() -> None:
    block = Block()
    whole = block.score(["vog", "confidence"], batch_tokens=1_000)
    cramped = [Cramped(model, room=6) for model in block.models]
    found = block.score(["vog", "confidence"], cramped, batch_tokens=1_000)
    for column, values in whole.items():
        np.testing.assert_allclose(found[column], values, rtol=1e-4, atol=1e-7)
    assert cramped[0].sizes == [20, 10, 5, 5, 10, 5, 5]
    with pytest.raises(torch.OutOfMemoryError, match="1 rows are too many"):
        block.score(["loss"], [Cramped(model, room=0) for model in block.models])


def test_values_that_are_not_finite_become_nan_and_touch_no_other_row() -> None:
    block = Block()
    clean = block.score(ALL)
    word = int(block.encoded.ids[3][1])
    hit = np.array([word in ids for ids in block.encoded.ids])
    assert 0 < hit.sum() < len(hit)
    with torch.no_grad():
        block.models[2].base_model.embeddings.word_embeddings.weight[word] = torch.inf
    for column, values in block.score([name for name in ALL if name != "loss"]).items():
        assert np.isnan(values[hit]).all(), column
        np.testing.assert_allclose(values[~hit], clean[column][~hit], rtol=1e-5, err_msg=column)


def test_bfloat16_is_near_float32() -> None:
    block = Block()
    exact, rough = block.score(["el2n", "grand"]), block.score(["el2n", "grand"], autocast=torch.bfloat16)
    for column in exact:
        assert not np.array_equal(exact[column], rough[column])
        np.testing.assert_allclose(rough[column], exact[column], rtol=0.1)


def test_no_rows_give_empty_columns() -> None:
    block = Block()
    empty = Encoded([], None, np.empty(0, np.int32))
    found = score_block(
        block.models, CHECKPOINTS, empty, np.empty(0, np.int64), create_scores(ALL), pad=block.pad, batch_tokens=64
    )
    assert {column: values.shape for column, values in found.items()} == dict.fromkeys(ALL, (0,))


def test_arguments_that_do_not_fit_are_refused() -> None:
    block = Block()
    with pytest.raises(ScoreError, match="one model per checkpoint"):
        block.score(["loss"], block.models[:2])
    block.labels = block.labels[:-1]
    with pytest.raises(ScoreError, match="19 labels for 20 examples"):
        block.score(["loss"])


def test_errors_of_scores_and_models_come_through() -> None:
    block = Block()
    with pytest.raises(CheckpointError, match="widen the option"):
        block.score([{"name": "el2n", "checkpoints": {"epochs": [7, 9]}}])
    block.models[1].classifier = nn.Bilinear(1, 1, 3)  # type: ignore[assignment]
    with pytest.raises(UnsupportedModelError, match="'classifier' \\(Bilinear"):
        block.score(["grand"])
