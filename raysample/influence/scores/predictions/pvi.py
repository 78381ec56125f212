"""PVI: how many bits the text adds to what is known about the label without it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from raysample.core.errors import ScoreError
from raysample.core.numerics.predictions import cross_entropies
from raysample.influence.scores.base import MeanScore
from raysample.influence.scores.reference import Reference
from raysample.influence.scores.window import EARLY, CheckpointWindow
from raysample.influence.visits.artifacts import Artifacts


def pvi(logits: Tensor, labels: Tensor, null: Tensor) -> Tensor:
    """Return log₂ p_y − log₂ p⁰_y in bits, in (−∞, −log₂ p⁰_y], [B].

    Logits [B, C], labels [B], and ln p⁰ in nats of the model without input, [C].
    """
    return -(cross_entropies(logits, labels) + null[labels]) / math.log(2)


@final
@dataclass(frozen=True)
class Pvi(MeanScore):
    """Pointwise V-information: mean over the checkpoints of log₂ p_y(x) − log₂ p_y(∅), in bits.

    Range (−∞, −log₂ p_y(∅)]; high is easier, negative where the text speaks against the label. Its mean over rows is
    the V-information H_V(Y) − H_V(Y|X). Within a class it ranks as −`loss` does at the same checkpoint; for two classes
    also as −`el2n`.

    `null: trained` is a model fine-tuned like the other, on empty texts, and taken at the same step. `null: prior` is
    what it converges to, the class shares of the scored corpus, at no cost.

    Designed for: after two epochs (both models), where the V-information is largest; the mean of ten runs in
    arXiv 2311.16298.

    Source: Ethayarajh, Choi and Swayamdipta, ICML 2022, arXiv 2110.08420, definition 3.1.

    What differs: the checkpoints of epochs 1 to 3 are averaged, as for `el2n`. Scored on the training rows, it does not
    estimate the V-information of held-out ones.
    """

    name: ClassVar[str] = "pvi"
    higher_is: ClassVar[Literal["harder", "easier"]] = "easier"
    designed_runs: ClassVar[int] = 10

    checkpoints: CheckpointWindow = EARLY
    null: Literal["trained", "prior"] = "trained"

    @property
    def references(self) -> tuple[Reference, ...]:
        """The null model's probabilities at each checkpoint, or the class shares."""
        return (Reference.from_options("null_model" if self.null == "trained" else "priors"),)

    def at_checkpoint(self, seen: Artifacts) -> Tensor:
        """Return the PVI at one checkpoint, [B]; raises ScoreError for a label that the null cannot predict."""
        null = seen.reference[self.references[0].key]["log_p"]
        missing = seen.labels[~null.isfinite()[seen.labels]]
        if len(missing):
            raise ScoreError(
                f"score 'pvi': without the text, class {int(missing[0])} has the log-probability "
                f"{float(null[missing[0]]):g}, and no number of bits makes up for that",
                "score the corpus that the class shares were counted on (null: prior), or see why the training on "
                "empty texts failed (null: trained)",
            )
        return pvi(seen.logits, seen.labels, null)
