"""The preset `economy`: bfloat16, and per score the fewest checkpoints that keep its ranking on a row sample.

Which checkpoints represent all of them differs between corpora: a variance of gradients may arise in the first epochs
of one training and throughout another. So it is measured, on a seeded sample of rows at every checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from raysample.core import manifests, storage
from raysample.core.config import ScoreConfig
from raysample.core.errors import ScoreError
from raysample.data.corpus import Corpus
from raysample.data.row_sampling import sample_positions
from raysample.influence.landmarks.draw import landmark_seed
from raysample.influence.scores import create_score, create_scores
from raysample.workflow.score_identity import VALUE_NEUTRAL
from raysample.workflow.score_request import ScoreRequest

PLACE = "economy"
CHOICE = "economy.json"
KINDS = ("spread", "first", "last")
WindowChoice = Mapping[str, Mapping[str, Any]]
"""Column -> `checkpoints` (the window) and `spearman` (its rank correlation with all checkpoints on the sample)."""


def choice_fingerprint(request: ScoreRequest, corpus: Corpus) -> str:
    """Return the identity of everything that a choice of windows depends on."""
    config = request.config.model_copy(update=VALUE_NEUTRAL).to_dict()
    return storage.fingerprint([config, [run.fingerprint for run in request.checkpoint_sets], corpus.fingerprint])


def open_columns(config: ScoreConfig) -> dict[str, dict[str, Any]]:
    """Return column -> spec of the scores whose checkpoints the preset chooses: those that use all checkpoints."""
    result = {}
    for given in config.scores:
        spec = {"name": given} if isinstance(given, str) else dict(given)
        column, score = create_score(spec)
        if "checkpoints" not in spec and score.checkpoints.kind == "all":
            result[column] = {**spec, "as": column}
    return result


def window_candidates(checkpoints: int, min_checkpoints: int) -> list[dict[str, int]]:
    """Return the candidate windows, by rising number of checkpoints."""
    return [{kind: n} for n in range(max(1, min_checkpoints), checkpoints) for kind in KINDS]


def alias(column: str, window: Mapping[str, int]) -> str:
    """Return the sample table's column name of a score at a window."""
    ((kind, n),) = window.items()
    return f"{column}.{kind}.{n}"


def trial(config: ScoreConfig, checkpoints: int) -> ScoreConfig:
    """Return the sample's configuration: every open column at all checkpoints and at every candidate window."""
    min_checkpoints = {column: score.min_checkpoints for column, score in create_scores(config.scores).items()}
    scores: list[str | dict[str, Any]] = []
    for column, spec in open_columns(config).items():
        scores.append(spec)
        scores += [
            {**spec, "as": alias(column, window), "checkpoints": window}
            for window in window_candidates(checkpoints, min_checkpoints[column])
        ]
    return ScoreConfig(
        scores=scores,
        precision=precision(config),
        batch_tokens=config.batch_tokens,
        method=config.method,
        targets=config.targets,
        workers=1,
        verify_rows=0,  # of the sample: the table itself is verified
    )


def choose_windows(config: ScoreConfig, frame: pd.DataFrame, checkpoints: int, min_correlation: float) -> WindowChoice:
    """Return each open column's cheapest window that ranks rows like all checkpoints, by `min_correlation`.

    Among windows of equal size the best one is taken; all checkpoints if no window is good enough.
    """
    min_checkpoints = {column: score.min_checkpoints for column, score in create_scores(config.scores).items()}
    result: dict[str, dict[str, Any]] = {}
    for column in open_columns(config):
        ranks = [
            (window, frame[alias(column, window)].corr(frame[column], method="spearman"))
            for window in window_candidates(checkpoints, min_checkpoints[column])
        ]
        good = [(window, rank) for window, rank in ranks if rank >= min_correlation]
        if not good:
            result[column] = {"checkpoints": "all", "spearman": 1.0}
            continue
        fewest_visits = min(_visits(window) for window, _ in good)
        window, rank = max((one for one in good if _visits(one[0]) == fewest_visits), key=lambda one: one[1])
        result[column] = {"checkpoints": window, "spearman": round(float(rank), 4)}
    return result


def _visits(window: Mapping[str, int]) -> int:
    """Return the number of checkpoints of a window."""
    return next(iter(window.values()))


def economy_config(config: ScoreConfig, choice: WindowChoice) -> ScoreConfig:
    """Return the configuration with the preset and a choice of windows applied; settings of the user are kept."""
    specs = open_columns(config)
    scores: list[str | dict[str, Any]] = []
    for given in config.scores:
        column, _ = create_score(given)
        chosen = choice.get(column)
        scores.append(given if chosen is None else {**specs[column], "checkpoints": chosen["checkpoints"]})
    return config.model_copy(update={"scores": scores, "precision": precision(config)})


def precision(config: ScoreConfig) -> Literal["float32", "bfloat16"]:
    """Return the effective precision: the configured one, or the preset's."""
    given = config.economy is None or "precision" in config.model_fields_set
    return config.precision if given else "bfloat16"


def sampled(corpus: Corpus, count: int, uri: str) -> Corpus:
    """Return a corpus of the `count` rows with the smallest seeded id hashes; all rows of a smaller corpus."""
    return corpus.restricted(sample_positions(corpus, count, landmark_seed(1)), uri)


def stored_choice(request: ScoreRequest, corpus: Corpus) -> WindowChoice | None:
    """Return the stored choice for this request, or None."""
    place = storage.join(request.folder, CHOICE)
    if not storage.exists(place):
        return None
    found = manifests.mapping(place, "columns", "identity")
    choice: WindowChoice = found["columns"]
    return choice if found["identity"] == choice_fingerprint(request, corpus) else None


def store_choice(choice: WindowChoice, request: ScoreRequest, corpus: Corpus) -> None:
    """Store a choice beside the table."""
    data = {"identity": choice_fingerprint(request, corpus), "columns": choice}
    storage.write_json(storage.join(request.folder, CHOICE), data)


def check_economy(config: ScoreConfig) -> None:
    """Raise ScoreError if the preset has no effect."""
    if config.source == "capture":
        raise ScoreError("score.economy chooses among checkpoints, and captured logits visit none", "leave it out")


def describe_choice(choice: WindowChoice, rows: int) -> str:
    """Return the choice as one line."""
    chosen = [
        f"{column} at {_spelled(one['checkpoints'])} (rank correlation {one['spearman']:.3f})"
        for column, one in choice.items()
    ]
    return f"  economy, measured on {rows:,} rows: {', '.join(chosen) or 'no score whose checkpoints are open'}"


def _spelled(window: str | Mapping[str, int]) -> str:
    """Return a window as text."""
    return window if isinstance(window, str) else ", ".join(f"{kind} {n}" for kind, n in window.items())
