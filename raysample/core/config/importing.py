"""Checkpoints of other tools, in place of a fine-tuning."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raysample.core.config.section import Address, Section


class AdoptConfig(Section):
    """Checkpoints that are scored in place of those of a fine-tuning.

    `path`: a Hugging Face Trainer's output folder, model folders in training order, or a set from `raysample adopt`.
    """

    path: Address | list[Address]
    # In the order of the classifier's outputs; None: those of config.json.
    labels: Annotated[list[str], Field(min_length=2)] | None = None
    # One per checkpoint, or one for all; None: those that the training logged.
    learning_rates: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] | None = None

    @property
    def paths(self) -> list[str]:
        """The paths as a list."""
        return [self.path] if isinstance(self.path, str) else self.path
