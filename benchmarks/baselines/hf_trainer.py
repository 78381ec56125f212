"""The Hugging Face Trainer: on given batches, or by its own means."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from baselines.pace import Pace, Watch
from baselines.train_material import Work
from raysample import models
from raysample.core.config import FineTuneConfig
from raysample.training import Examples


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenised rows as the Trainer's collator takes them."""

    def __init__(self, data: Examples) -> None:
        types = data.encoded.types
        self.rows = [
            {"input_ids": ids.tolist(), "labels": label}
            for ids, label in zip(data.encoded.ids, data.labels.tolist(), strict=True)
        ]
        for row, kinds in zip(self.rows, types or (), strict=types is not None):
            row["token_type_ids"] = kinds.tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]


class Given(Trainer):
    """A Trainer that takes its batches in a given order, and tells the loss of each."""

    order: Sequence[NDArray[np.int64]]
    watch: Watch
    loss = 0.0

    def get_train_dataloader(self) -> Any:
        """Return the batches as one long epoch."""
        order = [rows.tolist() for rows in self.order]
        return self.accelerator.prepare(
            DataLoader(self.train_dataset, batch_sampler=order, collate_fn=self.data_collator)
        )

    def training_step(self, *args: Any, **options: Any) -> Tensor:
        """Do what the Trainer does, and note the loss."""
        loss: Tensor = super().training_step(*args, **options)
        self.loss = loss.item()
        return loss


class Stamp(TrainerCallback):
    """Notes every step of a `Given`."""

    def __init__(self, trainer: Given) -> None:
        self.trainer = trainer

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note that a step is done."""
        self.trainer.watch.step(self.trainer.loss)


def arguments(recipe: FineTuneConfig, folder: str, **more: Any) -> TrainingArguments:
    """Return a recipe in the Trainer's words; nothing is logged, saved or evaluated."""
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup_ratio,
        lr_scheduler_type=recipe.schedule,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=recipe.precision == "bfloat16",
        seed=recipe.seed,
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        **more,
    )


def on_given_batches(work: Work) -> Pace:
    """Train in this process on the batches of the work."""
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="raysample-trainer-") as folder:
        trainer = Given(
            work.network(),
            arguments(work.recipe, folder, max_steps=work.steps),
            data_collator=DataCollatorWithPadding(models.tokenizer(work.base)),
            train_dataset=Rows(work.data),
        )
        trainer.order, trainer.watch = work.order, watch
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Stamp(trainer))
        trainer.train()
    return watch.pace()
