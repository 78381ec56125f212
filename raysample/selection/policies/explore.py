"""`explore`: part of the budget by score, the rest at random, with weights that keep sums unbiased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.hard import Hard
from raysample.selection.policies.options import number_option, only_corpus, read_options
from raysample.selection.policies.random import Random
from raysample.selection.policies.steps import Chain, Step, StepSize


@final
@dataclass(frozen=True)
class Explore(Chain):
    """Keep the hardest α·b of n rows; draw the other (1 − α)·b of the budget b uniformly from the rest.

    With weight 1 for the first and (n − αb) / ((1 − α)b) for the others, the weighted sum of any function of the rows
    has the sum over all rows as its expectation (Horvitz and Thompson). Calibration by randomness: Ayed and Hayou, TMLR
    2023, arXiv 2302.06960; for small budgets a score alone does worse than random sampling.
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "share": 0.6}

    share: float
    hardest: Hard
    drawn: Random

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return it with option `share` = α in [0, 1) (0.5); raises SelectionError as `hard` does, and for a quota."""
        only_corpus(arm, normalise=False)
        share = number_option(read_options(arm, ("share",)), "share", 0.5, 0, 0.999)
        return cls(share, Hard.from_arm(arm.model_copy(update={"options": {}}), higher_is), Random())

    @property
    def steps(self) -> tuple[Step, ...]:
        """Keep by score, then draw uniformly from the rest."""
        return (
            Step(
                self.hardest, "keep", StepSize(of_budget=self.share), name=f"the hardest {self.share:g} of the budget"
            ),
            Step(self.drawn, name="by lot from the rest"),
        )

    @property
    def reweights(self) -> bool:
        """True: the randomly drawn rows represent all rows that the score did not keep."""
        return True
