"""What was cut off of the rows, and what a fine-tuning started from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysample import models
from raysample.core.config import ModelConfig
from raysample.data.corpus import CORPUS_SCHEMA
from raysample.models import Truncation, truncation
from raysample.testing import tiny_model, tiny_tokenizer


def table(lengths: list[int], pairs: list[int | None] | None = None, labels: list[int] | None = None) -> pa.Table:
    """Rows of so many words each, and of pairs where a second number is given."""
    rows = range(len(lengths))
    seconds = [None if n is None else "pond " * n for n in pairs or [None] * len(lengths)]
    columns = {"row_id": [str(i) for i in rows], "text": ["moss " * n for n in lengths], "text_pair": seconds}
    nothing = [None] * len(lengths)
    return pa.table(
        {**columns, "label": labels or [0] * len(lengths), "group": nothing, "timestamp": nothing}, schema=CORPUS_SCHEMA
    )


def measured(rows: pa.Table, longest: int, classes: int = 3) -> Truncation:
    words, spec = tiny_tokenizer(), ModelConfig(max_length=longest)
    return truncation(words, rows, models.encode(words, rows, spec), spec, classes)


def test_rows_that_are_cut_are_counted_with_their_tokens_and_classes() -> None:
    # With [CLS] and [SEP] 4, 8, 9 and 22 tokens, and a pair of 3 + 5 + 4.
    found = measured(table([2, 6, 7, 20, 5], [None, None, None, None, 4], [0, 0, 0, 1, 1]), 8)
    assert (found.rows, found.full, found.measured, found.cut) == (5, 4, 4, 3)
    assert (found.tokens, found.lost) == (4 + 8 + 9 + 22 + 12, 1 + 14 + 4)
    assert found.share == 3 / 5
    assert found.share_lost == 19 / 55
    assert found.quantiles == {"0.5": 9, "0.75": 12, "0.9": 22, "0.95": 22, "0.99": 22, "1.0": 22}
    assert found.by_class == (1 / 3, 1.0, None)
    assert found.describe("training") == (
        "60.0% of the training rows are longer than model.max_length 8 and lose 34.5% of all tokens; "
        "model.max_length 22 would keep 95 % of the rows whole, if the model has the positions"
    )


def test_rows_that_fit_exactly_are_whole() -> None:
    found = measured(table([6, 6, 1]), 8)
    assert (found.full, found.cut, found.lost) == (2, 0, 0)
    assert "advice" not in found.describe("test")
    assert measured(table([]), 8).quantiles["0.5"] == 0


def test_of_many_long_rows_a_sample_is_measured_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow twin: all of them."""
    monkeypatch.setattr("raysample.models.truncation_statistics.FREE_CHARACTERS", 0)
    monkeypatch.setattr("raysample.models.truncation_statistics.ALWAYS", 150)
    rng = np.random.default_rng(0)
    rows = table(rng.integers(1, 40, 1_200).tolist(), labels=rng.integers(0, 3, 1_200).tolist())
    some = measured(rows, 16)
    monkeypatch.setattr("raysample.models.truncation_statistics.EFFORT", 1.0)
    every = measured(rows, 16)
    assert every.measured == every.full > 600
    assert 150 <= some.measured < 0.25 * some.full
    assert some.full == every.full
    assert some.cut == pytest.approx(every.cut, rel=0.08)
    assert some.tokens == pytest.approx(every.tokens, rel=0.08)
    assert some.lost == pytest.approx(every.lost, rel=0.15)
    assert some.quantiles["0.9"] == pytest.approx(every.quantiles["0.9"], abs=3)
    assert some.quantiles["0.5"] == pytest.approx(every.quantiles["0.5"], abs=3)
    assert some.by_class == pytest.approx(every.by_class, abs=0.08)
    assert some.describe("training").startswith("about ")
    assert some == measured_again(rows, monkeypatch)


def measured_again(rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> Truncation:
    monkeypatch.setattr("raysample.models.truncation_statistics.EFFORT", 0.08)
    return measured(rows, 16)


def test_quantiles_and_shares_of_a_sample_of_one_length_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysample.models.truncation_statistics.FREE_CHARACTERS", 0)
    monkeypatch.setattr("raysample.models.truncation_statistics.ALWAYS", 10)
    found = measured(table([1] * 100 + [30] * 100), 8)
    assert found.measured < found.full == 100
    assert (found.cut, found.tokens, found.lost) == (100, 100 * 3 + 100 * 32, 100 * 24)
    assert (found.quantiles["0.5"], found.quantiles["0.75"]) == (3, 32)


def test_a_truncation_survives_json() -> None:
    found = measured(table([2, 20], labels=[0, 1]), 8)
    assert Truncation.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_what_a_model_started_from_is_told() -> None:
    network, words = tiny_model(), tiny_tokenizer()
    network.requires_grad_(False)
    head: Any = network.classifier
    head.requires_grad_(True)
    told = models.initialisation(network, words, "base", ModelConfig(path="some", max_length=16), 7)
    size = head.weight.numel() + head.bias.numel()
    assert told["parameters"] == sum(p.numel() for p in network.parameters())
    assert told["trainable_parameters"] == told["head_parameters"] == size
    assert (told["head"], told["seed"], told["encoder"], told["classes"]) == (["classifier"], 7, "pretrained", 3)
    assert (told["max_length"], told["truncation_side"]) == (16, "right")
    assert json.loads(json.dumps(told)) == told
