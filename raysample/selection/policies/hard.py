"""`hard`: keep the hardest rows by one score, prune the easiest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from raysample.selection.policies.base import Higher
from raysample.selection.policies.ranked import Ranked


@final
@dataclass(frozen=True)
class Hard(Ranked):
    """Hard cut-off at a percentile, the harder end kept (Anand et al., EMNLP 2023, arXiv 2311.16298, App. B.2)."""

    @property
    def keeps(self) -> Higher:
        """The harder end."""
        return "harder"
