"""Base class of policies that draw rows uniformly: every row of a stratum has the same probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from raysample.core.arrays import Float32Array
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection.policies.base import Chance, GlobalStatistics, Rows, drawn_key
from raysample.selection.policies.options import read_options
from raysample.selection.policies.quotas import Budgeted, Quota


@dataclass(frozen=True)
class Drawn(Budgeted):
    """Key: a seeded hash of the row id, so that every subset of the quota's size is equally likely over seeds.

    Attributes:
        quota: as in `raysample.core.config.ArmConfig`.
        min_rows, max_rows: bounds of rows per class, if classes are strata.
    """

    example: ClassVar[Mapping[str, Any]] = {}

    quota: Quota = "corpus"
    min_rows: int | None = None
    max_rows: int | None = None

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:  # noqa: ARG003 - the policies' signature
        """Return the policy; raises SelectionError if the arm names a score or normalisation, which have no effect."""
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
        """Drawn uniformly."""
        return "lot"

    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Uniform in [0, 1), a function of row id and seed."""
        return drawn_key(rows, facts)
