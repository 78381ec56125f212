"""Scores of every row from the training of the probe and from the features: seconds for thousands of rows.

| score | what it is | range | a high value is |
| --- | --- | --- | --- |
| `probe_el2n` | EL2N ‖p − y‖₂ of the probe, mean after epochs 1 to 3 | [0, √2] | harder |
| `probe_aum` | AUM z_y − max_{c≠y} z_c of the probe, mean after each of 8 epochs | (−∞, ∞) | easier |
| `out_of_fold_confidence` | p_y of a probe that was fitted without the row | [0, 1] | easier |
| `nearest_similarity` | cosine to the nearest earlier row | [−1, 1] | easier |

Sources: Paul et al. 2021, arXiv 2107.07075 (EL2N); Pleiss et al. 2020, arXiv 2001.10528 (AUM); Northcutt et al. 2021,
arXiv 1911.00068 (out-of-fold probabilities); Abbas et al. 2023, arXiv 2303.09540 (near-duplicates). Difference: the
model is a linear probe on frozen features, not the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raysample.core.numerics.geometry import nearest_earlier
from raysample.core.numerics.logistic_regression import LogisticFit
from raysample.core.numerics.predictions import error_norms, logit_margins
from raysample.selection.probe.fitting import ProbeRows, fit_probes, strength_part

PROBE_HIGHER_IS = {
    "probe_el2n": "harder",
    "probe_aum": "easier",
    "out_of_fold_confidence": "easier",
    "nearest_similarity": "easier",
}
"""What a high value of each score means."""
INNER_FOLDS = 3
EPOCHS, EARLY_EPOCHS = 8, 3
_BATCH, _LEARNING_RATE = 64, 8.0
Scores = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of probes on rows that they were not fitted on: p_y [N], predicted class [N] and its p [N]."""

    confidence: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    predicted_confidence: npt.NDArray[np.float32]

    def take(self, places: npt.NDArray[np.int64]) -> OutOfFold:
        """Return the predictions of some rows."""
        return OutOfFold(self.confidence[places], self.predicted[places], self.predicted_confidence[places])


def probe_scores(
    rows: ProbeRows, vectors: npt.NDArray[np.floating], seed: int = 0, names: Iterable[str] = tuple(PROBE_HIGHER_IS)
) -> Scores:
    """Return scores of rows by name, [N] float32 each.

    Args:
        rows: the rows, with labels. Scores that decide a race are computed on its training rows alone.
        vectors: the features as they were before `probe_rows`, [N, D]: cosines are not those of centred features.
        seed: seed of the order of training and of the folds.
        names: the scores to compute.
    """
    wanted, result = set(names), Scores()
    if wanted & {"probe_el2n", "probe_aum"}:
        result["probe_el2n"], result["probe_aum"] = training_dynamics(rows, seed)
    if "out_of_fold_confidence" in wanted:
        result["out_of_fold_confidence"] = out_of_fold(rows, seed).confidence
    if "nearest_similarity" in wanted:
        given = torch.from_numpy(np.ascontiguousarray(vectors)).to(rows.labels.device)
        result["nearest_similarity"] = nearest_earlier(given)[0].cpu().numpy()
    return {name: result[name] for name in PROBE_HIGHER_IS if name in wanted}


def training_dynamics(rows: ProbeRows, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Train a probe (`train_probe`) and return EL2N and AUM of every row that it is trained on, [N] each."""
    return dynamics_of(train_probe(rows, seed), rows.features, rows.labels)


@dataclass(frozen=True, eq=False)
class TrainedProbe:
    """The weights of a probe after each of E epochs, [E, D, C], and its fixed bias [C]."""

    weights: Tensor
    bias: Tensor


def train_probe(rows: ProbeRows, seed: int = 0) -> TrainedProbe:
    """Train a probe by plain SGD from zeros.

    Mini-batches of 64 rows, a learning rate of 8 / mean ‖x‖², no penalty, a seeded order in each epoch; the bias is
    the logarithm of the class shares.
    """
    X, y = rows.features, rows.labels
    W = torch.zeros(X.shape[1], rows.classes, device=X.device)
    b = torch.bincount(y, minlength=rows.classes).clamp_min(1).div(len(rows)).log()
    rate = _LEARNING_RATE / max(float(X.square().sum(1).mean()), 1e-6)
    draw = np.random.Generator(np.random.Philox(key=seed))
    after = []
    for _ in range(EPOCHS):
        order = torch.from_numpy(draw.permutation(len(rows))).to(X.device)
        for start in range(0, len(rows), _BATCH):
            batch = order[start : start + _BATCH]
            x = X[batch]
            error = torch.softmax(torch.addmm(b, x, W), 1)
            error[torch.arange(len(batch), device=X.device), y[batch]] -= 1
            W.addmm_(x.T, error, alpha=-rate / len(batch))
        after.append(W.clone())
    return TrainedProbe(torch.stack(after), b)


def dynamics_of(probe: TrainedProbe, X: Tensor, y: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return EL2N and AUM of rows [N, D] by a trained probe, [N] each.

    Scores are those after an epoch, of all rows by the same weights, so they do not depend on a row's place in it.
    """
    el2n, aum = torch.zeros(len(X), device=X.device), torch.zeros(len(X), device=X.device)
    for epoch, W in enumerate(probe.weights):
        logits = torch.addmm(probe.bias, X, W)
        aum += logit_margins(logits, y) / EPOCHS
        if epoch < EARLY_EPOCHS:
            el2n += error_norms(logits, y) / EARLY_EPOCHS
    return el2n.cpu().numpy(), aum.cpu().numpy()


def inner_folds(labels: npt.NDArray[np.int64], seed: int, folds: int = INNER_FOLDS) -> npt.NDArray[np.int64]:
    """Return the fold of each row, [N]: dealt class by class, in a random order."""
    order = np.random.Generator(np.random.Philox(key=seed + 1)).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def fit_outside(rows: ProbeRows, fold: npt.NDArray[np.int64], seed: int) -> LogisticFit:
    """Fit a probe for each fold on the rows of the others, with one strength, chosen on held-out rows of the first."""
    weights = np.stack([fold != each for each in range(int(fold.max()) + 1)]).astype(np.float32)
    return fit_probes(rows, weights, strength_part(len(rows), seed))


def out_of_fold(rows: ProbeRows, seed: int = 0, folds: int = INNER_FOLDS) -> OutOfFold:
    """Return the predictions of `folds` probes, each on the rows that it was not fitted on, stratified by class."""
    fold = inner_folds(rows.labels.cpu().numpy(), seed, folds)
    return predictions_of(fit_outside(rows, fold, seed), rows.features, rows.labels, fold)


def predictions_of(fit: LogisticFit, X: Tensor, y: Tensor, fold: npt.NDArray[np.int64]) -> OutOfFold:
    """Return the predictions of rows by the probe of their fold, or by the mean of all probes for fold −1."""
    confidence, best = np.empty(len(y), np.float32), np.empty(len(y), np.float32)
    predicted = np.empty(len(y), np.int64)
    for part, logits in fit.logits(X):
        own = torch.from_numpy(fold[part]).to(logits.device)
        every = logits.softmax(2)
        p = torch.where(own[:, None] < 0, every.mean(1), every[torch.arange(len(own), device=own.device), own])
        confidence[part] = p.gather(1, y[part, None]).squeeze(1).cpu().numpy()
        top, at = p.max(1)
        best[part], predicted[part] = top.cpu().numpy(), at.cpu().numpy()
    return OutOfFold(confidence, predicted, best)
