"""What a scoring is asked for."""

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
    """A scoring: at which checkpoints, which scores and how, and where the table goes.

    Attributes:
        checkpoint_sets: one per run; scores are averaged over them.
        config: which scores, in which precision, how the work is cut.
        model: as in fine-tuning.
        folder: URI of the ScoreTable.
    """

    checkpoint_sets: Sequence[CheckpointSet]
    config: ScoreConfig
    model: ModelConfig
    folder: str

    def describe_targets(self, labels: Sequence[str]) -> dict[str, Corpus]:
        """Describe the corpora that target-aware scores point to, with the labels of the checkpoints."""
        return {
            name: describe_source(source.label_alone, target_folder(self.folder, name), labels=labels)
            for name, source in self.config.targets.items()
        }

    def load_targets(self) -> dict[str, Corpus]:
        """Load what `describe_targets` described; raises StorageError if it did not."""
        return {name: Corpus.load(target_folder(self.folder, name)) for name in self.config.targets}

    def job(self, corpus: Corpus, parts: str) -> ScoreJob:
        """Return what scoring actors need for a table of `corpus` whose parts lie in the subfolder `parts`."""
        config, plugins = self.config, score_plugins(self.config.scores)
        alone = config.method == "loop"  # visits rows alone, which means unpadded
        return ScoreJob(
            corpus=corpus.uri,
            traces=tuple(run.uri for run in self.checkpoint_sets),
            config=config if not plugins else config.model_copy(update={"scores": resolve_specs(config.scores)}),
            model=self.model.model_copy(update={"pad_to_multiple_of": 1}) if alone else self.model,
            folder=storage.join(self.folder, parts),
            references=references_folder(self.folder),
            targets={name: target_folder(self.folder, name) for name in self.config.targets},
            plugins=plugins,
        )
