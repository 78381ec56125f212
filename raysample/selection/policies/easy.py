"""`easy`: keep the easiest rows by one score, prune the hardest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from raysample.selection.policies.base import Higher
from raysample.selection.policies.ranked import Ranked


@final
@dataclass(frozen=True)
class Easy(Ranked):
    """Hard cut-off at a percentile, the easier end kept (Anand et al., EMNLP 2023, arXiv 2311.16298, App. B.2)."""

    @property
    def keeps(self) -> Higher:
        """The easier end."""
        return "easier"
