"""Ways to score for less: fewer checkpoints, low precision, a proxy encoder, landmarks, and some of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.timing import now

import raysample
from raysample.core.config import LandmarksConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable

SCORES = ("vog", "el2n")
"""What is scored: the dearest score that one backward gives, and one that a forward gives."""
Window = dict[str, int] | Literal["all"]


@dataclass(frozen=True)
class Setting:
    """One way to score.

    Attributes:
        name: how tables call it.
        window: which checkpoints of the run are visited.
        precision: of the scoring.
        layers: of the proxy encoder that scores; None for the encoder itself.
        landmarks: how many rows are scored exactly (at `window`); None for all.
        beside: a cheaper score that all rows get, and its checkpoints; the landmarks' regression may use it.
        preset: whether `economy` chooses the checkpoints.
    """

    name: str
    window: Window = "all"
    precision: Literal["float32", "bfloat16"] = "float32"
    layers: int | None = None
    landmarks: int | None = None
    beside: tuple[str, Window] | None = None
    preset: bool = False

    def scores(self) -> list[str | dict[str, Any]]:
        """Return what is asked of raysample: the scores at the window, and the cheap one beside them."""
        if self.preset:
            return ["vog", {"name": "el2n", "checkpoints": "last"}]  # only what looks at all checkpoints is left to it
        asked: list[str | dict[str, Any]] = [{"name": name, "checkpoints": self.window} for name in SCORES]
        if self.beside is not None:
            name, window = self.beside
            asked.append({"name": name, "as": "beside", "checkpoints": window})
        return asked

    def sample(self) -> LandmarksConfig | None:
        """Return the landmarks; whatever is learnt is taken, so that poor predictions show as such."""
        if self.landmarks is None:
            return None
        return LandmarksConfig(scores=list(SCORES), count=self.landmarks, min_correlation=0.0)


REFERENCE = Setting("reference: all checkpoints, float32")
ALL_LOW = Setting("all checkpoints, bfloat16", precision="bfloat16")
LOW: Literal["bfloat16"] = "bfloat16"


def settings(checkpoints: int, layers: int, landmarks: Sequence[int]) -> Iterator[Setting]:
    """Yield what is measured, each in a pass of its own, on a run with that many checkpoints of so deep an encoder."""
    yield ALL_LOW
    for kind in ("spread", "first", "last"):
        yield from (Setting(f"{kind} {n}, bfloat16", {kind: n}, LOW) for n in (2, 3, 4, 5) if n < checkpoints)
    yield Setting("the preset", precision=LOW, preset=True)
    if layers > 1:
        kept = layers // 2
        yield Setting(f"proxy of {kept} layers, spread 3, bfloat16", {"spread": 3}, LOW, layers=kept)
    for count in landmarks:
        yield from (replace(one, name=f"{one.name}, bfloat16", precision=LOW) for one in on_landmarks(count))


def on_landmarks(count: int) -> Iterator[Setting]:
    """Yield landmarks alone, and beside cheaper scores of all rows."""
    yield Setting(f"{count} landmarks", landmarks=count)
    for score, n in (("vog", 2), ("vog", 3), ("el2n", 3)):
        yield Setting(f"{count} landmarks beside {score} spread {n}", landmarks=count, beside=(score, {"spread": n}))


def few(landmarks: Sequence[int]) -> Iterator[Setting]:
    """Yield one setting of each kind, for a quick run."""
    yield Setting("spread 3", {"spread": 3})
    yield Setting("proxy of 1 layers, spread 3", {"spread": 3}, layers=1)
    yield from list(on_landmarks(max(landmarks)))[:2]


def scored(setting: Setting, trace: CheckpointSet, corpus: Corpus, folder: Path) -> tuple[ScoreTable, float]:
    """Score a corpus anew; return the table and the seconds: models loaded, landmarks fitted, rows written."""
    began = now()
    table = raysample.score(
        trace,
        corpus,
        setting.scores(),
        str(folder),
        precision=setting.precision,
        landmarks=setting.sample(),
        economy={} if setting.preset else None,
    )
    return table, now() - began
