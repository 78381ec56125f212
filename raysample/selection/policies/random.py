"""`random`: keep uniformly drawn rows, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from raysample.selection.policies.drawn import Drawn


@final
@dataclass(frozen=True)
class Random(Drawn):
    """Uniform sampling without replacement over the corpus, or per class with `quota`."""
