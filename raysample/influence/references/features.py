"""`features`: the classifier inputs of a sample of rows, and landmarks computed from them.

Centres and class medians.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from raysample import training
from raysample.core.arrays import IntArray
from raysample.core.errors import ScoreError
from raysample.core.numerics.batches import token_batches
from raysample.core.numerics.halving import map_in_halves
from raysample.data.checkpoint_set import Checkpoint
from raysample.data.row_sampling import row_keys, sample_corpus
from raysample.influence.references.build_context import BuildContext, Notes, among, reference_options
from raysample.influence.references.clusters import spherical_kmeans
from raysample.influence.references.folder import Tensors
from raysample.influence.references.rows import tokenize_rows
from raysample.influence.scores.reference import CLUSTERS, FEATURE_SAMPLE_ROWS, Reference
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.visit import collect
from raysample.training import Examples

FEATURE_DEFAULTS = {"rows": FEATURE_SAMPLE_ROWS, "clusters": CLUSTERS, "seed": 0, "at": "last"}


def build_features(work: BuildContext, reference: Reference, notes: Notes) -> Iterator[tuple[int, Tensors]]:
    """Yield features, centres and medians of a seeded sample of R rows of the scored corpus at a checkpoint.

    * `features` [R, H] float32, the classifier's inputs in eval mode; `labels` [R] int64; `keys` [R] int64, `row_keys`;
    * `centres` [k, H], unit vectors: spherical k-means of the normalised features, in a fixed order;
    * `medians` [C, H], per class and coordinate (the mean of the middle two for an even count); NaN for a class without
      rows.

    Options: `rows`, the sample size (the rows with the smallest seeded id hashes); `clusters` k, 0 for one per class, R
    at most; `seed` of the sample and of k-means; `at`: `last` for the last checkpoint only, or `all`.

    Raises:
        ScoreError: features are not finite.
    """
    given = reference_options(reference, FEATURE_DEFAULTS)
    among(reference, "at", given["at"], ("last", "all"))
    classes = len(work.run.labels)
    data = tokenize_rows(sample_corpus(work.corpus, given["rows"], given["seed"]), work.tokenizer(), work.request.model)
    clusters = min(given["clusters"] or classes, len(data))
    notes.update(rows=len(data), clusters=clusters)
    keys = torch.from_numpy(row_keys(data.ids).copy())
    for checkpoint in work.run.checkpoints if given["at"] == "all" else work.run.checkpoints[-1:]:
        features = _features(work, checkpoint, data)
        yield (
            checkpoint.step,
            {
                "features": features,
                "labels": torch.from_numpy(data.labels),
                "keys": keys,
                "centres": _centres(features, clusters, given["seed"]),
                "medians": class_medians(features, data.labels, classes),
            },
        )


def _features(work: BuildContext, at: Checkpoint, data: Examples) -> Tensor:
    """Return the features [R, H] at a checkpoint; raises ScoreError if any is not finite."""
    network = work.model(at)
    found = collect_features(network, data, work.request.batch_tokens, work.device, work.autocast(network))
    if not bool(found.isfinite().all()):
        raise ScoreError(f"features at step {at.step} are not finite", "score in float32; check the checkpoint")
    return found


def collect_features(
    network: nn.Module, data: Examples, batch_tokens: int, device: str, autocast: torch.dtype | None
) -> Tensor:
    """Return the classifier's inputs of all rows, [R, H] float32 on the CPU, in row order."""

    def visit(batch: IntArray) -> Tensor:
        """Return the features of the rows at some positions, [B, H] float32 on the CPU."""
        inputs, labels = training.batch(data, batch, device)
        seen = collect(network, inputs, labels, Need.LOGITS | Need.FEATURES, autocast=autocast)
        assert seen.features is not None
        return seen.features.float().cpu()

    batches = list(token_batches(data.encoded.lengths, batch_tokens))
    visited = torch.cat([piece for batch in batches for piece in map_in_halves(visit, batch)])
    return visited[torch.from_numpy(np.argsort(np.concatenate(batches)))]


def _centres(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the k-means centres [k, H] float32 of the normalised features, computed in float64."""
    units = functional.normalize(features.double(), dim=1).numpy()
    return torch.from_numpy(spherical_kmeans(units, clusters, seed)).float()


def class_medians(features: Tensor, labels: NDArray[np.int64], classes: int) -> Tensor:
    """Return the median of each class in each coordinate, [C, H] float32; NaN for a class without rows."""
    values = features.double().numpy()
    rows = [values[labels == label] for label in range(classes)]
    nothing = np.full(values.shape[1], np.nan)
    return torch.from_numpy(np.stack([np.median(r, axis=0) if len(r) else nothing for r in rows])).float()
