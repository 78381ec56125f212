"""One training of a pilot: an encoder is fine-tuned on one selection of a part of the rows and judged on other rows.

The head starts at the probe that was fitted on the same selection and the encoder's frozen vectors (linear probing,
then fine-tuning: Kumar et al. 2022, arXiv 2202.10054). A head of random weights needs hundreds of steps, which a part
of the rows does not give: its noise between seeds hides every difference between two selections.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from raysample import models
from raysample.core import storage
from raysample.core.arrays import IntArray
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.precision import autocast, device, resolve
from raysample.models.pooled_classifier import PooledClassifier, build_encoder, unit_mean
from raysample.selection.probe.fitting import LEAST_PROBABILITY, ProbeRows, fit_probes, probe_rows, strength_part
from raysample.training.examples import Examples, batch
from raysample.training.loop import train
from raysample.training.losses import class_weights
from raysample.training.prediction import predict
from raysample.training.schedule import DistributedContext, schedule_training

_BATCH_TOKENS = 4_096


@dataclass(frozen=True, eq=False)
class PilotTraining:
    """What a worker needs for one training of a pilot; picklable.

    Attributes:
        rows: URI of a Parquet file with row_id, text, text_pair and label (integers).
        labels: names of the C classes.
        model: the encoder. recipe: its fine-tuning.
        part: places in the file of the rows that selections are drawn from, [P].
        weights: of the incumbent's selection and of the selection to train on, [2, P], 0 for pruned rows. The incumbent
            chooses the penalty of the probe that the head starts at, as in a race.
        judged: places in the file of the rows to predict, [J].
        seed: of the order of the rows and of dropout.
    """

    rows: str
    labels: tuple[str, ...]
    model: ModelConfig
    recipe: FineTuneConfig
    part: IntArray
    weights: npt.NDArray[np.float32]
    judged: IntArray
    seed: int

    def __call__(self) -> PilotRun:
        """Train and predict; raises ModelError for an encoder that cannot be loaded, TrainingError as `train`."""
        where = device()
        part, judged = (_examples(self.rows, self.model, rows) for rows in (self.part, self.judged))
        probed = self._probed(part, where)
        fit = fit_probes(probed, self.weights, strength_part(len(part), self.seed))
        weight, bias = _on_vectors(fit.coefficients[1], probed)
        network = PooledClassifier(build_encoder(self.model), weight, bias).to(where)
        kept = np.flatnonzero(self.weights[1])
        rows = self._weighted(part.take(kept), self.weights[1][kept])
        recipe = self.recipe.model_copy(update={"seed": self.seed, "early_stopping": None})
        layout = schedule_training(len(rows), recipe)
        began = time.perf_counter()
        train(network, rows, recipe, layout, DistributedContext(device=where))
        seconds = time.perf_counter() - began
        logits = predict(network, judged, where, resolve(recipe.precision, network, where))
        return _judged(logits, judged.labels, seconds / (layout.steps * min(len(rows), recipe.batch_size)))

    def _probed(self, part: Examples, where: str) -> ProbeRows:
        """Return the part's rows as the probe sees them."""
        encoder = build_encoder(self.model).to(where).eval()
        dtype = resolve(self.recipe.precision, encoder, where)
        vectors = np.empty((len(part), int(encoder.config.hidden_size)), np.float32)  # type: ignore[union-attr, arg-type]
        with torch.inference_mode(), autocast(where, dtype):
            for rows in token_batches(part.encoded.lengths, _BATCH_TOKENS):
                inputs, _ = batch(part, rows, where)
                states = encoder(**inputs).last_hidden_state
                vectors[rows] = unit_mean(states, inputs["attention_mask"]).cpu().numpy()
        return probe_rows(vectors, part.labels, len(self.labels))

    def _weighted(self, rows: Examples, weights: npt.NDArray[np.float32]) -> Examples:
        """Return rows with the weights of the selection, times those of their classes if the recipe has such."""
        if self.recipe.class_weights is not None:
            weights = weights * class_weights(self.recipe.class_weights, rows.labels, self.labels)
        return rows.weighted(weights)


@dataclass(frozen=True, eq=False)
class PilotRun:
    """Predictions of the judged rows, in the order in which they were given.

    Attributes:
        loss: log-loss in nats, at most −ln 1e-6, [J] float32. predicted: classes [J].
        seconds_per_row: seconds of forward, backward and optimiser for one row.
    """

    loss: npt.NDArray[np.float32]
    predicted: IntArray
    seconds_per_row: float


def _on_vectors(coefficients: Tensor, rows: ProbeRows) -> tuple[Tensor, Tensor]:
    """Return W [C, H] and b [C] on an encoder's vectors, of a probe's coefficients [H + 1, C] on principal axes."""
    weight = rows.axes.float() @ coefficients[:-1].float()
    return weight.T, coefficients[-1].float() - rows.mean.float() @ weight


def _judged(logits: npt.NDArray[np.float64], labels: IntArray, seconds_per_row: float) -> PilotRun:
    """Return losses and predictions from logits [J, C]."""
    z, y = torch.from_numpy(logits), torch.from_numpy(labels)
    loss = torch.nn.functional.cross_entropy(z, y, reduction="none").clamp(max=-math.log(LEAST_PROBABILITY))
    return PilotRun(loss.float().numpy(), z.argmax(1).numpy(), seconds_per_row)


def _examples(uri: str, model: ModelConfig, places: IntArray) -> Examples:
    """Return some rows of a file, tokenised."""
    table = _read(uri).take(pa.array(places))
    tokenizer = models.tokenizer(model.path, trust_remote_code=model.trust_remote_code)
    ids, labels = table["row_id"].to_numpy(zero_copy_only=False), table["label"].to_numpy().astype(np.int64)
    return Examples(models.encode(tokenizer, table, model), labels, int(tokenizer.pad_token_id), ids)


@lru_cache(maxsize=1)
def _read(uri: str) -> pa.Table:
    """Read a file; cached, since a worker trains many times on parts of it."""
    return storage.read_parquet(uri)
