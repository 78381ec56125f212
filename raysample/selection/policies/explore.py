"""`explore`: part of the budget by score, the rest at random, with weights that keep sums unbiased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.hard import Hard
from raysample.selection.policies.hedge import RankedInClasses, scored_then_drawn
from raysample.selection.policies.options import class_budget, number_option, read_options
from raysample.selection.policies.random import Random
from raysample.selection.policies.steps import Chain, Step, StepSize


@final
@dataclass(frozen=True)
class Explore(Chain):
    """Keep the hardest α·b of n rows; draw the other (1 − α)·b of the budget b uniformly from the rest.

    With weight 1 for the first and (n − αb) / ((1 − α)b) for the others, the weighted sum of any function of the rows
    has the sum over all rows as its expectation (Horvitz and Thompson). Calibration by randomness: Ayed and Hayou, TMLR
    2023, arXiv 2302.06960; for small budgets a score alone does worse than random sampling.

    With a quota, or the option `power`, the same holds within each class: n and b are the rows and the budget of the
    class (`hedge` with weights). Every class then keeps at least one row by lot, for the weights.
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "share": 0.6}

    share: float
    hardest: Hard | RankedInClasses
    leave: int = 0

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with options `share` = α in [0, 1) (0.5) and, for class budgets, `power` in [0, 1].

        Raises:
            SelectionError: as `hard` does, or for an invalid option.
        """
        given = read_options(arm, ("share", "power"))
        share = number_option(given, "share", 0.5, 0, 0.999)
        hard = Hard.from_arm(arm.model_copy(update={"options": {}}), higher_is)
        if arm.quota == "corpus" and "power" not in given:
            return cls(share, hard)
        weighted = arm.weights != "none"
        budget = {**class_budget(arm, given), "min_rows": 1 if weighted else None}
        return cls(share, RankedInClasses(hard.score, hard.higher_is, **budget), int(weighted))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Keep by score, then draw uniformly from the rest."""
        if isinstance(self.hardest, RankedInClasses):
            return scored_then_drawn(self.hardest, self.share, self.leave)
        name = f"the hardest {self.share:g} of the budget"
        return (
            Step(self.hardest, "keep", StepSize(of_budget=self.share), name=name),
            Step(Random(), name="by lot from the rest"),
        )

    @property
    def reweights(self) -> bool:
        """True: the randomly drawn rows represent all rows that the score did not keep."""
        return True
