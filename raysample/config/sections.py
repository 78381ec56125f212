"""The sections of a run's configuration as pydantic models; every section is usable alone from Python."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """Return the section as JSON-able data (what manifests store and fingerprints are made of)."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data


class Columns(Section):
    """Which columns of the source hold what."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    id: str | None = None
    group: str | None = None
    timestamp: str | None = None


class SourceConfig(Section):
    """Where labelled texts lie. `path` is a file, a folder (with `key=value` partitions or not), or `hub:NAME`.

    `where` keeps the rows whose columns equal the given values; `limit` takes that many of them by a hash of their ids.
    `unseen_labels` says what a test label that training lacks means; a larger share of bad rows than `max_quarantined`
    is an error.
    """

    path: str
    format: Literal["auto", "parquet", "jsonl", "csv", "datasets", "hub"] = "auto"
    split: str | None = None
    columns: Columns = Columns()
    where: dict[str, str | int | float | bool] = Field(default_factory=dict)
    limit: Annotated[int, Field(ge=1)] | None = None
    unseen_labels: Literal["error", "quarantine"] = "error"
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.1


class SimulatedConfig(Section):
    """The embedded generator of *simulated* assistant traffic: how much of it, and how it looks."""

    rows: Annotated[int, Field(ge=500)] = 20_000
    test_rows: Annotated[int, Field(ge=200)] = 4_000
    days: Annotated[int, Field(ge=1)] = 7
    wrong_labels: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    imbalance: Annotated[float, Field(ge=1)] = 100.0
    seed: int = 0


class CorpusConfig(Section):
    """Training and test texts: `simulated`, or `train` with either `test` or a `holdout` share by content."""

    columns: Columns | None = None
    train: SourceConfig | None = None
    test: SourceConfig | None = None
    holdout: Fraction | None = None
    # Rows of a shard: the unit of scoring work, of its progress, and of what a rerun finds done.
    shard_rows: Annotated[int, Field(ge=1)] = 512
    simulated: SimulatedConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _share_columns(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("columns") is not None:
            for part in ("train", "test"):
                if isinstance(data.get(part), dict) and "columns" not in data[part]:
                    data = {**data, part: {**data[part], "columns": data["columns"]}}
        return data

    @model_validator(mode="after")
    def _one_origin(self) -> CorpusConfig:
        if (self.train is None) == (self.simulated is None):
            raise ValueError("give either corpus.train or corpus.simulated")
        if self.train is not None and (self.test is None) == (self.holdout is None):
            raise ValueError("give either corpus.test, or corpus.holdout (a share such as 0.1, held out by content)")
        if self.simulated is not None and (self.test is not None or self.holdout is not None):
            raise ValueError("corpus.simulated brings its own test days; leave corpus.test and corpus.holdout out")
        return self


class ModelConfig(Section):
    """The encoder: `tiny` (built on the spot from the corpus), a local folder, or a hub name."""

    path: str = "tiny"
    layers: Annotated[int, Field(ge=1)] | None = None
    max_length: Annotated[int, Field(ge=4, le=8192)] = 64
    hidden_size: Annotated[int, Field(ge=8, multiple_of=4)] = 64
    vocabulary_size: Annotated[int, Field(ge=100)] = 2_000
    # None keeps the model's own probabilities. On a CPU drawing the masks can take half of a training step.
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    trust_remote_code: bool = False
    # Regular expressions: parameters whose names match one stay as they are, and do not count in gradient scores.
    freeze: list[str] = Field(default_factory=list)


class FineTuneConfig(Section):
    """How a model is fine-tuned and which checkpoints it leaves."""

    epochs: Annotated[int, Field(ge=1)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    schedule: Literal["linear", "constant"] = "linear"
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoints: Annotated[int, Field(ge=1)] | None = None
    checkpoints_per_epoch: Annotated[int, Field(ge=1)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None
    group_by_length: bool = False
    # Writes every example's logits at each of its presentations, for scores that need nothing else.
    capture: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    workers: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _one_cadence(self) -> FineTuneConfig:
        given = [self.checkpoints, self.checkpoints_per_epoch, self.checkpoint_every]
        if sum(value is not None for value in given) > 1:
            raise ValueError("give one of checkpoints, checkpoints_per_epoch, checkpoint_every")
        return self


class LandmarksConfig(Section):
    """Scores that are computed exactly on a seeded sample of `count` rows and predicted for the others.

    The prediction is a regression on what one forward at the last checkpoint gives. It is refused where its rank
    correlation on held-out landmarks is below `least`.
    """

    scores: Annotated[list[str], Field(min_length=1)]
    count: Annotated[int, Field(ge=100)] = 2_000
    least: Annotated[float, Field(ge=0, le=1)] = 0.8
    seed: int = 0


class EconomyConfig(Section):
    """The preset `economy`: bfloat16, and the fewest checkpoints of each score that keep its ranking.

    They are chosen on `rows` rows, such that the rank correlation with all checkpoints is `least` there. Scores whose
    checkpoints are given, and a precision that is given, stay as they are.
    """

    rows: Annotated[int, Field(ge=50)] = 400
    least: Annotated[float, Field(gt=0, le=1)] = 0.95


class ScoreConfig(Section):
    """Which scores, in what precision, how the work is cut. A score is a name, or a mapping with `name` and options.

    `source: capture` scores what fine-tuning wrote with `capture: true` instead of visiting checkpoints. `runs`
    fine-tunes that many seeds and averages their scores. `targets` names corpora that target-aware scores point to.
    """

    scores: Annotated[list[str | dict[str, Any]], Field(min_length=1)] = ["vog", "el2n", "forgetting"]
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_tokens: Annotated[int, Field(ge=16)] = 4_096
    source: Literal["checkpoints", "capture"] = "checkpoints"
    runs: Annotated[int, Field(ge=1, le=100)] = 1
    targets: dict[str, SourceConfig] = Field(default_factory=dict)
    landmarks: LandmarksConfig | None = None
    economy: EconomyConfig | None = None
    workers: Annotated[int, Field(ge=1)] | None = None


class SuspectsConfig(Section):
    """Rows to remove before anything else: the share with the hardest values of a score that finds wrong labels."""

    score: str = "aum"
    share: Fraction = 0.05


LIMITS = ("min_per_class", "max_per_class", "min_share_per_group", "cap_per_group")
"""Fields of an ArmConfig that any policy can be given."""


class ArmConfig(Section):
    """One way to choose a sample.

    `normalise`: compare raw scores (`none`) or z-scores within each class (`class`); `corpus` z-scores over the data
    set, which ranks exactly as the raw score does. `quota`: one budget for all rows (`corpus`), the same share of every
    class (`proportional`), or the same count of every class where there are enough rows (`balanced`).
    `min_per_class` rows of a class are kept (all where it has fewer), at most `max_per_class`; at least the share
    `min_share_per_group` of every group, at most `cap_per_group` rows. `drop_suspects` removes likely label errors
    first. `weights`: `unbiased` weighs kept rows by the inverse of their chance, `none` all alike; the policy decides
    if not given. What the policy takes beyond these stands beside them, and is held in `options`.
    """

    policy: str
    score: str | None = None
    normalise: Literal["none", "class", "corpus"] = "none"
    quota: Literal["corpus", "proportional", "balanced"] = "corpus"
    options: dict[str, Any] = Field(default_factory=dict)
    min_per_class: Annotated[int, Field(ge=1)] | None = None
    max_per_class: Annotated[int, Field(ge=1)] | None = None
    min_share_per_group: Fraction | None = None
    cap_per_group: Annotated[int, Field(ge=1)] | None = None
    drop_suspects: SuspectsConfig | None = None
    weights: Literal["none", "unbiased"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """Put what is no field into `options`; the policy refuses what it does not know."""
        if not isinstance(data, dict):
            return data
        own = {name: value for name, value in data.items() if name in cls.model_fields and name != "options"}
        more = {name: value for name, value in data.items() if name not in cls.model_fields}
        return {**own, "options": {**(data.get("options") or {}), **more}}

    @property
    def name(self) -> str:
        """The arm's name in tables, figures and MLflow: `hard(vog|class)`, `window(vog, start=0.1)`, `random`."""
        parts = [self.score or "", *([self.normalise] if self.normalise != "none" else [])]
        told = [f"{name}={_short(value)}" for name, value in self.options.items()]
        if self.drop_suspects is not None:
            told.append(f"without {self.drop_suspects.share:g} by {self.drop_suspects.score}")
        for name in (*LIMITS, "weights"):
            value = getattr(self, name)
            told += [f"{name}={value}"] if value is not None else []
        inner = [part for part in ("|".join(parts), self.quota if self.quota != "corpus" else "", *told) if part]
        return f"{self.policy}({', '.join(inner)})" if inner else self.policy


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(f"{weight:g}*{name}" if weight != 1 else str(name) for name, weight in value.items())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


