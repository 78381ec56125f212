"""Origin of a row's label: a gold column, a hypothesis with its confidence, or user feedback after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.arrays import Float32Array, Int16Array
from raysample.core.config import FeedbackConfig, LabelsConfig, SourceConfig
from raysample.data import schema
from raysample.data.labels.classes import Codes, read_labels
from raysample.data.labels.values import GARBLED, NESTED, NULL, as_strings, mask

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE](\+?[0-9]{1,2}|-[0-9]{1,3}))?$"
SILENT, OTHER, UNREAD = -1, -2, -3
"""Feedback codes other than configured values: none; another value; unreadable, or the row is left out by `where`."""


@dataclass(frozen=True)
class Labelled:
    """The labels of a batch with their origin.

    Attributes:
        names: class names.
        reason: [rows] uint8, code of the reason why a row has no usable label (0: it has one).
        filtered: [rows] uint8, code of the reason why the configuration leaves the row out (0: selected).
        confidence: [rows] float32, the production model's confidence in its label; NaN where the label is not its
            hypothesis. Length 0 if no confidence column is configured.
        feedback: [rows] int16, index of the row's feedback in `values`, or a negative code. Length 0 if no feedback is
            configured.
    """

    names: pa.StringArray
    reason: Codes
    filtered: Codes
    confidence: Float32Array
    feedback: Int16Array


def values(feedback: FeedbackConfig) -> tuple[str, ...]:
    """Return the feedback values that give labels: those that accept the hypothesis, then those that correct it."""
    return tuple(dict.fromkeys([*feedback.accept, *feedback.correct]))


def read_label_origins(
    raw: Mapping[str, pa.Array], config: SourceConfig, names: Mapping[str, tuple[str, ...]]
) -> Labelled:
    """Read labels as `config.labels` describes their origin.

    A row whose feedback gives no label, or whose confidence is too low, is filtered whatever else is wrong with it. A
    corrected label is the user's, not the production model's: it has no confidence and needs none.
    """
    rule = config.labels
    label, reason = read_labels(raw[config.columns.label], names.get(config.columns.label), rule)
    filtered, predicted = np.zeros(len(label), np.uint8), np.ones(len(label), np.bool_)
    said, sure = np.zeros(0, np.int16), np.zeros(0, np.float32)
    if rule.feedback is not None:
        said = _feedback(raw[rule.feedback.column], values(rule.feedback))
        label, reason = _corrected(label, reason, raw, said, rule, names)
        reason[said == UNREAD] = schema.BAD_FEEDBACK
        filtered[said == SILENT] = schema.NO_FEEDBACK
        filtered[said == OTHER] = schema.MUTE_FEEDBACK
        predicted = (said >= 0) & (said < len(set(rule.feedback.accept)))
    if rule.confidence is not None:
        sure, fault = read_confidence(raw[rule.confidence])
        sure[~predicted], fault[~predicted] = np.nan, schema.FINE
        reason = np.where(reason == schema.FINE, fault, reason)
        if rule.min_confidence is not None:
            # Compare in float32 on both sides: float32(0.7) is less than float64(0.7).
            filtered[sure < np.float32(rule.min_confidence)] = schema.UNSURE
    return Labelled(label, reason, filtered, sure, said)


def _feedback(array: pa.Array, known: tuple[str, ...]) -> Int16Array:
    """Return the index of each row's feedback in `known`, [rows] int16, or SILENT, OTHER, UNREAD."""
    found = as_strings(array)
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(found.strings))
    places = pc.index_in(plain, value_set=pa.array(known, pa.string()))
    said: Int16Array = pc.fill_null(places, OTHER).to_numpy(zero_copy_only=False).astype(np.int16)
    said[(found.kinds == NULL) | mask(pc.equal(plain, ""))] = SILENT
    said[(found.kinds == NESTED) | (found.kinds == GARBLED)] = UNREAD
    return said


