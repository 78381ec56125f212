"""SCORES: the built-in scores by name. A new one is a file of its own and one line here."""

from __future__ import annotations

from typing import Any

from raysample.core.errors import ScoreError
from raysample.core.registry import Registry
from raysample.influence.scores.base import Score
from raysample.influence.scores.features.knn_label_disagreement import KnnLabelDisagreement
from raysample.influence.scores.features.moderate import Moderate
from raysample.influence.scores.features.prototype import Prototype
from raysample.influence.scores.gradients.grand import Grand
from raysample.influence.scores.gradients.grand_last import GrandLast
from raysample.influence.scores.gradients.influence import Influence
from raysample.influence.scores.gradients.tracin_self import TracinSelf
from raysample.influence.scores.gradients.tracin_target import TracinTarget
from raysample.influence.scores.gradients.vog import Vog
from raysample.influence.scores.predictions.aum import Aum
from raysample.influence.scores.predictions.confidence import Confidence
from raysample.influence.scores.predictions.correctness import Correctness
from raysample.influence.scores.predictions.dual import Dual
from raysample.influence.scores.predictions.dyn_unc import DynUnc
from raysample.influence.scores.predictions.el2n import El2n
from raysample.influence.scores.predictions.entropy import Entropy
from raysample.influence.scores.predictions.forgetting import Forgetting
from raysample.influence.scores.predictions.loss import Loss
from raysample.influence.scores.predictions.margin import Margin
from raysample.influence.scores.predictions.pvi import Pvi
from raysample.influence.scores.predictions.tdds import Tdds
from raysample.influence.scores.predictions.variability import Variability

SCORES: dict[str, type[Score[Any]]] = {
    "vog": Vog,
    "grand": Grand,
    "grand_last": GrandLast,
    "tracin_self": TracinSelf,
    "tracin_target": TracinTarget,
    "influence": Influence,
    "el2n": El2n,
    "loss": Loss,
    "entropy": Entropy,
    "margin": Margin,
    "confidence": Confidence,
    "variability": Variability,
    "correctness": Correctness,
    "forgetting": Forgetting,
    "aum": Aum,
    "pvi": Pvi,
    "dyn_unc": DynUnc,
    "tdds": Tdds,
    "dual": Dual,
    "prototype": Prototype,
    "moderate": Moderate,
    "knn_label_disagreement": KnnLabelDisagreement,
}

SCORE_REGISTRY: Registry[Score[Any]] = Registry("score", Score, SCORES, ScoreError, required=("name", "higher_is"))
"""Leads from a name in a configuration to a class: a built-in score, a dotted path, or an entry point."""
