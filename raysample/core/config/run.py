"""The sections of a run's configuration as pydantic models; every section is usable alone from Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raysample.core.config.corpus import Columns, LabelsConfig, SourceConfig
from raysample.core.config.importing import AdoptConfig
from raysample.core.config.section import Address, Count, Fraction, Place, PluginName, Section, Seed
from raysample.core.config.selection import CompareConfig, SampleConfig
from raysample.core.config.training import FineTuneConfig, ModelConfig


class SimulatedConfig(Section):
    """The built-in generator of *simulated* assistant traffic: its size and properties.

    With `labels` other than gold the training days are logs of a simulated production model, without annotation.
    """

    rows: Annotated[int, Field(ge=500, lt=2**31)] = 20_000
    test_rows: Annotated[int, Field(ge=200, lt=2**31)] = 4_000
    days: Count = 7
    wrong_labels: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    imbalance: Annotated[float, Field(ge=1)] = 100.0
    labels: LabelsConfig = LabelsConfig()
    # For a hierarchical label (domain, then intent): the level that scores and samples use.
    level: Literal["domain", "intent"] | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _annotated_levels(self) -> SimulatedConfig:
        """Refuse levels without gold labels."""
        if self.level is not None and self.labels.origin != "gold":
            raise ValueError("level goes with gold labels: the simulated log has hypotheses of intents alone")
        return self


class CorpusConfig(Section):
    """Training and test texts: `simulated`, or `train` with either `test` or a `holdout` share by content.

    `validation` is the share of the training rows, by content, that is not trained on: everything that chooses
    (`recommend`, `sample.budget: auto`, early stopping) uses it alone, so that the test judges what it never chose.
    """

    columns: Columns | None = None
    train: SourceConfig | None = None
    test: SourceConfig | None = None
    holdout: Fraction | None = None
    validation: Fraction | None = None
    # Rows of a shard: the unit of scoring work, of progress, and of what a rerun can skip.
    shard_rows: Count = 512
    simulated: SimulatedConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _share_columns(cls, data: Any) -> Any:
        """Copy `corpus.columns` to sources without columns of their own."""
        if isinstance(data, dict) and data.get("columns") is not None:
            for part in ("train", "test"):
                if isinstance(data.get(part), dict) and "columns" not in data[part]:
                    data = {**data, part: {**data[part], "columns": data["columns"]}}
        return data

    @model_validator(mode="after")
    def _one_origin(self) -> CorpusConfig:
        """Require exactly one source of training and one of test texts."""
        if (self.train is None) == (self.simulated is None):
            raise ValueError("give either corpus.train or corpus.simulated")
        if self.train is not None and (self.test is None) == (self.holdout is None):
            raise ValueError("give either corpus.test, or corpus.holdout (a share such as 0.1, held out by content)")
        if self.simulated is not None and (self.test is not None or self.holdout is not None):
            raise ValueError("corpus.simulated brings its own test days; leave corpus.test and corpus.holdout out")
        return self

    @model_validator(mode="after")
    def _same_levels(self) -> CorpusConfig:
        """Require the same levels, in the same order, in training and test."""
        if self.train is None or self.test is None:
            return self
        ours, theirs = self.train.columns, self.test.columns
        if len(ours.levels) != len(theirs.levels) or (
            ours.levels and ours.levels.index(ours.label) != theirs.levels.index(theirs.label)
        ):
            raise ValueError(
                f"corpus.train has the levels ({', '.join(ours.levels)}) with the label {ours.label!r}, and "
                f"corpus.test ({', '.join(theirs.levels)}) with {theirs.label!r}: name the same levels for both, in "
                "the same order"
            )
        return self

    @model_validator(mode="after")
    def _say_what_the_test_labels_are(self) -> CorpusConfig:
        """Require the origin of test labels if training labels are hypotheses in a column of the same name."""
        train, test = self.train, self.test
        if train is None or test is None or train.labels.origin == "gold" or "labels" in test.model_fields_set:
            return self
        if train.columns.label == test.columns.label:
            raise ValueError(
                f"corpus.train says that its column {train.columns.label!r} holds the production model's hypotheses, "
                "and corpus.test reads a column of that name without saying what it holds: name the column of the "
                "annotated labels in corpus.test.columns, or set corpus.test.labels: {origin: gold}, or whatever it is"
            )
        return self


class LandmarksConfig(Section):
    """Scores that are computed exactly on a seeded sample of `count` rows and predicted for all other rows.

    The prediction is a regression on descriptors from one forward at the last checkpoint. It is refused if its rank
    correlation on held-out landmarks is below `min_correlation`.
    """

    renamed: ClassVar[Mapping[str, str]] = {"least": "min_correlation"}

    scores: Annotated[list[str], Field(min_length=1)]
    count: Annotated[int, Field(ge=100, lt=2**31)] = 2_000
    min_correlation: Annotated[float, Field(ge=0, le=1)] = 0.8
    seed: Seed = 0


class EconomyConfig(Section):
    """The preset `economy`: bfloat16, and for each score the smallest number of checkpoints that keeps its ranking.

    The checkpoints are chosen on `rows` rows such that the rank correlation with all checkpoints is at least
    `min_correlation`. Scores with configured checkpoints, and a configured precision, are not changed.
    """

    renamed: ClassVar[Mapping[str, str]] = {"least": "min_correlation"}

    rows: Annotated[int, Field(ge=50, lt=2**31)] = 400
    min_correlation: Annotated[float, Field(gt=0, le=1)] = 0.95


class ScoreConfig(Section):
    """The scores, their precision, and the division of the work.

    A score is a name, or a mapping with `name` and options.

    `source: capture` scores the logits that fine-tuning wrote with `capture: true` instead of visiting checkpoints.
    `runs` fine-tunes that many seeds and averages their scores. `targets` names corpora for target-aware scores.
    `method: loop` scores each row alone, unpadded, by plain gradients: slow, for models whose values depend on padding.
    """

    scores: list[str | dict[str, Any]] = Field(default=["vog", "el2n", "forgetting"], min_length=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_tokens: Annotated[int, Field(ge=16, lt=2**31)] = 4_096
    source: Literal["checkpoints", "capture"] = "checkpoints"
    method: Literal["rules", "loop"] = "rules"
    runs: Annotated[int, Field(ge=1, le=100)] = 1
    targets: dict[str, SourceConfig] = Field(default_factory=dict)
    # Largest share of rows that cannot be scored, or have no finite score; more is an error.
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.1
    landmarks: LandmarksConfig | None = None
    economy: EconomyConfig | None = None
    # Memory budget per worker for checkpoints, mini-batches and states: checkpoints that do not fit take turns.
    memory: Annotated[str, Field(pattern=r"^(auto|[0-9]+([.][0-9]+)? ?[KMGT]i?B)$")] = "auto"
    workers: Count | None = None
    # Largest number of rows scored again by the slow twin at the end; fewer if they would cost more than 2 %.
    verify_rows: Annotated[int, Field(ge=0, lt=2**31)] = 16

    @property
    def budget(self) -> int:
        """Token budget of a mini-batch; 1 with `method: loop`, so that every row is a mini-batch of its own."""
        return 1 if self.method == "loop" else self.batch_tokens

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes; None for `auto`: the free memory of the worker's device or its share of the machine."""
        if self.memory == "auto":
            return None
        amount, unit = self.memory[: -2 - ("i" in self.memory)], self.memory.lstrip("0123456789. ")
        return round(float(amount) * math.pow(1024 if "i" in unit else 1000, "KMGT".index(unit[0]) + 1))


