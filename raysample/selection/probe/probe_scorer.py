"""Scores of any number of rows by probes that were trained on a sample of them; every row is scored out of sample.

`probe_scores` scores the rows that the probe is trained on, all at once. A corpus of 10^9 rows is scored shard by shard
instead: the sample is cut into three folds, each with a probe trained on the other two. A row of the sample is scored
by the probe that it did not train; any other row by all three, whose scores are averaged. So rows inside and outside
the sample are comparable. `nearest_similarity` needs all pairs of rows and is not among these scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from raysample.core.arrays import WordArray
from raysample.core.errors import SelectionError
from raysample.core.numerics.logistic_regression import LogisticFit
from raysample.selection.probe.fitting import ProbeRows, check_features
from raysample.selection.probe.probe_scores import (
    INNER_FOLDS,
    PROBE_HIGHER_IS,
    OutOfFold,
    Scores,
    TrainedProbe,
    dynamics_of,
    fit_outside,
    inner_folds,
    predictions_of,
    train_probe,
)

SAMPLED_SCORES = tuple(name for name in PROBE_HIGHER_IS if name != "nearest_similarity")
"""The scores that a `ProbeScorer` gives."""
NO_FOLD = -1
"""Fold of the rows that are not in the sample."""


@dataclass(frozen=True, eq=False)
class ProbeScorer:
    """Fitted probes; picklable.

    Attributes:
        rows: the sample, without its features: the axes that other rows are placed on.
        identity, fold: hashes of the sample's row ids, rising, and the fold of each, [N].
        trained: for each fold a probe trained by SGD on the other folds.
        fit: for each fold a logistic regression on the other folds.
    """

    rows: ProbeRows
    identity: WordArray
    fold: npt.NDArray[np.int64]
    trained: tuple[TrainedProbe, ...]
    fit: LogisticFit

    @staticmethod
    def of(rows: ProbeRows, identity: WordArray, seed: int = 0) -> ProbeScorer:
        """Fit the probes on a sample of rows with the given hashes of their ids, [N].

        Raises:
            SelectionError: the first probe has no rows to choose its strength by.
        """
        fold = inner_folds(rows.labels.cpu().numpy(), seed)
        parts = [rows.take(np.flatnonzero(fold != each)) for each in range(INNER_FOLDS)]
        trained = tuple(train_probe(part, seed) for part in parts)
        order = np.argsort(identity)
        bare = rows.take(np.zeros(0, np.int64))
        return ProbeScorer(bare, identity[order], fold[order], trained, fit_outside(rows, fold, seed))

    def score(
        self,
        vectors: npt.NDArray[np.floating],
        labels: npt.NDArray[np.integer],
        identity: WordArray,
        names: Iterable[str] = SAMPLED_SCORES,
    ) -> tuple[Scores, OutOfFold]:
        """Return the scores of rows by name, [N] each, and their predictions.

        Args:
            vectors: features [N, D] as they were before `probe_rows`.
            labels: [N]. identity: hashes of the row ids, [N].
            names: the scores to compute.

        Raises:
            SelectionError: a score is not among SAMPLED_SCORES, or features are not finite.
        """
        wanted = set(names)
        if wanted - set(SAMPLED_SCORES):
            raise SelectionError(
                f"{min(wanted - set(SAMPLED_SCORES))!r} is no score of single rows",
                f"choose from {', '.join(SAMPLED_SCORES)}",
            )
        check_features(vectors)
        X, fold = self.rows.placed(vectors), self._folds(identity)
        y = torch.from_numpy(labels.astype(np.int64)).to(X.device)
        found = predictions_of(self.fit, X, y, fold)
        every = Scores(out_of_fold_confidence=found.confidence)
        if wanted & {"probe_el2n", "probe_aum"}:
            by_fold = np.stack([np.stack(dynamics_of(probe, X, y)) for probe in self.trained])
            own = by_fold[fold, :, np.arange(len(fold))]
            chosen = np.where((fold == NO_FOLD)[:, None], by_fold.mean(0).T, own)
            every |= {"probe_el2n": chosen[:, 0], "probe_aum": chosen[:, 1]}
        return {name: every[name] for name in SAMPLED_SCORES if name in wanted}, found

    def _folds(self, identity: WordArray) -> npt.NDArray[np.int64]:
        """Return the fold of each row, NO_FOLD for rows that are not in the sample."""
        place = np.minimum(np.searchsorted(self.identity, identity), len(self.identity) - 1)
        return np.where(self.identity[place] == identity, self.fold[place], NO_FOLD)
