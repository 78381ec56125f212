"""`stratified_random`: draw rows uniformly within each class, so that the classes keep their shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.drawn import Drawn
from raysample.selection.policies.quotas import Quota


@final
@dataclass(frozen=True)
class StratifiedRandom(Drawn):
    """Uniform sampling without replacement in each class; the budget is shared in proportion unless `quota: balanced`.

    [700, 200, 100] rows at 50 % give exactly [350, 100, 50].
    """

    quota: Quota = "proportional"

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return it; the default quota (`corpus`) means proportional here. Raises SelectionError as `random`."""
        quota: Quota = "proportional" if arm.quota == "corpus" else arm.quota
        return super().from_arm(arm.model_copy(update={"quota": quota}), higher_is)