def _corrected(
    label: pa.StringArray,
    reason: Codes,
    raw: Mapping[str, pa.Array],
    said: Int16Array,
    rule: LabelsConfig,
    names: Mapping[str, tuple[str, ...]],
) -> tuple[pa.StringArray, Codes]:
    """Return labels with corrections applied: the column that the row's feedback names replaces the hypothesis."""
    assert rule.feedback is not None
    known = values(rule.feedback)
    for value, column in rule.feedback.correct.items():
        here = said == known.index(value)
        right, fault = read_labels(raw[column], names.get(column), rule)
        fault[np.isin(fault, (schema.NO_LABEL, schema.EMPTY_LABEL))] = schema.NO_CORRECTION
        label, reason = pc.if_else(pa.array(here), right, label), np.where(here, fault, reason)
    return label, reason


def read_confidence(array: pa.Array) -> tuple[Float32Array, Codes]:
    """Return numbers in [0, 1] as float32, NaN where there is none, and the reason codes (0: valid).

    Strings that spell a number count as numbers, since CSV has only strings.
    """
    found = as_strings(array)
    plain = pc.utf8_trim_whitespace(found.strings)
    numbers = pc.if_else(pc.match_substring_regex(plain, _NUMBER), plain, pa.scalar(None, pa.string()))
    exact = pc.fill_null(numbers.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    sure = np.clip(exact, -1, 2).astype(np.float32)
    fine = (sure >= 0) & (sure <= 1)
    reason = np.where(fine, schema.FINE, schema.BAD_CONFIDENCE).astype(np.uint8)
    reason[(found.kinds == NULL) | mask(pc.equal(plain, ""))] = schema.NO_CONFIDENCE
    return np.where(fine, sure, np.float32(np.nan)), reason


def as_column(confidence: Float32Array) -> pa.StringArray:
    """Return a confidence as strings, like the other columns of a judged batch; null for NaN."""
    return pa.array(confidence, pa.float32(), mask=np.isnan(confidence)).cast(pa.string())


def summary(rule: LabelsConfig, confidence: Float32Array, feedback: Int16Array, usable: Any) -> dict[str, Any]:
    """Return facts about the labels as JSON-able data: `origin`, `confidence`, `feedback`.

    Args:
        rule: origin of the labels.
        confidence, feedback: of all rows, as in `Labelled`.
        usable: [rows] bool.
    """
    result: dict[str, Any] = {"origin": rule.origin}
    if rule.confidence is not None:
        result["confidence"] = _confidence_deciles(confidence[usable])
    if rule.feedback is not None:
        result["feedback"] = _feedback_counts(rule.feedback, feedback, usable)
    return result


def _confidence_deciles(confidence: Float32Array) -> dict[str, Any]:
    """Return the number of labels with a confidence, its mean, and its deciles: minimum, 10 %, ..., maximum."""
    known = confidence[~np.isnan(confidence)].astype(np.float64)
    if not len(known):
        return {"rows": 0, "mean": None, "deciles": []}
    deciles = np.quantile(known, np.linspace(0, 1, 11), method="inverted_cdf")
    return {
        "rows": len(known),
        "mean": round(float(known.mean()), 6),
        "deciles": [round(float(value), 6) for value in deciles],
    }


def _feedback_counts(feedback: FeedbackConfig, said: Int16Array, usable: Any) -> list[dict[str, Any]]:
    """Return for each feedback value, for others and for none: what it gives, rows read and usable rows."""
    gives = dict.fromkeys(feedback.accept, "the hypothesis")
    gives |= {value: f"the label in {column}" for value, column in feedback.correct.items()}
    rows = [(code, value, gives[value]) for code, value in enumerate(values(feedback))]
    rows += [(OTHER, "any other value", "no label"), (SILENT, "none", "no label")]
    return [
        {"value": value, "gives": what, "rows": int((said == code).sum()), "usable": int((said[usable] == code).sum())}
        for code, value, what in rows
    ]
