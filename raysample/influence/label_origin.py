"""What the origin of labels means for the results of a run: its scores, its comparison, its readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raysample.core.config import CorpusConfig
from raysample.data.corpus import Corpus
from raysample.influence.scores import describe_column

ORIGINS = {
    "gold": "annotated by people",
    "hypothesis": "the production model's hypotheses",
    "feedback": "the production model's hypotheses as far as user feedback accepts or corrects them",
}
"""Label origin -> its description."""

_TEST = {
    "hypothesis": (
        "the test labels are the production model's own hypotheses: accuracy against them measures agreement with it, "
        "not correctness, and a model that is right where it was wrong loses by that"
    ),
    "feedback": (
        "the test labels come from user feedback: accuracy is that on rows whose users reacted, which are no random "
        "sample, and an error that users let pass counts as right"
    ),
}


def origins(config: CorpusConfig) -> tuple[str, str]:
    """Return the origins of training and test labels: `gold`, `hypothesis` or `feedback`."""
    if config.simulated is not None:
        return config.simulated.labels.origin, "gold"
    assert config.train is not None, "CorpusConfig checks that there is one or the other"
    test = config.train if config.test is None else config.test
    return config.train.labels.origin, test.labels.origin


def label_origin(corpus: Corpus) -> dict[str, Any]:
    """Return the label origin of a corpus: the configured rule, and the counts in `Corpus.annotations`."""
    rule = corpus.source.labels
    return {**corpus.annotations, "origin": rule.origin, "min_confidence": rule.min_confidence}


def test_warnings(test: Corpus) -> tuple[str, ...]:
    """Return a warning about the meaning of accuracy on a test corpus without gold labels."""
    parts = _TEST.get(test.origin)
    return () if parts is None else (parts,)


def relative(definitions: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the score columns that depend on labels, and those that do not; definitions as in a ScoreTable."""
    free = [name for name, spec in definitions.items() if not describe_column(spec).uses_label]
    return [name for name in definitions if name not in free], free


def meaning(definitions: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe which scores are relative to labels that are not gold, and which do not use labels."""
    tied, free = relative(definitions)
    parts = [f"{_listed(tied)} {'is' if len(tied) == 1 else 'are'} relative to them"] if tied else []
    parts += [f"{_listed(free)} {'does' if len(free) == 1 else 'do'} not look at labels"] if free else []
    return ", ".join(parts)


def describe_label_origin(origin: str, definitions: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe the meaning of scores under labels of this origin; empty for gold labels."""
    return "" if origin == "gold" else f"labels are {ORIGINS[origin]}: {meaning(definitions)}"


def _listed(names: Iterable[str]) -> str:
    """Join names as in "a, b and c"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