class CompareConfig(Section):
    """Arms x fractions x seeds, each retrained and tested; random and stratified random are always among the arms."""

    arms: list[ArmConfig] = Field(default_factory=list)
    fractions: list[Fraction] = Field(default_factory=lambda: [0.5], min_length=1)
    seeds: list[int] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    regime: Literal["equal_epochs", "equal_steps"] = "equal_epochs"
    confidence: Fraction = 0.95
    workers: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _baselines(self) -> CompareConfig:
        names = [arm.name for arm in self.arms]
        baselines = [ArmConfig(policy=name) for name in ("random", "stratified_random") if name not in names]
        if len(set(names)) < len(names):
            raise ValueError(f"the arms {sorted({n for n in names if names.count(n) > 1})} are listed twice")
        if len(set(self.seeds)) < len(self.seeds) or len(set(self.fractions)) < len(self.fractions):
            raise ValueError("seeds and fractions must not repeat")
        object.__setattr__(self, "arms", baselines + self.arms)
        return self


class TrackingConfig(Section):
    """MLflow: `uri` defaults to an sqlite file in the output folder, `experiment` to the run's name."""

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None


class ReportConfig(Section):
    """The HTML report; corpus text appears in it only with `show_text: true`."""

    show_text: bool = False
    examples: Annotated[int, Field(ge=1, le=100)] = 8


class EngineConfig(Section):
    """Where the work runs: on Ray, or `local`ly in this process, without Ray."""

    kind: Literal["ray", "local"] = "ray"
    # `auto`, `local` (always a new one) or a head's address; None joins a cluster if one is there, else starts one.
    address: str | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0


class RunConfig(Section):
    """A whole run: from labelled text to a compared sample."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    output: str = "runs"
    corpus: CorpusConfig = CorpusConfig(simulated=SimulatedConfig())
    model: ModelConfig = ModelConfig()
    fine_tune: FineTuneConfig = FineTuneConfig()
    score: ScoreConfig = ScoreConfig()
    compare: CompareConfig = CompareConfig()
    tracking: TrackingConfig = TrackingConfig()
    report: ReportConfig = ReportConfig()
    engine: EngineConfig = EngineConfig()
