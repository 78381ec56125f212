"""A Hugging Face Trainer on the rows of a corpus: its own loop, sampler, collator, head and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.data.corpus import Corpus


def train(
    base: str, spec: ModelConfig, recipe: FineTuneConfig, train: Corpus, test: Corpus, seed: int, folder: Path
) -> float:
    """Fine-tune as a user of transformers would, with the figures of our recipe; return the accuracy on the test.

    Leaves `checkpoint-*`, one every `recipe.checkpoint_every` steps and at the end, without the optimizer's state.
    """
    set_seed(seed)
    words = AutoTokenizer.from_pretrained(base)
    trainer = Trainer(
        _model(base, spec, train.labels),
        _arguments(recipe, train.rows, seed, folder),
        data_collator=DataCollatorWithPadding(words),
        train_dataset=_rows(train, words, spec.max_length),
        processing_class=words,
    )
    trainer.remove_callback(PrinterCallback)  # its lines are not the benchmark's
    trainer.train()
    found = trainer.predict(_rows(test, words, spec.max_length))
    return float(np.mean(found.predictions.argmax(-1) == found.label_ids))


def _arguments(recipe: FineTuneConfig, rows: int, seed: int, folder: Path) -> TrainingArguments:
    steps = recipe.epochs * -(-rows // recipe.batch_size)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=round(recipe.warmup_ratio * steps),
        lr_scheduler_type=recipe.schedule,
        max_grad_norm=recipe.max_grad_norm,
        save_strategy="steps",
        save_steps=recipe.checkpoint_every or steps,
        save_only_model=True,
        logging_steps=recipe.checkpoint_every or steps,
        seed=seed,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _model(base: str, spec: ModelConfig, labels: tuple[str, ...]) -> PreTrainedModel:
    """Return the encoder with a head drawn from the global seed; `tiny` has no weights, so all are drawn."""
    shape = AutoConfig.from_pretrained(
        base, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}
    )
    if spec.layers is not None:
        shape.num_hidden_layers = spec.layers
    if spec.dropout is not None:
        shape.hidden_dropout_prob = shape.attention_probs_dropout_prob = spec.dropout
    if any(Path(base).glob("*.safetensors")):
        return AutoModelForSequenceClassification.from_pretrained(base, config=shape)
    return AutoModelForSequenceClassification.from_config(shape)


def _rows(corpus: Corpus, words: Any, length: int) -> list[dict[str, Any]]:
    table: pa.Table = corpus.table()
    pairs = table["text_pair"].to_pylist()
    texts = (table["text"].to_pylist(), pairs if any(pairs) else None)
    inputs = words(*texts, truncation=True, max_length=length)
    labels = table["label"].to_pylist()
    return [{**{name: inputs[name][i] for name in inputs}, "labels": labels[i]} for i in range(len(labels))]