class LogConfig(Section):
    """Production traffic that is scored with the run's checkpoints, each content once.

    `source`: the log, ideally in date partitions. `window`: number of newest partitions that count.
    """

    source: SourceConfig
    window: Count | None = None

    @model_validator(mode="after")
    def _label_alone(self) -> LogConfig:
        """Refuse levels: a log needs the scored label only."""
        if self.source.columns.levels:
            raise ValueError("a log needs the label that is scored, not all of its levels: leave columns.levels out")
        return self


class TrackingConfig(Section):
    """MLflow: `uri` defaults to an sqlite file in the output folder, `experiment` to the run's name.

    `tracker` may also name a plug-in, which gets both as they are given.
    """

    enabled: bool = True
    tracker: Literal["mlflow"] | PluginName = "mlflow"
    uri: Place | None = None
    experiment: Place | None = None


class ReportConfig(Section):
    """The HTML report; corpus text appears in it only with `show_text: true`."""

    show_text: bool = False
    examples: Annotated[int, Field(ge=1, le=100)] = 8


class EngineConfig(Section):
    """The executor of the work: Ray, `local` (in this process, without Ray), or a plug-in."""

    kind: Literal["ray", "local"] | PluginName = "ray"
    # `auto`, `local` (always a new one) or a head's address; None joins a running cluster, else starts one.
    address: Place | None = None
    cpus: Count | None = None
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0


class RunConfig(Section):
    """A whole run: from labelled texts to a compared sample."""

    name: str = Field(default="run", max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    output: Address = "runs"
    # Seconds to wait while another driver writes the same run folder; 0: fail at once, with its name.
    lock_timeout: Annotated[float, Field(ge=0)] = 3_600.0
    corpus: CorpusConfig = CorpusConfig(simulated=SimulatedConfig())
    model: ModelConfig = ModelConfig()
    fine_tune: FineTuneConfig = FineTuneConfig()
    # Checkpoints of other tools, scored in place of those of a fine-tuning.
    adopt: AdoptConfig | None = None
    score: ScoreConfig = ScoreConfig()
    sample: SampleConfig = SampleConfig()
    compare: CompareConfig = CompareConfig()
    tracking: TrackingConfig = TrackingConfig()
    report: ReportConfig = ReportConfig()
    log: LogConfig | None = None
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _adopt_one_run(self) -> RunConfig:
        """Refuse settings that contradict imported checkpoints."""
        if self.adopt is not None and self.score.runs > 1:
            raise ValueError("adopt brings the checkpoints of one run, and score.runs asks for more: set it to 1")
        if self.adopt is not None and self.score.source == "capture":
            raise ValueError("adopt brings checkpoints without captured logits: set score.source: checkpoints")
        return self
