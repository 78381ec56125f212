"""The identity of a score table: everything that its numbers depend on, and what of it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysample.core import manifests, storage
from raysample.core.config import ScoreConfig
from raysample.core.progress import Reporter
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import MANIFEST, ScoreTable
from raysample.data.score_table_layout import parts_name
from raysample.influence.scores import create_scores, define_score
from raysample.training import capture
from raysample.workflow.score_request import ScoreRequest

# Raised when a change of the numerics makes earlier parts wrong: they are then scored again.
NUMERICS = 4


@dataclass(frozen=True)
class ScoringPlan:
    """What a table will hold, and what its numbers depend on.

    Attributes:
        definitions: the columns.
        sources: name -> fingerprint of each thing that the score of a row depends on, beside the rows of its shard.
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
        """The folder of the table's parts, below that of the table; the same for a corpus that only grew."""
        return parts_name(storage.fingerprint(self.sources))

    def changes(self, before: Mapping[str, str]) -> list[str]:
        """Return the names of the sources that were others when a table was made before."""
        return [name for name in self.sources if self.sources[name] != before.get(name, self.sources[name])]

    @staticmethod
    def from_request(
        request: ScoreRequest, corpus: str, targets: Mapping[str, Corpus], grouped: bool = False
    ) -> ScoringPlan:
        """Resolve the scores at these checkpoints for the corpus with this fingerprint, whose rows may have groups.

        Raises ScoreError or CheckpointError where the scores cannot be had.
        """
        config, model, traces = request.config, request.model, request.checkpoint_sets
        captured = config.source == "capture"
        seen = capture.checkpoints(traces[0].uri) if captured else traces[0].checkpoints
        definitions = {column: define_score(score, seen) for column, score in create_scores(config.scores).items()}
        found = {
            "checkpoints": checkpoints_fingerprint(traces),
            "scores": definitions,
            "precision": config.precision,
            "batch_tokens": config.batch_tokens,
            # Not at all where it is the default, as below.
            **({"method": config.method} if config.method != "rules" else {}),
            **({"padding": side} if (side := padding_side(traces[0])) != "right" else {}),
            "source": config.source,
            "max_length": model.max_length,
            "freeze": model.freeze,
            # Not at all where it is the default, so that parts from before there was a choice are found.
            **({"tokenising": model.tokenising} if model.tokenising else {}),
            "landmarks": None if config.landmarks is None else config.landmarks.to_dict(),
            "captured logits": [capture.Capture.load(trace.uri).fingerprint for trace in traces] if captured else [],
            "targets": {name: target.fingerprint for name, target in targets.items()},
            "groups": grouped,  # what parts hold beside scores
            "references": corpus if _compares(config) else None,
            "numerics": NUMERICS,
        }
        sources = {name: storage.fingerprint(value) for name, value in found.items()}
        return ScoringPlan(definitions, sources, corpus)


def _compares(config: ScoreConfig) -> bool:
    """Tell whether a row's score depends on rows of other shards: by a reference that is made from the corpus."""
    references = (reference for score in create_scores(config.scores).values() for reference in score.references)
    return config.landmarks is not None or any(reference.of_corpus for reference in references)


def padding_side(trace: CheckpointSet) -> str:
    """Return the side that a run's tokenizer pads, as its configuration tells; right where it does not."""
    place = storage.join(trace.tokenizer, "tokenizer_config.json")
    if not storage.exists(place):
        return "right"
    # A tokenizer's own file, which may hold numbers such as 10^30.
    return "left" if manifests.mapping(place, foreign=True).get("padding_side") == "left" else "right"


def checkpoints_fingerprint(traces: Sequence[CheckpointSet]) -> str:
    """Return the identity of one run's checkpoints, or of several runs' in their order."""
    found = [trace.fingerprint for trace in traces]
    return found[0] if len(found) == 1 else storage.fingerprint(found)


def tell_changes(plan: ScoringPlan, folder: str, reporter: Reporter) -> None:
    """Say why rows that were scored before are scored again."""
    if storage.exists(storage.join(folder, MANIFEST)):
        changed = plan.changes(ScoreTable.load(folder).made_by.get("sources", {}))
        if changed:
            reporter.say(f"  scored anew: {', '.join(changed)} changed since the table that is there")
