"""Choose the arm for a corpus and a share by a race; every step is stored below one folder and not done twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, ModelConfig, RunConfig
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.models.building import TINY
from raysample.selection.policies import AUTO
from raysample.selection.probe.probe_scorer import SAMPLED_SCORES
from raysample.selection.probe.probe_scores import PROBE_HIGHER_IS
from raysample.selection.probe.probe_table import LabelAgreement, write_probe_table
from raysample.selection.race.candidates import portfolio, scores_of
from raysample.selection.race.race import run_race
from raysample.selection.race.race_result import RaceResult, RaceSettings
from raysample.selection.race.race_rows import RaceRows
from raysample.selection.race.race_sample import RACE_ROWS, race_sample
from raysample.selection.text_features.feature_files import FeatureFiles, write_features
from raysample.version import __version__
from raysample.workflow.context import RunContext


@dataclass(frozen=True)
class ChoiceSettings:
    """What a choice goes by.

    Attributes:
        encoder: a frozen encoder for the features; None for n-grams.
        objective: what the race judges by: `accuracy`, `macro_f1`, `worst_group` or `log_loss`.
        confidence: 1 − the chance of a wrong claim.
        seed: of samples, folds and draws.
        race_rows: rows that race, at most; of more rows a seeded sample races, and the winner is applied to all.
        arms: the candidates; None for the portfolio.
        cut_offs: whether the portfolio has cut-offs, which a pilot must confirm.
        device: where the encoder and the probes run.
    """

    encoder: ModelConfig | None = None
    objective: str = "accuracy"
    confidence: float = 0.95
    seed: int = 0
    race_rows: int = RACE_ROWS
    arms: tuple[ArmConfig, ...] | None = None
    cut_offs: bool = False
    device: str = "cpu"

    def race(self, share: float, sampled: bool = False) -> RaceSettings:
        """Return the settings of a race; raises SelectionError for an objective or confidence out of range."""
        return RaceSettings(share, self.objective, self.confidence, self.seed, self.device, sampled)


@dataclass
class Clock:
    """Wall and CPU seconds of the steps of this process, by name."""

    cost: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a step."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            before = self.cost.get(name, {"seconds": 0.0, "cpu_seconds": 0.0})
            self.cost[name] = {
                "seconds": round(before["seconds"] + time.perf_counter() - wall, 3),
                "cpu_seconds": round(before["cpu_seconds"] + time.process_time() - cpu, 3),
            }


class Chooser:
    """The choices for one corpus: features and the sample of rows are made on first use.

    Attributes:
        corpus: the training rows.
        folder: URI of the folder for features, races and scores.
        settings: what the choice goes by.
        context: executor and reporter.
        clock: seconds of the steps that were done.
        feature_seconds, race_seconds: of the features and of all races so far, those of earlier calls included.
    """

    def __init__(
        self, corpus: Corpus, folder: str, settings: ChoiceSettings, context: RunContext, clock: Clock | None = None
    ) -> None:
        self.corpus, self.folder, self.settings, self.context = corpus, folder, settings, context
        self.clock = clock or Clock()
        self.feature_seconds, self.race_seconds = 0.0, 0.0

    @cached_property
    def features(self) -> FeatureFiles:
        """The features of all rows."""
        rows, classes = self.corpus.rows, len(self.corpus.labels)
        self.context.reporter.say(f"{rows:,} rows, {classes:,} classes: computing features")
        began, folder = time.perf_counter(), storage.join(self.folder, "features")
        with self.clock.step("features"):
            found = write_features(
                self.corpus,
                folder,
                self.settings.encoder,
                seed=self.settings.seed,
                device=self.settings.device,
                map_fn=self.context.executor.map,
            )
        place = storage.join(folder, f"cost-{found.key[:12]}.json")
        if storage.exists(place):
            self.feature_seconds = manifests.checked(float, manifests.mapping(place, "seconds")["seconds"])
        else:
            self.feature_seconds = round(time.perf_counter() - began, 3)
            storage.write_json(place, {"seconds": self.feature_seconds})
        return found

    @cached_property
    def sample(self) -> RaceRows:
        """The rows that race."""
        features = self.features
        with self.clock.step("features"):
            return race_sample(self.corpus, features, self.settings.race_rows, self.settings.seed)

    def race(self, share: float) -> RaceResult:
        """Return the race at a share of the rows, read again if it was run before."""
        sampled = len(self.sample) < self.corpus.rows
        given, settings = self.settings.arms, self.settings.race(share, sampled)
        scores = SAMPLED_SCORES if sampled else tuple(PROBE_HIGHER_IS)
        arms = portfolio(scores, self.settings.cut_offs) if given is None else given
        key = storage.fingerprint(
            [__version__, self.features.key, asdict(settings), len(self.sample), [arm.to_dict() for arm in arms]]
        )
        place = storage.join(self.folder, f"race-{key[:12]}.json")
        if storage.exists(place):
            with manifests.damaged(place):
                stored = manifests.mapping(place, "race")
                self.race_seconds += manifests.checked(float, stored["seconds"])
                return RaceResult.from_dict(stored["race"])
        self.context.reporter.say(f"{len(arms)} candidates race at {share:.0%} kept on {len(self.sample):,} rows")
        began = time.perf_counter()
        with self.clock.step("race"):
            found = run_race(self.sample, settings, arms, self.context.executor.map)
        seconds = round(time.perf_counter() - began, 3)
        self.race_seconds += seconds
        storage.write_json(place, {"noun": "Race", "race": found.to_dict(), "seconds": seconds})
        return found

    def table(self, arm: ArmConfig) -> tuple[ScoreTable, LabelAgreement]:
        """Write the scores that an arm reads, of all rows; return the table and the labels' agreement with the probe.

        The scores have a folder for each set of columns, so several arms of a run do not disturb each other.
        """
        columns = sorted({"out_of_fold_confidence"} | scores_of([arm], PROBE_HIGHER_IS))
        features, sample = self.features, self.sample
        with self.clock.step("scores"):
            return write_probe_table(
                self.corpus,
                features,
                sample,
                storage.join(self.folder, "-".join(["scores", *columns])),
                columns,
                seed=self.settings.seed,
                device=self.settings.device,
                map_fn=self.context.executor.map,
            )


def chooser_of(config: RunConfig, train: Corpus, folder: str, context: RunContext) -> Chooser | None:
    """Return what chooses for the arm `auto` of a run, by the training rows alone; None without such an arm.

    The encoder is the base encoder before fine-tuning; for a tiny model, which has learnt nothing, n-grams are used.
    """
    compare, model = config.compare, config.model
    if not any(arm.policy == AUTO for arm in compare.arms):
        return None
    encoder = None if model.path == TINY else model
    settings = ChoiceSettings(encoder, compare.objective, compare.confidence)
    return Chooser(train, folder, settings, context)
