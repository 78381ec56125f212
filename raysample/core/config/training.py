"""The model that is fine-tuned, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raysample.core.config.section import Address, Count, Fraction, Section, Seed


class ModelConfig(Section):
    """The encoder: `tiny` (built on the spot from the corpus), a local folder, or a hub name."""

    path: Address = "tiny"
    layers: Annotated[int, Field(ge=1, le=1_000)] | None = None
    max_length: Annotated[int, Field(ge=4, le=8192)] = 64
    # Which end of a text that is too long is cut off; None leaves that to the tokenizer.
    truncation_side: Literal["right", "left"] | None = None
    pair_truncation: Literal["longest_first", "only_first", "only_second"] = "longest_first"
    # Mini-batches as wide as a multiple of this, which tensor cores like.
    pad_to_multiple_of: Annotated[int, Field(ge=1, le=512)] = 1
    hidden_size: Annotated[int, Field(ge=8, le=16_384, multiple_of=4)] = 64
    vocabulary_size: Annotated[int, Field(ge=100, le=10_000_000)] = 2_000
    # None keeps the model's own probabilities. On a CPU drawing the masks can take half of a training step.
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    trust_remote_code: bool = False
    # Widths of the hidden layers of a perceptron in place of the last linear layer; none: the family's own head.
    head_hidden: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(default_factory=list)
    # Regular expressions: parameters whose names match one stay as they are, and do not count in gradient scores.
    freeze: list[str] = Field(default_factory=list)

    @property
    def tokenising(self) -> dict[str, Any]:
        """The settings of tokenising and padding, beside `max_length`, that are not the default ones."""
        return {name: getattr(self, name) for name in _TOKENISING if getattr(self, name) != _default(name)}

    def to_dict(self) -> dict[str, Any]:
        """Return the section as JSON-able data.

        The settings of `tokenising` came later: without the default ones of them, runs from before keep their keys.
        """
        return {
            name: value for name, value in super().to_dict().items() if name not in {*_TOKENISING} - {*self.tokenising}
        }


_TOKENISING = ("truncation_side", "pair_truncation", "pad_to_multiple_of")


def _default(name: str) -> Any:
    """Return the default of a field of ModelConfig."""
    return ModelConfig.model_fields[name].default


class EarlyStoppingConfig(Section):
    """Fine-tuning ends when `metric` on held-out training rows has not improved for `patience` epochs.

    `holdout` is the share of the training rows, drawn by their ids, that is not trained on but looked at after every
    epoch; a gain of at most `min_delta` counts as none.
    """

    renamed: ClassVar[Mapping[str, str]] = {"least": "min_delta"}

    holdout: Fraction = 0.1
    metric: Literal["nll", "accuracy", "macro_f1"] = "nll"
    patience: Count = 1
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class ResumeConfig(Section):
    """How often the state of a running fine-tuning is saved, so that it can go on after whatever ends it.

    Every so many `minutes`, and every so many `steps` where that is given; the newest `keep` states stay until the run
    is finished. After `failures` ends in a row at one and the same state the run is given up.
    """

    minutes: Annotated[float, Field(gt=0)] = 10.0
    steps: Count | None = None
    keep: Count = 2
    failures: Annotated[int, Field(ge=0, lt=2**31)] = 3


class FineTuneConfig(Section):
    """How a model is fine-tuned and which checkpoints it leaves."""

    renamed: ClassVar[Mapping[str, str]] = {"warmup": "warmup_ratio", "retain": "keep_checkpoints"}

    epochs: Count = 3
    batch_size: Count = 32
    # Rows of one forward and backward of a worker, whose gradients are added up to a step; None: its whole share.
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
    # Weights of rows by their class: inverse to its share, or as given (1 where a class is not named).
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    early_stopping: EarlyStoppingConfig | None = None
    checkpoints: Count | None = None
    checkpoints_per_epoch: Count | None = None
    checkpoint_every: Count | None = None
    # Of a hierarchical label: one head per level, trained together; or the level of `label` alone.
    levels: Literal["all", "label"] = "all"
    # What each level's loss counts, by the name of the level; 1 where none is given.
    level_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    # So many more within the first epoch, at steps in geometric progression.
    early_checkpoints: Count | None = None
    # `scored`: only checkpoints that a score of the run uses are saved, and the last one.
    keep_checkpoints: Literal["all", "scored"] = "all"
    group_by_length: bool = False
    # Writes every example's logits at each of its presentations, for scores that need nothing else.
    capture: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: Seed = 0
    # How many, or the fewest and the most, which then come and go as the cluster's nodes do.
    workers: Count | tuple[Count, Count] = 1
    # `full`: each worker holds a part of weights, gradients and optimiser (FSDP2), for models that fill a device.
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
        return self

    @property
    def workers_range(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    @property
    def recipe(self) -> dict[str, Any]:
        """What the trained weights depend on: all but how many workers there are and how often states are saved."""
        return {name: value for name, value in self.to_dict().items() if name not in ("workers", "resume")}
