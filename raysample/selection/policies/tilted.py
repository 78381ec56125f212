"""`tilted`: draw rows with weights that rise exponentially with their standardised difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

from scipy import special

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import (
    Chance,
    GlobalStatistics,
    Grouping,
    Rows,
    drawn_key,
    hash_uniform,
)
from raysample.selection.policies.options import (
    class_budget,
    named_option,
    no_normalisation,
    number_option,
    read_options,
    which_end,
)
from raysample.selection.policies.quotas import PowerBudgeted
from raysample.selection.policies.weighted import Doubles, Weighted, gumbel_key


def normal_scores(rank: Doubles) -> Doubles:
    """Return Φ⁻¹(r) of ranks r in (0, 1), [n]: the values of a standard normal sample with these ranks.

    >>> import numpy as np
    >>> normal_scores(np.array([0.025, 0.5, 0.975])).round(2).tolist()
    [-1.96, 0.0, 1.96]
    """
    scores: Doubles = special.ndtri(rank)
    return scores


@final
@dataclass(frozen=True)
class Tilted(PowerBudgeted, Weighted):
    """Weight: exp(θ u), θ = `strength` >= 0, u the standardised score with the preferred end high.

    By rank (the default), u = Φ⁻¹(r), r the row's rank in its class, exact to 1/8192: outliers and the scale of the
    score have no effect. By score, u is the z-score, as in `softmax` with temperature 1/θ. Exponential tilting
    (Esscher, Skand. Aktuarietidskr. 15 (1932)): where few rows are kept, their u by rank is normal with mean θ instead
    of 0. At θ = 0 the policy is `stratified_random` of the same seed, at a large θ `hard` with `quota: proportional`.
    Draws of one seed share their random numbers over all θ, so similar strengths keep similar rows. Drawn without
    replacement (Efraimidis and Spirakis, Inf. Process. Lett. 97 (2006)).

    With `within: corpus` all rows compete for one budget, and ranks are those in the corpus: θ = 0 is then `random`.
    Rows that may be wrongly labelled are dropped first by the arm's `drop_suspects`.

    Attributes:
        score, higher_is, keeps: as in `Weighted`. normalise: what scores are standardised within, `class` or `corpus`.
        quota: `proportional` makes the classes strata. min_rows, max_rows: bounds of rows per class then.
        power: of the class sizes, for the class budgets. strength: θ. by: `rank` or `score`.

    >>> from raysample.selection import choose_rows
    >>> rows = Rows.from_columns([f"row {i}" for i in range(1000)], [0] * 1000, {"loss": range(1000)})
    >>> arm = ArmConfig(policy="tilted", score="loss", strength=1)
    >>> kept = choose_rows([rows], Tilted.from_arm(arm, {"loss": "harder"}), budget=500)[0]
    >>> bool(kept[:250].mean() < 0.35), bool(kept[750:].mean() > 0.7)
    (True, True)
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "strength": 0.7}

    power: float = 1.0
    strength: float = 1.0
    by: Literal["rank", "score"] = "rank"

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy.

        Options: `strength` >= 0 (1), `by` (`rank` or `score`), `within` (`class` or `corpus`), `keeps` (harder) and,
        within classes, `power` in [0, 1] (1).

        Raises:
            SelectionError: no score of known direction, an invalid option, or class budgets with `within: corpus`.
        """
        given = read_options(arm, ("strength", "by", "within", "keeps", "power"))
        no_normalisation(arm)
        within = named_option(given, "within", ("class", "corpus"))
        if within == "corpus" and (arm.quota != "corpus" or "power" in given):
            raise SelectionError(
                f"policy {arm.policy!r} with within: corpus has one budget for all rows, got {_class_budgets(arm)}",
                "leave it out, or set within: class",
            )
        quota = "proportional" if within == "class" else "corpus"
        plain = super().from_arm(arm.model_copy(update={"normalise": within, "quota": quota}), higher_is)
        return replace(plain, **class_budget(arm, given)) if within == "class" else plain

    @staticmethod
    def own(arm: ArmConfig) -> dict[str, Any]:
        """`strength` from 0 to 1e6 (1), `by` (rank), `keeps` (harder)."""
        return {
            "strength": number_option(arm.options, "strength", 1.0, 0, 1e6),
            "by": named_option(arm.options, "by", ("rank", "score")),
            "keeps": which_end(arm.options),
        }

    @property
    def moments_over(self) -> Grouping:
        """The classes or the corpus, by score; nothing by rank."""
        return self.normalise if self.by == "score" and self.strength else "none"

    @property
    def ranked(self) -> tuple[str, ...]:
        """The score, by rank."""
        return (self.score,) if self.by == "rank" and self.strength else ()

    @property
    def ranked_over(self) -> Grouping:
        """The classes or the corpus."""
        return self.normalise

    @property
    def chance(self) -> Chance:
        """Drawn by weight; uniformly without strength."""
        return "weight" if self.strength else "lot"

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> Doubles:
        """Return θ u."""
        if self.by == "score":
            return self.values(rows, facts).astype("float64") * self.strength
        rank = facts.ranks[self.score](rows.scores[self.score], rows.label if self.normalise == "class" else None)
        return normal_scores(rank if self.higher_is == self.keeps else 1 - rank) * self.strength

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return θ u + Gumbel noise that rises with the row's hash; the hash alone if θ = 0."""
        if not self.strength:
            return drawn_key(rows, facts)
        return gumbel_key(self.log_weight(rows, facts), rows, facts, hash_uniform)


def _class_budgets(arm: ArmConfig) -> str:
    """Return the setting by which an arm gives classes budgets of their own, as text."""
    return f"quota: {arm.quota}" if arm.quota != "corpus" else f"power: {arm.options['power']!r}"
