"""Trainings whose rows are drawn anew for every epoch: the draws, the job, and the loop by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raysample import models
from raysample.core.config import ArmConfig
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.selection import Selection, write_selection
from raysample.selection.redraws import draw_seed
from raysample.training import batches, learning_rate
from raysample.training.examples import batch
from raysample.training.fine_tuning import Job, load_examples
from tests.helpers.selection_tables import save_score_table
from tests.helpers.training_runs import a_job, plain_adamw

ARM = ArmConfig(policy="class_power", power=0.5, weights="unbiased")
"""Keeps more of small classes and weighs their rows less, so that every draw has weights of its own."""


def table_of(corpus: Corpus, folder: Path) -> ScoreTable:
    """Save a score table of a corpus, with the score `score`, which rises with the row."""
    rows = corpus.table()
    columns = {"row_id": rows["row_id"], "label": rows["label"].to_numpy(), "tokens": np.ones(len(rows))}
    table = save_score_table(folder, [{**columns, "score": np.arange(len(rows))}], corpus.labels)
    return replace(table, corpus=corpus.fingerprint).save()


def draws_of(table: ScoreTable, folder: Path, epochs: int, seed: int, arm: ArmConfig = ARM) -> list[Selection]:
    """Draw half of the rows for every epoch."""
    return [
        write_selection(table, arm, str(folder / f"draw-{epoch}"), fraction=0.5, seed=draw_seed(seed, epoch))
        for epoch in range(epochs)
    ]


def a_redrawn_job(folder: Path, dropout: float = 0.2, **recipe: Any) -> Job:
    """Return a job on 34 of 67 rows, drawn anew for each of three epochs: 5 steps an epoch, the last batch has 2."""
    job = a_job(folder, dropout, **{"epochs": 3, **recipe})
    table = table_of(Corpus.load(job.train), folder / "scores")
    first, *others = draws_of(table, folder, job.config.epochs, job.config.seed)
    return replace(job, selection=first.uri, redraws=tuple(draw.uri for draw in others))


def trained_by_hand(job: Job) -> tuple[list[float], nn.Module]:
    """Train a job without dropout, one epoch's selection after the other; return the loss of every step, and the model.

    The rows of an epoch are looked up by their ids, in the order of the corpus, and each is a forward of its own.
    """
    recipe, corpus = job.config, Corpus.load(job.train)
    data = load_examples(job.train, corpus.fingerprint, job.base, job.model)
    network = models.build_model(job.base, job.model, corpus.labels, recipe.seed)
    optimiser, losses = plain_adamw(network, recipe.weight_decay), list[float]()
    epochs = [Selection.load(uri).kept().to_pylist() for uri in (job.selection, *job.redraws) if uri is not None]
    per_epoch = -(-len(epochs[0]) // recipe.batch_size)
    orders = list(batches(len(epochs[0]), recipe.batch_size, recipe.seed, per_epoch * len(epochs)))
    network.train()
    for step, order in enumerate(orders):
        weight = {row["row_id"]: row["weight"] for row in epochs[step // per_epoch]}
        mean = sum(weight.values()) / len(weight)
        places = [place for place, row in enumerate(data.ids) if row in weight]
        loss = torch.zeros(())
        for place in (places[one] for one in order):
            inputs, labels = batch(data, np.array([place]), "cpu")
            loss = loss + cross_entropy(network(**inputs).logits, labels) * (weight[data.ids[place]] / mean)
        loss = loss / len(order)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, len(orders), recipe)
        optimiser.step()
        losses.append(loss.item())
    return losses, network
