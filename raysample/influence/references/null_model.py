"""`null_model`: the run's recipe trained once more on the same labels, with an empty text in every row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import ValidationError
from torch import nn

from raysample import models, training
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import CORPUS_SCHEMA, Levels
from raysample.influence.references.build_context import BuildContext, Notes, reference_options
from raysample.influence.references.folder import Tensors
from raysample.influence.scores.reference import Reference
from raysample.training import DistributedContext, Examples, TrainingSchedule
from raysample.training.levels import LevelLabels, trained

NULL_TEXT = " "
"""The null input of Ethayarajh et al. (2022), in the code that they published: a single space."""

NULL_MODEL_ADVICE = (
    "set the option `null: prior` of the score, which takes the class shares in place of a trained null model"
)


def build_null_model(work: BuildContext, reference: Reference, notes: Notes) -> Iterator[tuple[int, Tensors]]:
    """Train f[∅] and yield `log_p` [C] = ln softmax f[∅](" ") at each checkpoint's step, in eval mode, float32.

    Same base, seed, schedule, learning rates, batches and dropout as the run; only the text of every row is the null
    input, tokenised by the run's tokenizer, so that little more than the special tokens is left. (Ethayarajh, Choi and
    Swayamdipta 2022, "Understanding dataset difficulty with V-usable information".)

    Cost: as many optimiser steps as the run, on rows of about two tokens. Forwards and backwards become nearly free;
    the optimiser's pass over all weights remains. Nothing is saved but C numbers per checkpoint.

    Raises:
        ProvenanceError: the scored corpus is not the training corpus of the run, or the run was not trained as its
            recipe says (on a selection, for example).
        ScoreError: the run has no recipe (adopted), or the tokenizer returns no token for the null input.
    """
    reference_options(reference, {})
    base, spec, recipe = _recipe(work)
    data = _nothing(work, spec)
    layout = _layout(work.run, len(data), recipe)
    levels = trained(work.corpus, recipe)
    data = replace(data, levels=None if levels is None else _level_labels(work, levels, recipe))
    network = models.build_model(base, spec, work.run.labels, work.run.seed, levels).to(work.device)
    scored = slice(None) if levels is None else levels.spans[levels.label]
    inputs, _ = training.batch(data, np.zeros(1, np.int64), work.device)
    wanted, found = {checkpoint.step for checkpoint in work.run.checkpoints}, dict[int, Tensors]()

    def look(step: int, _rate: float) -> None:
        """Store the log-probabilities of the null model after a step whose checkpoint is wanted."""
        if step in wanted:
            found[step] = {"log_p": _log_p(network, inputs, scored)}

    training.train(network, data, recipe, layout, DistributedContext(device=work.device), save=look)
    notes.update(steps_trained=layout.steps, tokens=int(data.encoded.lengths[0]))
    yield from sorted(found.items())


def _recipe(work: BuildContext) -> tuple[str, ModelConfig, FineTuneConfig]:
    """Return base, model and recipe of the run; raises if it has no complete recipe or another training corpus."""
    config: dict[str, Any] = work.run.config
    missing = [name for name in ("base", "model", "fine_tune") if not config.get(name)]
    if missing:
        raise ScoreError(
            f"a null model needs the recipe of the run, and {work.run.uri!r} does not know its {', '.join(missing)} "
            "(it was adopted)",
            NULL_MODEL_ADVICE,
        )
    if work.run.corpus != work.corpus.fingerprint:
        raise ProvenanceError(
            f"a null model must be trained on what the run was trained on, and {work.corpus.uri!r} is another corpus",
            f"score the training corpus, or {NULL_MODEL_ADVICE}",
        )
    try:
        spec, recipe = ModelConfig.model_validate(config["model"]), FineTuneConfig.model_validate(config["fine_tune"])
    except ValidationError as error:
        raise ScoreError(f"the recipe in {work.run.uri!r} cannot be read: {error}", NULL_MODEL_ADVICE) from error
    return str(config["base"]), spec, recipe.model_copy(update={"capture": False, "seed": work.run.seed})


def _nothing(work: BuildContext, spec: ModelConfig) -> Examples:
    """Return the corpus's labels in its order, each row with the null input."""
    tokenizer = work.tokenizer()
    columns = [
        pa.array([NULL_TEXT if name == "text" else None], CORPUS_SCHEMA.field(name).type)
        for name in CORPUS_SCHEMA.names
    ]
    null = models.encode(tokenizer, pa.table(columns, names=CORPUS_SCHEMA.names), spec)
    if null.lengths[0] == 0:
        raise ScoreError(
            "the tokenizer makes no token of the null input (a single space), so no model can read it",
            NULL_MODEL_ADVICE,
        )
    tables = [work.corpus.read(shard.index).select(["label", "row_id"]) for shard in work.corpus.shards]
    table = pa.concat_tables(tables)
    labels = table["label"].to_numpy().astype(np.int64)
    ids = np.array(table["row_id"].to_pylist(), dtype=object)
    return Examples(null.take(np.zeros(len(labels), np.int64)), labels, int(tokenizer.pad_token_id), ids)


def _layout(run: CheckpointSet, rows: int, recipe: FineTuneConfig) -> TrainingSchedule:
    """Return the schedule that matches the run's checkpoints: the configured one, or one with a fixed number of steps.

    Epoch and learning rate of every checkpoint must match; a run on a selection of the rows matches neither.
    """
    last = run.checkpoints[-1].step
    for layout in (training.schedule_training(rows, recipe), training.schedule_training(rows, recipe, last)):
        if all(_fits(c.epoch, layout.epoch(c.step)) for c in run.checkpoints) and all(
            _fits(c.learning_rate, training.learning_rate(c.step - 1, layout.steps, recipe)) for c in run.checkpoints
        ):
            steps = tuple(checkpoint.step for checkpoint in run.checkpoints)
            return TrainingSchedule(layout.steps_per_epoch, layout.steps, steps)
    raise ProvenanceError(
        f"the checkpoints of {run.uri!r} lie at other epochs or learning rates than its recipe gives for {rows} "
        "rows: it was trained on a selection of them",
        NULL_MODEL_ADVICE,
    )


def _fits(recorded: float, computed: float) -> bool:
    """Return whether a recorded number equals a computed one up to rounding."""
    return math.isclose(recorded, computed, rel_tol=1e-9, abs_tol=1e-15)


def _level_labels(work: BuildContext, levels: Levels, recipe: FineTuneConfig) -> LevelLabels | None:
    """Return the labels of all levels if the run trained a head for each of them."""
    columns = list(levels.columns)
    tables = [work.corpus.read(shard.index).select(columns) for shard in work.corpus.shards]
    return LevelLabels.read(pa.concat_tables(tables), levels).wanted(recipe)


def _log_p(network: nn.Module, inputs: dict[str, torch.Tensor], scored: slice) -> torch.Tensor:
    """Return the log-probabilities [C] of the null input, in eval mode; the model returns to training mode."""
    network.eval()
    with torch.no_grad():
        found: torch.Tensor = network(**inputs).logits[0, scored].float().log_softmax(0).cpu()
    network.train()
    return found
