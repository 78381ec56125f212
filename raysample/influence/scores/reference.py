"""What a score needs from elsewhere than the visited model: a null model, target directions, features of other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raysample.core import storage

SAMPLE = 10_000
"""How many rows of the corpus scores on features look at, where they are not told otherwise."""

CLUSTERS = 0
"""How many centres of the features there are then: one per class. Alike for all scores, which so share a reference."""

Kind = Literal["null_model", "priors", "target_gradient", "inverse_hessian", "features"]


@dataclass(frozen=True)
class Reference:
    """One thing that is prepared once, before the scoring, and read at every checkpoint.

    The kinds, and the tensors that a checkpoint's `Artifacts.reference[key]` then holds (C classes, H feature dims):

    * `null_model`: `log_p` [C], ln of the class probabilities that a model trained without inputs gives at that step.
    * `priors`: `log_p` [C], ln of the class shares of the scored corpus; `-inf` for a class without a row.
    * `target_gradient`, `inverse_hessian`: nothing there; each example's dot products with the directions are in
      `Artifacts.grad_dots[key]` [B, M].
    * `features`: `features` [R, H], `labels` [R] and `keys` [R] of a seeded sample of the scored corpus, and what was
      made of them: `centres` [k, H] (k-means of the unit features) and `medians` [C, H] (NaN for a class not there).

    Attributes:
        kind: which.
        options: (name, value) pairs in the order of the names, all JSON-able; part of the reference's identity.
    """

    kind: Kind
    options: tuple[tuple[str, Any], ...] = ()

    @staticmethod
    def from_options(kind: Kind, **options: Any) -> Reference:
        """Return the reference of a kind with options."""
        return Reference(kind, tuple(sorted(options.items())))

    @property
    def key(self) -> str:
        """Its name among the artifacts: the kind, and a hash of the options where there are any."""
        return f"{self.kind}-{storage.fingerprint(list(self.options))[:8]}" if self.options else self.kind

    @property
    def of_corpus(self) -> bool:
        """Whether it is made of the scored corpus, so that a row's score depends on other rows of it."""
        return self.kind != "target_gradient"

    @property
    def given(self) -> Mapping[str, Any]:
        """The options by name."""
        return dict(self.options)
