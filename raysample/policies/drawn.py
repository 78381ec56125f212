"""What the policies share that keep rows by lot: every row of a stratum has the same chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.policies.base import Facts, FloatArray, Rows, lottery
from raysample.policies.quotas import Budgeted, Quota


@dataclass(frozen=True)
class Drawn(Budgeted):
    """Key: the leading 24 bits of a seeded hash of the row id, as a float in [0, 1); the other bits break ties.

    So rows are ordered by a random 64-bit word, and every subset of the quota's size is equally likely over seeds.
    """

    quota: Quota = "corpus"

    @classmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:  # noqa: ARG003 - the policies' signature
        """Build it; raises SelectionError when the arm names a score or a normalisation, which would mean nothing."""
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

    def key(self, rows: Rows, facts: Facts) -> FloatArray:
        """Uniform in [0, 1), a function of row id and seed."""
        return (lottery(rows, facts) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
