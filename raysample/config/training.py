"""The model that is fine-tuned, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysample.config.section import Section


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
    # Widths of the hidden layers of a perceptron in place of the last linear layer; none: the family's own head.
    head_hidden: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
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
    # Of a hierarchical label: one head per level, trained together; or the level of `label` alone.
    levels: Literal["all", "label"] = "all"
    # What each level's loss counts, by the name of the level; 1 where none is given.
    level_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
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
