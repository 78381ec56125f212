"""`class_power`: draw rows uniformly within each class, with class budgets by a power of class size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.drawn import Drawn
from raysample.selection.policies.options import class_budget, read_options
from raysample.selection.policies.quotas import PowerBudgeted, Quota


@final
@dataclass(frozen=True)
class ClassPower(PowerBudgeted, Drawn):
    """Class c of n_c rows keeps min(n_c, λ n_c^p) of them, drawn uniformly; λ such that the sum is the budget.

    p = `power` in [0, 1]: 1 is `stratified_random`, 0 the same count of every class (`quota: balanced`), 0.5 is
    square-root sampling (Mahajan et al., ECCV 2018, arXiv 1805.00932; Kang et al., ICLR 2020, arXiv 1910.09217,
    equation 1). These draw with replacement; here a class keeps each row once at most, and the others share the rest.

    >>> from raysample.selection import choose_rows
    >>> from raysample.selection.policies.base import Rows
    >>> label = [0] * 64 + [1] * 16
    >>> rows = Rows.from_columns([f"row {i}" for i in range(80)], label)
    >>> policy = ClassPower.from_arm(ArmConfig(policy="class_power", power=0.5), {})
    >>> kept = choose_rows([rows], policy, budget=24)[0]  # as 8 : 4
    >>> int(kept[:64].sum()), int(kept[64:].sum())
    (16, 8)
    """

    example: ClassVar[Mapping[str, Any]] = {"power": 0.5}

    quota: Quota = "proportional"
    power: float = 0.5

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with option `power` in [0, 1] (0.5); raises SelectionError as `random` does."""
        given = read_options(arm, ("power",))
        plain = arm.model_copy(update={"options": {}, "quota": "proportional"})
        return replace(super().from_arm(plain, higher_is), **class_budget(arm, given, 0.5))
