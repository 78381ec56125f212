"""`window`: drop the hardest rows, then keep the hardest of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from raysample.core.config import ArmConfig
from raysample.selection.policies.easy import Easy
from raysample.selection.policies.hard import Hard
from raysample.selection.policies.options import number_option, read_options
from raysample.selection.policies.steps import Chain, Step, StepSize


@final
@dataclass(frozen=True)
class Window(Chain):
    """A window of the ranking from hard to easy: it begins after the share `start` of all rows, and has budget size.

    The hardest rows are often mislabelled (Paul et al., NeurIPS 2021, arXiv 2107.07075, section 4).
    """

    example: ClassVar[Mapping[str, Any]] = {"score": "vog", "start": 0.15}

    start: float
    dropped: Easy
    chosen: Hard

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy with option `start` in [0, 1) (0.1); raises SelectionError as `hard` does."""
        start = number_option(read_options(arm, ("start",)), "start", 0.1, 0, 0.999)
        plain = arm.model_copy(update={"options": {}})
        return cls(start, Easy.from_arm(plain, higher_is), Hard.from_arm(plain, higher_is))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Drop, then choose."""
        hardest = StepSize(of_open=1, of_total=-self.start)
        return (Step(self.dropped, "drop", hardest, name=f"the hardest {self.start:g}"), Step(self.chosen))
