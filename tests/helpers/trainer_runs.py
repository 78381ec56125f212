"""Real runs of the Hugging Face Trainer on tiny models, and what may become of their folders."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

from raysample import testing

NAMES = ("round", "calm", "quick")
"""The classes in the order of the outputs, which is not that of the alphabet."""
RATE, STEPS = 1e-2, 12


def trained(folder: Path) -> Path:
    """Run the Trainer for 12 steps of a linear schedule: checkpoints every 3 steps, logs every 2."""
    set_seed(0)
    network, words = testing.tiny_model(), testing.tiny_tokenizer()
    network.config.id2label = dict(enumerate(NAMES))
    network.config.label2id = {name: i for i, name in enumerate(NAMES)}
    texts, labels = testing.tiny_texts(48, 0)
    codes = [NAMES.index(testing.LABELS[label]) for label in labels]
    rows = [{**words(text, truncation=True), "labels": code} for text, code in zip(texts, codes, strict=True)]
    given = TrainingArguments(
        str(folder),
        max_steps=STEPS,
        save_steps=3,
        logging_steps=2,
        learning_rate=RATE,
        per_device_train_batch_size=8,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(network, given, train_dataset=rows, processing_class=words).train()
    return folder


class Bomb:
    """What a pickle can do to whoever opens it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def bomb(path: Path, mark: Path) -> None:
    """Put a pickle in a file that leaves a mark when it is opened."""
    path.write_bytes(pickle.dumps(Bomb(mark)))


def copied(folder: Path, target: Path) -> Path:
    """Copy a run, to be damaged."""
    return Path(shutil.copytree(folder, target))


def el2n(places: Sequence[str], texts: Sequence[str], classes: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return EL2N by transformers alone, row by row: the mean over the checkpoints of |softmax - one-hot|."""
    found = []
    for place in places:
        network = AutoModelForSequenceClassification.from_pretrained(place).eval()
        words, codes = AutoTokenizer.from_pretrained(place), network.config.label2id
        with torch.no_grad():
            shares = [network(**words(text, return_tensors="pt")).logits[0].softmax(0) for text in texts]
        gold = torch.nn.functional.one_hot(torch.tensor([codes[name] for name in classes]), len(codes))
        found.append((torch.stack(shares) - gold).norm(dim=1).numpy())
    mean: np.ndarray[Any, Any] = np.mean(found, axis=0)
    return mean
