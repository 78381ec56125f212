"""One training, three ways: what is trained, the loop by hand, and the Hugging Face Trainer on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

from raysample import models
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.data.corpus import Corpus
from raysample.training import Examples, TrainingSchedule, batches, schedule_training, train
from raysample.training.fine_tuning import Job, load_examples
from tests.helpers.corpora import varied_corpus

IntArray = NDArray[np.int64]
Note = Callable[[float], None]


@dataclass(frozen=True)
class TrainingWork:
    """A training of `steps` steps of a model that is always the same."""

    train: str
    test: str
    base: str
    spec: ModelConfig
    recipe: FineTuneConfig
    steps: int

    @cached_property
    def data(self) -> Examples:
        """The tokenised rows."""
        return load_examples(self.train, Corpus.load(self.train).fingerprint, self.base, self.spec)

    @property
    def schedule(self) -> TrainingSchedule:
        """The steps, as raysample's loop takes them."""
        return schedule_training(len(self.data), self.recipe, self.steps)

    @property
    def order(self) -> list[IntArray]:
        """The rows of every step."""
        return list(batches(len(self.data), self.recipe.batch_size, self.recipe.seed, self.steps))

    def network(self) -> nn.Module:
        """Return the model before its first step."""
        return models.build_model(self.base, self.spec, Corpus.load(self.train).labels, self.recipe.seed)

    def job(self, folder: Path) -> Job:
        """Return the same training as Ray Train gets it; it writes a checkpoint after the last step."""
        return Job(self.train, self.test, self.base, self.spec, self.recipe, folder=str(folder), steps=self.steps)


def training_work(
    folder: Path, spec: ModelConfig, *, rows: int, steps: int, batch_size: int, learning_rate: float = 3e-4
) -> TrainingWork:
    """Make rows, a base, and a recipe without warm-up.

    Without warm-up, since the Trainer's own warms up from 0 and that of raysample from the first step's share.
    """
    recipe = FineTuneConfig(
        batch_size=batch_size, learning_rate=learning_rate, warmup_ratio=0.0, precision="float32", checkpoints=1, seed=0
    )
    train = varied_corpus(folder / "train", rows, 0, shard_rows=256)
    test = varied_corpus(folder / "test", 32, 1, shard_rows=32)
    base = models.prepare_base(spec, train, str(folder / "base"))
    return TrainingWork(train.uri, test.uri, base, spec, recipe, steps)


def train_here(work: TrainingWork, network: nn.Module, note: Note) -> None:
    """Train by raysample's loop; `note` gets the loss of every step."""
    train(network, work.data, work.recipe, work.schedule, progress=lambda _step, loss: note(loss))


def train_by_hand(
    work: TrainingWork,
    network: nn.Module,
    note: Note,
    share: Callable[[IntArray], IntArray] = lambda rows: rows,
    world: int = 1,
) -> None:
    """Train by the loop that one would write by hand.

    With DDP `share` picks this process's rows of a batch. Losses are summed and divided by the batch's rows, times the
    processes whose gradients DDP takes the mean of: shares may differ in size.
    """
    recipe, order = work.recipe, work.order
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    schedule = LambdaLR(optimiser, lambda step: 1 - step / len(order))
    network.train()
    for rows in order:
        inputs, labels = _padded(work.data, share(rows))
        loss = cross_entropy(network(**inputs).logits, labels, reduction="sum") * (world / len(rows))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
        optimiser.step()
        schedule.step()
        note(loss.item())


def _padded(data: Examples, rows: IntArray) -> tuple[dict[str, Tensor], Tensor]:
    """Return the inputs of a BERT, padded to the longest of the rows, and the labels."""
    ids = [torch.from_numpy(data.encoded.ids[row]).long() for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=data.pad_id)
    lengths = torch.from_numpy(data.encoded.lengths[rows])
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    return {"input_ids": padded, "attention_mask": mask}, torch.from_numpy(data.labels[rows])


class _OrderedTrainer(Trainer):
    """A Trainer that takes its batches in a given order as one long epoch, and notes the loss of each.

    A loss is noted after the backward, before the optimiser's step: from one note to the next is one whole step.
    """

    def __init__(self, order: Sequence[IntArray], note: Note, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._order, self._note = [rows.tolist() for rows in order], note
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> Any:
        """Return the batches."""
        loader = DataLoader(self.train_dataset, batch_sampler=self._order, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)

    def training_step(self, *args: Any, **options: Any) -> Tensor:
        """Do what the Trainer does, and note the loss."""
        loss: Tensor = super().training_step(*args, **options)
        self._note(loss.item())
        return loss


def train_by_trainer(work: TrainingWork, network: nn.Module, note: Note, folder: Path) -> None:
    """Train by the Hugging Face Trainer; nothing is logged, saved or evaluated."""
    recipe, encoded = work.recipe, work.data.encoded
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=work.steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type="linear",
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        seed=recipe.seed,
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    rows = [
        {"input_ids": ids.tolist(), "labels": label}
        for ids, label in zip(encoded.ids, work.data.labels.tolist(), strict=True)
    ]
    collate = DataCollatorWithPadding(models.tokenizer(work.base))
    _OrderedTrainer(work.order, note, network, arguments, data_collator=collate, train_dataset=rows).train()
