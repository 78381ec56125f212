"""Checkpoints that others saved, damaged: weights, headers, configurations, tokenizers, what a Trainer logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import torch

import raysample
from raysample import models, testing
from tests.helpers.hostile.damage import damage_file, linked
from tests.helpers.hostile.kinds import Kind


def prepare_saved(folder: Path) -> None:
    """Write a Trainer's folder of two checkpoints, one of them with weights in pytorch_model.bin; and rows."""
    network, words = testing.tiny_model(), testing.tiny_tokenizer()
    network.config.id2label = dict(enumerate(testing.LABELS))
    network.config.label2id = {name: i for i, name in enumerate(testing.LABELS)}
    for step in (10, 20):
        place = folder / "trainer" / f"checkpoint-{step}"
        models.save_model(network, words, place)
        logged = [{"step": s, "epoch": s / 10, "learning_rate": 1e-4 / s, "loss": 1.0} for s in range(5, step + 1, 5)]
        state = {"global_step": step, "epoch": step / 10, "log_history": logged, "max_steps": 20, "num_train_epochs": 2}
        (place / "trainer_state.json").write_text(json.dumps(state))
    shutil.copytree(folder / "trainer", folder / "pickled")
    for place in (folder / "pickled").glob("checkpoint-*"):
        torch.save(network.state_dict(), place / "pytorch_model.bin")
        (place / "model.safetensors").unlink()
    testing.tiny_corpus_files(folder / "rows", rows=12, files=1)


def _damaged(rng: Random, templates: Path, scratch: Path) -> Path:
    place = linked(templates / "saved" / rng.choice(("trainer", "trainer", "pickled")), scratch / "out")
    every = sorted(path for path in place.rglob("*") if path.is_file())
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(every)
        if path.is_file() and not path.is_symlink():
            damage_file(rng, path)
    if rng.random() < 0.05:
        (place / "checkpoint-20").rename(
            place / rng.choice(("checkpoint-010", "checkpoint-999999999999999999999", "x"))
        )
    return place


def _adopt(rng: Random, templates: Path, scratch: Path) -> None:
    place = _damaged(rng, templates, scratch)
    raysample.adopt([str(place)], str(scratch / "adopted")).fingerprint  # noqa: B018 - it reads


def _models(rng: Random, templates: Path, scratch: Path) -> None:
    place = _damaged(rng, templates, scratch)
    trace = raysample.adopt([str(place)], str(scratch / "adopted"))
    rows = str(templates / "saved" / "rows")
    corpus = raysample.describe(rows, str(scratch / "corpus"), columns={"id": "id"}, labels=trace.labels)
    raysample.score(trace, corpus, ["el2n"], str(scratch / "scores")).to_arrow()


KINDS = (
    Kind("adopt", 3_000, _adopt, needs=("saved",)),
    Kind("models", 800, _models, needs=("saved",)),
)
