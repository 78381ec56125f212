"""The section of a source: location of the texts, meaning of the columns, origin of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from raysample.core.config.limits import LimitsConfig
from raysample.core.config.section import Address, Count, Section


class Columns(Section):
    """The columns of the source by their meaning."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    id: str | None = None
    group: str | None = None
    timestamp: str | None = None
    # The columns of a hierarchical label, coarse to fine; `label` is the one that scores and samples use.
    levels: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _label_is_a_level(self) -> Columns:
        """Require the label to be one of the levels."""
        if not self.levels:
            return self
        if self.label not in self.levels:
            raise ValueError(
                f"levels ({', '.join(self.levels)}) lacks the column of label, {self.label!r}: list every level, "
                "coarse to fine, and set label to the one that scores and samples go by"
            )
        if len(set(self.levels)) != len(self.levels) or len(self.levels) < 2:
            raise ValueError("levels names two or more columns, each once; a label of one level needs label alone")
        return self


def normalize_feedback(value: Any) -> str:
    """Return a value in the form in which feedback is compared: a string, lower case, stripped; 3.0 as `3`.

    Raises ValueError for anything but a string, a number or a boolean, and for an empty string.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError("a value of the feedback column is a string, a number or a boolean, and not empty")
    return str(value).strip().lower()


def _spelled_keys(given: Any) -> Any:
    """Normalise the keys of `correct`; refuse keys that become equal."""
    if not isinstance(given, Mapping):
        return given
    found = {normalize_feedback(key): column for key, column in given.items()}
    if len(found) < len(given):
        raise ValueError("two values of correct differ only in upper and lower case, or in how a number is written")
    return found


class FeedbackConfig(Section):
    """User feedback after the production model's answer, which decides whether its hypothesis is the label.

    A row has the hypothesis as its label if the value in `column` is in `accept`, and the label in another column if
    `correct` names one for the value. A row with any other value, or none, has no label and is left out. Values are
    compared as strings, case-insensitively.
    """

    column: str
    accept: list[Annotated[str, BeforeValidator(normalize_feedback)]] = Field(default_factory=list)
    correct: Annotated[dict[str, str], BeforeValidator(_spelled_keys)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_meaning(self) -> FeedbackConfig:
        """Require at least one accepted or corrected value, and none that is both."""
        if not self.accept and not self.correct:
            raise ValueError("no feedback gives a label: name values in accept, or in correct, or in both")
        both = [value for value in self.accept if value in self.correct]
        if both:
            raise ValueError(f"{both[0]!r} is both in accept and in correct; it can mean only one of them")
        return self


def _as_label(value: Any) -> Any:
    """Return a number or boolean as the label string of that value; anything else unchanged."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


class LabelsConfig(Section):
    """The origin of the labels of a source.

    `gold`: annotated by people. `hypothesis`: `columns.label` holds the production model's output. `feedback`: the
    same, but a row counts only if user feedback confirms or corrects it. `confidence` names the column with the
    production model's confidence, in [0, 1]; a hypothesis below `min_confidence` is left out. Values in `missing` mean
    that a row has no label; with an empty list -1 is a class. `numeric_strings`: a string of digits is the class of
    that number; if false, a class that occurs as string and as number is an error.
    """

    renamed: ClassVar[Mapping[str, str]] = {"least_confidence": "min_confidence"}

    origin: Literal["gold", "hypothesis", "feedback"] = "gold"
    confidence: str | None = None
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    feedback: FeedbackConfig | None = None
    missing: list[Annotated[str, BeforeValidator(_as_label)]] = Field(default_factory=lambda: ["-1", "-"])
    numeric_strings: bool = True

    @model_validator(mode="after")
    def _fits_its_origin(self) -> LabelsConfig:
        """Require the settings that the origin needs, and refuse those that it does not use."""
        if self.origin == "gold" and (self.confidence is not None or self.feedback is not None):
            given = "confidence" if self.confidence is not None else "feedback"
            raise ValueError(
                f"{given} tells of the production model's hypotheses, and the labels are said to be gold: "
                "set origin to hypothesis or feedback, or leave it out"
            )
        if (self.origin == "feedback") != (self.feedback is not None):
            raise ValueError(
                "origin: feedback and the section feedback (column, accept, correct) go together: give both or neither"
            )
        if self.min_confidence is not None and self.confidence is None:
            raise ValueError("min_confidence needs confidence: the column of the production model's confidence")
        return self

    def columns(self) -> dict[str, str]:
        """Return the columns that are read beside the label, by the setting that names each."""
        found = {} if self.confidence is None else {"labels.confidence": self.confidence}
        if self.feedback is not None:
            found["labels.feedback.column"] = self.feedback.column
            found |= {f"labels.feedback.correct.{value}": name for value, name in self.feedback.correct.items()}
        return found


class SourceConfig(Section):
    """Labelled texts. `path` is a file, a folder (with or without `key=value` partitions), or `hub:NAME`.

    `where` keeps the rows whose columns equal the given values; `limit` keeps that many rows, chosen by a hash of their
    ids. `unseen_labels` decides about a test label that does not occur in training; a share of bad rows above
    `max_quarantined` is an error. `quoting`, `delimiter` and `escape` describe separated values: by default `.tsv` is
    separated by tabs without quotes, everything else by commas, with double quotes where needed.
    """

    path: Address
    format: Literal["auto", "parquet", "jsonl", "csv", "datasets", "hub"] = "auto"
    split: str | None = None
    columns: Columns = Columns()
    labels: LabelsConfig = LabelsConfig()
    where: dict[str, str | int | float | bool] = Field(default_factory=dict)
    limit: Count | None = None
    unseen_labels: Literal["error", "quarantine"] = "error"
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.1
    quoting: Literal["minimal", "none"] | None = None
    delimiter: Annotated[str, Field(pattern=r"^[^\"\r\n\ufeff]$")] | None = None
    # Escape character; by default a quote inside a quoted field is doubled.
    escape: Annotated[str, Field(pattern=r"^[^\"\r\n\ufeff]$")] | None = None
    limits: LimitsConfig = LimitsConfig()

    @model_validator(mode="after")
    def _one_sign_each(self) -> SourceConfig:
        """Refuse an escape character equal to the delimiter."""
        if self.escape is not None and self.escape == self.delimiter:
            raise ValueError(f"delimiter and escape are both {self.escape!r}: give each a sign of its own")
        return self

    @property
    def label_alone(self) -> SourceConfig:
        """The source without the other levels of its label."""
        return self.model_copy(update={"columns": self.columns.model_copy(update={"levels": []})})

    @model_validator(mode="after")
    def _correct_every_level(self) -> SourceConfig:
        """Refuse corrected labels together with several levels."""
        if self.columns.levels and self.labels.feedback is not None and self.labels.feedback.correct:
            raise ValueError(
                "labels.feedback.correct gives another label for one column, and columns.levels needs one for every "
                "level: leave out levels, or correct"
            )
        return self
