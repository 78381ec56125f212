"""The model and the recipe of a fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raysample.core.config.section import Address, Count, Fraction, Section, Seed
from raysample.core.config.selection import ArmConfig


class ModelConfig(Section):
    """The encoder: `tiny` (built from the corpus), a local folder, or a hub name."""

    path: Address = "tiny"
    layers: Annotated[int, Field(ge=1, le=1_000)] | None = None
    max_length: Annotated[int, Field(ge=4, le=8192)] = 64
    # The end at which a text that is too long is cut; None leaves that to the tokenizer.
    truncation_side: Literal["right", "left"] | None = None
    pair_truncation: Literal["longest_first", "only_first", "only_second"] = "longest_first"
    # The width of a mini-batch is a multiple of this; tensor cores are faster so.
    pad_to_multiple_of: Annotated[int, Field(ge=1, le=512)] = 1
    hidden_size: Annotated[int, Field(ge=8, le=16_384, multiple_of=4)] = 64
    vocabulary_size: Annotated[int, Field(ge=100, le=10_000_000)] = 2_000
    # None keeps the model's own probabilities. On a CPU, drawing the masks can take half of a training step.
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    trust_remote_code: bool = False
    # Widths of the hidden layers of a perceptron that replaces the last linear layer; empty: the family's own head.
    head_hidden: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(default_factory=list)
    # Regular expressions: parameters with a matching name are not trained and do not count in gradient scores.
    freeze: list[str] = Field(default_factory=list)

    @property
    def tokenising(self) -> dict[str, Any]:
        """The settings of tokenising and padding, except `max_length`."""
        return {name: getattr(self, name) for name in _TOKENISING}


_TOKENISING = ("truncation_side", "pair_truncation", "pad_to_multiple_of")


class EarlyStoppingConfig(Section):
    """Fine-tuning ends when `metric` on rows that are not trained on has not improved for `patience` epochs.

    The rows are those of `corpus.validation`. Without it `holdout` is the share of the training rows, chosen by their
    ids, that is held out. An improvement of at most `min_delta` does not count.
    """

    renamed: ClassVar[Mapping[str, str]] = {"least": "min_delta"}

    holdout: Fraction = 0.1
    metric: Literal["nll", "accuracy", "macro_f1"] = "nll"
    patience: Count = 1
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class ResumeConfig(Section):
    """How often the state of a running fine-tuning is saved, so that it can be resumed after an interruption.

    Every `minutes`, and additionally every `steps` if set; the newest `keep` states stay until the run is finished.
    After `failures` interruptions in a row from the same state the run fails.
    """

    minutes: Annotated[float, Field(gt=0)] = 10.0
    steps: Count | None = None
    keep: Count = 2
    failures: Annotated[int, Field(ge=0, lt=2**31)] = 3


class InfoBatchConfig(Section):
    """InfoBatch (Qin et al., ICLR 2024): a row whose last loss is below the mean is left out of a pass at random.

    `prune` is the probability; kept ones of these rows weigh 1 / (1 - `prune`). The last share `anneal` of the steps is
    on all rows.
    """

    prune: Fraction = 0.5
    anneal: Annotated[float, Field(ge=0, lt=1)] = 0.125


class DynamicConfig(Section):
    """The rows of a fine-tuning change while it runs: give `redraw` or `infobatch`.

    With `redraw` each epoch has a new sample of the training rows, a `share` of them, by this arm; `scores` is the
    folder of a score table of the training rows, for a policy that reads scores. With `infobatch` rows are pruned by
    their losses, and the training takes a `share` of the steps of all rows.
    """

    redraw: ArmConfig | None = None
    infobatch: InfoBatchConfig | None = None
    share: Fraction = 0.5
    scores: Address | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> DynamicConfig:
        """Require one of the two kinds, `scores` only with `redraw`, and no `redraw: true` inside the arm."""
        if (self.redraw is None) == (self.infobatch is None):
            raise ValueError("give either redraw (an arm that draws) or infobatch")
        if self.redraw is not None and self.redraw.redraw:
            raise ValueError("the arm is drawn anew for every epoch: leave `redraw: true` out of it")
        if self.infobatch is not None and self.scores is not None:
            raise ValueError("infobatch goes by the losses of the training itself: leave scores out")
        return self

    def rows_per_epoch(self, rows: int) -> int:
        """Return the number of rows that an epoch chooses from, of `rows` training rows."""
        return rows if self.redraw is None else max(1, round(self.share * rows))


class FineTuneConfig(Section):
    """The recipe of a fine-tuning, and the checkpoints that it saves."""

    renamed: ClassVar[Mapping[str, str]] = {"warmup": "warmup_ratio", "retain": "keep_checkpoints"}

    epochs: Count = 3
    batch_size: Count = 32
    # Rows of one forward and backward of a worker; gradients are summed up to a step. None: its whole share.
    micro_batch_size: Count | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    # Each layer's rate is this times that of the layer above; the embeddings are below the first.
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # Weights of rows by class: inverse to its share, or as given (1 for a class that is not named).
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    early_stopping: EarlyStoppingConfig | None = None
    # A new sample of the training rows for every epoch; never in comparisons, whose arms have a `redraw` of their own.
    dynamic: DynamicConfig | None = None
    checkpoints: Count | None = None
    checkpoints_per_epoch: Count | None = None
    checkpoint_every: Count | None = None
    # For a hierarchical label: one head per level, trained together; or only the level of `label`.
    levels: Literal["all", "label"] = "all"
    # Weight of each level's loss, by the name of the level; 1 by default.
    level_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    # Additional checkpoints within the first epoch, at steps in geometric progression.
    early_checkpoints: Count | None = None
    # `scored`: only checkpoints that a score of the run uses are saved, and the last one.
    keep_checkpoints: Literal["all", "scored"] = "all"
    group_by_length: bool = False
    # Write every example's logits of each training forward, for scores that need only logits.
    capture: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: Seed = 0
    # Number of workers, or the smallest and the largest one: the number then follows the cluster's nodes.
    workers: Count | tuple[Count, Count] = 1
    # `full`: each worker holds a shard of weights, gradients and optimiser state (FSDP2), for models that fill a
    # device.
    sharding: Literal["none", "full"] = "none"
    resume: ResumeConfig = ResumeConfig()

    @model_validator(mode="after")
    def _one_cadence(self) -> FineTuneConfig:
        """Refuse more than one checkpoint cadence."""
        given = [self.checkpoints, self.checkpoints_per_epoch, self.checkpoint_every]
        if sum(value is not None for value in given) > 1:
            raise ValueError("give one of checkpoints, checkpoints_per_epoch, checkpoint_every")
        return self

    @model_validator(mode="after")
    def _parts_that_fit(self) -> FineTuneConfig:
        """Refuse combinations of settings that exclude each other."""
        if self.workers_range[0] > self.workers_range[1]:
            raise ValueError(f"workers: {list(self.workers_range)} are the fewest and the most, in this order")
        if self.sharding == "full" and self.precision == "float16":
            raise ValueError(
                "sharding: full goes with bfloat16 or float32; float16 needs its losses scaled, which it does not do"
            )
        if self.capture and self.early_stopping is not None:
            raise ValueError("capture holds logits of all rows, and early_stopping trains on a part of them: use one")
        if self.dynamic is not None and (self.capture or self.early_stopping is not None):
            other = "capture" if self.capture else "early_stopping"
            raise ValueError(f"{other} needs the same rows in every epoch, and dynamic changes them: use one")
        return self

    @property
    def workers_range(self) -> tuple[int, int]:
        """The smallest and the largest number of workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    def rows_per_epoch(self, rows: int) -> int:
        """Return the number of rows of an epoch, of `rows` training rows."""
        return rows if self.dynamic is None else self.dynamic.rows_per_epoch(rows)

    @property
    def share_of_steps(self) -> float:
        """The share of the steps of all epochs that the training takes: 1 unless rows are pruned by their losses."""
        return 1.0 if self.dynamic is None or self.dynamic.infobatch is None else self.dynamic.share

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that the trained weights depend on: all but the workers and the cadence of states."""
        return {name: value for name, value in self.to_dict().items() if name not in ("workers", "resume")}
