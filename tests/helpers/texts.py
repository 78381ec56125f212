"""Short made-up requests with classes, for tests of text features, probes and races."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_VERBS = {
    "play": ("play", "start", "put on", "listen to"),
    "alarm": ("set an alarm", "wake me", "remind me", "start a timer"),
    "weather": ("will it rain", "how warm is it", "do I need a coat", "is it sunny"),
}
_REST = (
    "today", "tomorrow", "at nine", "in the kitchen", "please", "now", "for my sister", "in town", "again", "later on",
    "at noon", "for the party", "on monday", "quickly", "this evening", "in an hour",
)  # fmt: skip


def requests(count: int, seed: int = 0) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return texts and their classes, 0 to 2."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, len(_VERBS), count)
    names = list(_VERBS)
    texts = [
        " ".join([draw.choice(_VERBS[names[label]]), *draw.choice(_REST, draw.integers(1, 4), replace=False)])
        for label in labels
    ]
    return texts, labels.astype(np.int64)
