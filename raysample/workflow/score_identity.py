"""The identity of a score table: everything that its values depend on, and which of it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysample.core import manifests, storage
from raysample.core.config import ScoreConfig
from raysample.core.progress import Reporter
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import SCORES_MANIFEST, ScoreTable
from raysample.data.score_table_layout import parts_name
from raysample.influence.scores import create_scores, define_score
from raysample.training import capture
from raysample.workflow.score_request import ScoreRequest

# Increased when a change of the numerics invalidates existing parts: they are then scored again.
SCORE_NUMERICS = 4

VALUE_NEUTRAL = {"workers": None, "max_quarantined": 1.0, "memory": "auto", "verify_rows": 16}
"""The settings of ScoreConfig that change no score's value, with the values that identities hold for them."""


@dataclass(frozen=True)
class ScoringPlan:
    """The columns of a table, and the fingerprints of everything that its values depend on.

    Attributes:
        definitions: the columns.
        sources: name -> fingerprint of each input that a row's score depends on, other than the rows of its shard.
        corpus: fingerprint of the rows.
    """

    definitions: dict[str, dict[str, Any]]
    sources: dict[str, str]
    corpus: str

    @property
    def key(self) -> str:
        """The identity of the whole table."""
        return storage.fingerprint([self.corpus, self.sources])

    @property
    def parts(self) -> str:
        """Subfolder of the table's parts; the same for a corpus that only grew, so that its shards are reused."""
        return parts_name(storage.fingerprint(self.sources))

    def changes(self, before: Mapping[str, str]) -> list[str]:
        """Return the names of the sources that differ from those of an earlier table."""
        return [name for name in self.sources if self.sources[name] != before.get(name)]

    @staticmethod
    def from_request(
        request: ScoreRequest, corpus: str, targets: Mapping[str, Corpus], grouped: bool = False
    ) -> ScoringPlan:
        """Return the plan of the scores at these checkpoints for the corpus with this fingerprint.

        Raises:
            ScoreError, CheckpointError: the scores cannot be computed.
        """
        config, model, checkpoint_sets = request.config, request.model, request.checkpoint_sets
        captured = config.source == "capture"
        seen = capture.checkpoints(checkpoint_sets[0].uri) if captured else checkpoint_sets[0].checkpoints
        definitions = {column: define_score(score, seen) for column, score in create_scores(config.scores).items()}
        found = {
            "checkpoints": checkpoints_fingerprint(checkpoint_sets),
            "scores": definitions,
            "precision": config.precision,
            "batch_tokens": config.batch_tokens,
            "method": config.method,
            "padding": padding_side(checkpoint_sets[0]),
            "source": config.source,
            "max_length": model.max_length,
            "freeze": model.freeze,
            "tokenising": model.tokenising,
            "landmarks": None if config.landmarks is None else config.landmarks.to_dict(),
            "captured logits": [
                capture.Capture.load(checkpoint_set.uri).fingerprint for checkpoint_set in checkpoint_sets
            ]
            if captured
            else [],
            "targets": {name: target.fingerprint for name, target in targets.items()},
            "groups": grouped,  # whether parts have group columns
            "references": corpus if _compares(config) else None,
            "numerics": SCORE_NUMERICS,
        }
        sources = {name: storage.fingerprint(value) for name, value in found.items()}
        return ScoringPlan(definitions, sources, corpus)


def _compares(config: ScoreConfig) -> bool:
    """Return whether a row's score depends on other shards: by a reference computed from the corpus."""
    references = (reference for score in create_scores(config.scores).values() for reference in score.references)
    return config.landmarks is not None or any(reference.of_corpus for reference in references)


def padding_side(checkpoint_set: CheckpointSet) -> str:
    """Return the padding side in a run's tokenizer configuration; right by default."""
    place = storage.join(checkpoint_set.tokenizer, "tokenizer_config.json")
    if not storage.exists(place):
        return "right"
    # A tokenizer's own file, which may hold numbers such as 10^30.
    return "left" if manifests.mapping(place, foreign=True).get("padding_side") == "left" else "right"


def checkpoints_fingerprint(checkpoint_sets: Sequence[CheckpointSet]) -> str:
    """Return the identity of the checkpoints of one run, or of several runs in order."""
    found = [checkpoint_set.fingerprint for checkpoint_set in checkpoint_sets]
    return found[0] if len(found) == 1 else storage.fingerprint(found)


def tell_changes(plan: ScoringPlan, folder: str, reporter: Reporter) -> None:
    """Report why scored rows are scored again."""
    if storage.exists(storage.join(folder, SCORES_MANIFEST)):
        changed = plan.changes(ScoreTable.load(folder).made_by.get("sources", {}))
        if changed:
            reporter.say(f"  scored anew: {', '.join(changed)} changed since the table that is there")
