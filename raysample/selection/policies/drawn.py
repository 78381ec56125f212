"""What the policies share that keep rows by lot: every row of a stratum has the same chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import Chance, FloatArray, GlobalStatistics, Rows, drawn_key
from raysample.selection.policies.options import read_options
from raysample.selection.policies.quotas import Budgeted, Quota


@dataclass(frozen=True)
class Drawn(Budgeted):
    """Key: a seeded hash of the row id, so that every subset of the quota's size is equally likely over seeds.

    Attributes:
        quota: as in `raysample.core.config.ArmConfig`. least, most: rows of a class, where classes are strata.
    """

    example: ClassVar[Mapping[str, Any]] = {}

    quota: Quota = "corpus"
    least: int | None = None
    most: int | None = None

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:  # noqa: ARG003 - the policies' signature
        """Build it; raises SelectionError when the arm names a score or a normalisation, which would mean nothing."""
        read_options(arm)
        if arm.score is not None:
            raise SelectionError(
                f"policy {arm.policy!r} draws rows by lot and has no use for score {arm.score!r}",
                "leave `score` out, or choose policy `hard` or `easy`",
            )
        if arm.normalise != "none":
            raise SelectionError(
                f"policy {arm.policy!r} has no score to normalise (normalise: {arm.normalise})",
                "leave `normalise` out; for a budget per class set `quota`",
            )
        return cls(arm.quota)

    @property
    def chance(self) -> Chance:
        """By lot."""
        return "lot"

    def key(self, rows: Rows, facts: GlobalStatistics) -> FloatArray:
        """Uniform in [0, 1), a function of row id and seed."""
        return drawn_key(rows, facts)
