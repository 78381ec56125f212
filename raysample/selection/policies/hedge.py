"""`hedge`: stratified random sampling, with a share of each class's budget chosen by score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.base import Higher
from raysample.selection.policies.class_power import ClassPower
from raysample.selection.policies.options import (
    class_budget,
    direction,
    no_normalisation,
    number_option,
    read_options,
    which_end,
)
from raysample.selection.policies.quotas import PowerBudgeted, Quota
from raysample.selection.policies.ranked import Ranked
from raysample.selection.policies.steps import Chain, QuotaShare, Step


@dataclass(frozen=True)
class RankedInClasses(PowerBudgeted, Ranked):
    """The head of each class's ranking; `end` is the kept end, `power` that of the class sizes in the class budgets."""

    quota: Quota = "proportional"
    end: Higher = "harder"
    power: float = 1.0

    @property
    def keeps(self) -> Higher:
        """The kept end."""
        return self.end


def scored_then_drawn(head: RankedInClasses, share: float, leave: int) -> tuple[Step, ...]:
    """Return two steps: a share of every class's budget goes to the head of its ranking, the rest by lot.

    Class c with budget q_c of its n_c rows keeps its first k_c ≈ share · q_c rows (Σ k_c = round(share · Σ q_c), by
    largest remainder) and draws q_c − k_c of the other n_c − k_c. `leave`: rows of q_c that are left to the draw,
    unless the class is kept whole.
    """
    drawn = ClassPower(min_rows=head.min_rows, power=head.power)
    if not share:
        return (Step(drawn),)
    end = "hardest" if head.end == "harder" else "easiest"
    first = Step(head, "keep", name=f"the {end} {share:g} of each class's budget", quota_share=QuotaShare(share, leave))
    return (first, Step(drawn, name="by lot from the rest", quota_share=QuotaShare()))


@final
@dataclass(frozen=True)
class Hedge(Chain):
    """Keep the hardest α q_c rows of each class, q_c its budget; draw the other (1 − α) q_c from its other rows.

    α = `share`. The class counts are those of `stratified_random` (or of `class_power`, with `power`) for every α. At
    α = 0 the policy is `stratified_random` of the same seed, at α = 1 `hard` with `quota: proportional`. Rising α can
    be tested in turn against stratified random sampling without correction, up to the first that is not better
    (fixed-sequence testing: Westfall and Krishen, J. Stat. Plan. Inference 99 (2001)). The mixture of scored and random
    rows is that of `explore` (arXiv 2302.06960), with budgets per class and without weights, which the arm's
    `weights: unbiased` adds.

    Attributes:
        share: α. head: ranking and class budgets. leave: rows of each class's budget that are always drawn.

    >>> from raysample.selection import choose_rows
    >>> from raysample.selection.policies.base import Rows
    >>> rows = Rows.from_columns([f"row {i}" for i in range(100)], [0] * 80 + [1] * 20, {"loss": range(100)})
    >>> arm = ArmConfig(policy="hedge", score="loss", share=0.25)
    >>> kept = choose_rows([rows], Hedge.from_arm(arm, {"loss": "harder"}), budget=40)[0]
    >>> int(kept[:80].sum()), int(kept[80:].sum())  # as the classes
    (32, 8)
    >>> bool(kept[72:80].all()), bool(kept[98:].all())  # the hardest quarter of each budget
    (True, True)
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "share": 0.4}

    share: float
    head: RankedInClasses
    leave: int = 0

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with options `share` in [0, 1] (0.3), `keeps` (harder) and `power` in [0, 1] (1).

        Raises:
            SelectionError: no score of known direction, or an invalid option.
        """
        given = read_options(arm, ("share", "keeps", "power"))
        no_normalisation(arm)
        head = RankedInClasses(*direction(arm, arm.score, higher_is), end=which_end(given), **class_budget(arm, given))
        return cls(number_option(given, "share", 0.3, 0, 1), head, int(arm.weights == "unbiased"))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Keep by score, then draw uniformly from the rest of each class."""
        return scored_then_drawn(self.head, self.share, self.leave)
