"""`middle`: keep the rows around the median of a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.easy import Easy
from raysample.selection.policies.hard import Hard
from raysample.selection.policies.options import read_options
from raysample.selection.policies.steps import Chain, Step, StepSize


@final
@dataclass(frozen=True)
class Middle(Chain):
    """The middle band of the ranking: equally many rows are pruned at both ends, or one more at the hard end.

    With the score `moderate` this is Xia et al.'s selection (ICLR 2023), which keeps rows at the median distance from
    their class centre.
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "aum"}

    dropped: Easy
    chosen: Hard

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy; raises SelectionError as `hard` does."""
        read_options(arm)
        return cls(Easy.from_arm(arm, higher_is), Hard.from_arm(arm, higher_is))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Drop half of the pruned rows at the hard end, then keep the hardest of the rest."""
        hard_end = StepSize(of_open=1, of_pruned=-0.5)
        return (Step(self.dropped, "drop", hard_end, name="the hard end"), Step(self.chosen))
