"""The data that a score needs beyond the visited model: a null model, target directions, features of other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raysample.core import storage

FEATURE_SAMPLE_ROWS = 10_000
"""Default sample size of the scores on features, in rows of the corpus."""

CLUSTERS = 0
"""Default number of feature centres, 0 for one per class; equal for all scores, so that they share one reference."""

ReferenceKind = Literal["null_model", "priors", "target_gradient", "inverse_hessian", "features"]


@dataclass(frozen=True)
class Reference:
    """Data that is prepared once, before scoring, and read at every checkpoint.

    The kinds, and the tensors in `Artifacts.reference[key]` at a checkpoint (C classes, H feature dims):

    * `null_model`: `log_p` [C], ln of the class probabilities of a model trained without inputs, at that step.
    * `priors`: `log_p` [C], ln of the class shares of the scored corpus; `-inf` for a class without rows.
    * `target_gradient`, `inverse_hessian`: no tensors; the dot products of each example with the directions are in
      `Artifacts.grad_dots[key]` [B, M].
    * `features`: `features` [R, H], `labels` [R] and `keys` [R] of a seeded sample of the scored corpus, and statistics
      of them: `centres` [k, H] (k-means of the normalised features) and `medians` [C, H] (NaN for a class without
      rows).

    Attributes:
        kind: the kind.
        options: (name, value) pairs sorted by name, all JSON-able; part of the reference's identity.
    """

    kind: ReferenceKind
    options: tuple[tuple[str, Any], ...] = ()

    @staticmethod
    def from_options(kind: ReferenceKind, **options: Any) -> Reference:
        """Return the reference of a kind with options."""
        return Reference(kind, tuple(sorted(options.items())))

    @property
    def key(self) -> str:
        """Its name in the artifacts: the kind, and a hash of the options if there are any."""
        return f"{self.kind}-{storage.fingerprint(list(self.options))[:8]}" if self.options else self.kind

    @property
    def of_corpus(self) -> bool:
        """Whether it is computed from the scored corpus, so that a row's score depends on other rows."""
        return self.kind != "target_gradient"

    @property
    def given(self) -> Mapping[str, Any]:
        """The options by name."""
        return dict(self.options)
