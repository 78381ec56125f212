"""Our loop against the Hugging Face Trainer: same weights, same batches, no dropout, so the same steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import Trainer, TrainingArguments

from raysample import testing, training
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.models import encode

pytestmark = pytest.mark.slow

ROWS, EPOCHS, RATE = 44, 2, 1e-2
"""44 rows in batches of 8: the last batch of an epoch is short."""


class Ordered(Trainer):
    """A Trainer that takes the rows in the order of our batches."""

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        order = np.concatenate([*training.batches(ROWS, 8, 3, EPOCHS * 6)]).reshape(EPOCHS, ROWS)
        epochs = iter(order.tolist())

        class Epochs:
            def __iter__(self) -> Iterator[int]:
                return iter(next(epochs))

            def __len__(self) -> int:
                return ROWS

        return Epochs()


def test_our_loop_makes_the_steps_of_the_trainer(tmp_path: Path) -> None:
    words, table = testing.tiny_tokenizer(), testing.tiny_rows(ROWS)
    encoded, labels = encode(words, table, ModelConfig(max_length=32)), table["label"].to_numpy().astype(np.int64)
    ids = np.array(table["row_id"].to_pylist(), dtype=object)
    ours = testing.tiny_model(dropout=0.0)
    theirs, losses = copy.deepcopy(ours), list[float]()
    config = FineTuneConfig(
        epochs=EPOCHS, batch_size=8, learning_rate=RATE, warmup_ratio=0, precision="float32", seed=3
    )
    data = training.Examples(encoded, labels, 0, ids)
    training.train(
        ours,
        data,
        config,
        training.schedule_training(ROWS, config),
        progress=lambda _, loss: losses.append(float(loss)),
    )
    given = TrainingArguments(
        str(tmp_path),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=8,
        learning_rate=RATE,
        weight_decay=config.weight_decay,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    rows = [{**words(text), "labels": label} for text, label in zip(table["text"].to_pylist(), labels, strict=True)]
    trainer = Ordered(theirs, given, train_dataset=rows, processing_class=words)
    trainer.train()
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses == pytest.approx(logged, rel=1e-4)
    for (name, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.detach().numpy() == pytest.approx(its.detach().numpy(), abs=1e-4), name
