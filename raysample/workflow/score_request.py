"""The request of a scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysample.core import storage
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus, describe_source
from raysample.data.score_table_layout import references_folder, target_folder
from raysample.influence.scores import resolve_specs, score_plugins
from raysample.influence.shards import ScoreJob


@dataclass(frozen=True)
class ScoreRequest:
    """The arguments of a scoring: checkpoints, scores, model settings and target folder.

    Attributes:
        checkpoint_sets: one per run; scores are averaged over them.
        config: scores, precision and other score settings.
        model: as in fine-tuning.
        folder: URI of the ScoreTable.
    """

    checkpoint_sets: Sequence[CheckpointSet]
    config: ScoreConfig
    model: ModelConfig
    folder: str

    def describe_targets(self, labels: Sequence[str]) -> dict[str, Corpus]:
        """Describe the target corpora of target-aware scores, with the labels of the checkpoints."""
        return {
            name: describe_source(source.label_alone, target_folder(self.folder, name), labels=labels)
            for name, source in self.config.targets.items()
        }

    def load_targets(self) -> dict[str, Corpus]:
        """Return the corpora that `describe_targets` described; raises StorageError if they are missing."""
        return {name: Corpus.load(target_folder(self.folder, name)) for name in self.config.targets}

    def job(self, corpus: Corpus, parts: str) -> ScoreJob:
        """Return the job of scoring actors for a table of `corpus` with its parts in the subfolder `parts`."""
        config, plugins = self.config, score_plugins(self.config.scores)
        alone = config.method == "loop"  # the loop method visits one row at a time, without padding
        return ScoreJob(
            corpus=corpus.uri,
            checkpoint_sets=tuple(run.uri for run in self.checkpoint_sets),
            config=config if not plugins else config.model_copy(update={"scores": resolve_specs(config.scores)}),
            model=self.model.model_copy(update={"pad_to_multiple_of": 1}) if alone else self.model,
            folder=storage.join(self.folder, parts),
            references=references_folder(self.folder),
            targets={name: target_folder(self.folder, name) for name in self.config.targets},
            plugins=plugins,
        )
