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

from raysample.core.numerics.geometry import nearest_earlier
from raysample.core.numerics.predictions import error_norms, logit_margins
from raysample.selection.automatic.probe import ProbeRows, fit_probes, strength_part

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
    """Train a probe by plain SGD from zeros and return EL2N and AUM of every row, [N] each.

    Mini-batches of 64 rows, a learning rate of 8 / mean ‖x‖², no penalty, a seeded order in each epoch; the bias is
    the logarithm of the class shares. Scores are taken after an epoch, of all rows by the same weights, so they do not
    depend on a row's place in the epoch.
    """
    X, y = rows.features, rows.labels
    W = torch.zeros(X.shape[1], rows.classes, device=X.device)
    b = torch.bincount(y, minlength=rows.classes).clamp_min(1).div(len(rows)).log()
    rate = _LEARNING_RATE / max(float(X.square().sum(1).mean()), 1e-6)
    el2n, aum = torch.zeros(len(rows), device=X.device), torch.zeros(len(rows), device=X.device)
    draw = np.random.Generator(np.random.Philox(key=seed))
    for epoch in range(EPOCHS):
        order = torch.from_numpy(draw.permutation(len(rows))).to(X.device)
        for start in range(0, len(rows), _BATCH):
            batch = order[start : start + _BATCH]
            x = X[batch]
            error = torch.softmax(torch.addmm(b, x, W), 1)
            error[torch.arange(len(batch), device=X.device), y[batch]] -= 1
            W.addmm_(x.T, error, alpha=-rate / len(batch))
        logits = torch.addmm(b, X, W)
        aum += logit_margins(logits, y) / EPOCHS
        if epoch < EARLY_EPOCHS:
            el2n += error_norms(logits, y) / EARLY_EPOCHS
    return el2n.cpu().numpy(), aum.cpu().numpy()


def out_of_fold(rows: ProbeRows, seed: int = 0, folds: int = INNER_FOLDS) -> OutOfFold:
    """Return the predictions of `folds` probes, each on the rows that it was not fitted on, stratified by class.

    One strength for all, chosen on held-out rows of the first.
    """
    labels = rows.labels.cpu().numpy()
    draw = np.random.Generator(np.random.Philox(key=seed + 1))
    # Rows are dealt to the folds class by class, in a random order.
    order = draw.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    weights = np.stack([fold != each for each in range(folds)]).astype(np.float32)
    fit = fit_probes(rows, weights, strength_part(len(labels), seed))
    confidence, best = np.empty(len(labels), np.float32), np.empty(len(labels), np.float32)
    predicted = np.empty(len(labels), np.int64)
    for part, logits in fit.logits(rows.features):
        own = torch.from_numpy(fold[part]).to(logits.device)
        p = logits[torch.arange(len(own), device=logits.device), own].softmax(1)
        confidence[part] = p.gather(1, rows.labels[part, None]).squeeze(1).cpu().numpy()
        top, at = p.max(1)
        best[part], predicted[part] = top.cpu().numpy(), at.cpu().numpy()
    return OutOfFold(confidence, predicted, best)
