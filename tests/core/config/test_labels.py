"""The section `labels` of a source: what it may say, and which contradictions are refused."""

from __future__ import annotations

from typing import Any

import pytest

from raysample.core.config import LabelsConfig, SourceConfig, parse
from raysample.core.errors import ConfigError

FEEDBACK: dict[str, Any] = {"column": "outcome", "accept": ["completed"]}


def source(**labels: Any) -> dict[str, Any]:
    return {"path": "log.parquet", "columns": {"label": "hypothesis"}, "labels": labels}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"confidence": "score"}, "confidence tells of the production model's hypotheses, .* set origin to hypothesis"),
        ({"origin": "gold", "feedback": FEEDBACK}, "feedback tells of the production model's hypotheses"),
        ({"origin": "hypothesis", "min_confidence": 0.5}, "min_confidence needs confidence"),
        ({"origin": "hypothesis", "confidence": "c", "min_confidence": 1.5}, "less than or equal to 1"),
        ({"origin": "hypothesis", "feedback": FEEDBACK}, "go together: give both or neither"),
        ({"origin": "feedback"}, "go together: give both or neither"),
        ({"origin": "weak"}, "Input should be 'gold', 'hypothesis' or 'feedback'"),
        ({"origin": "feedback", "feedback": {"column": "outcome"}}, "name values in accept, or in correct"),
        (
            {"origin": "feedback", "feedback": {**FEEDBACK, "correct": {"Completed": "right"}}},
            "'completed' is both in accept and in correct",
        ),
        ({"origin": "feedback", "feedback": {"column": "outcome", "accept": [" "]}}, "and not empty"),
        (
            {"origin": "feedback", "feedback": {"column": "outcome", "accept": [None]}},
            "a string, a number or a boolean",
        ),
        (
            {"origin": "feedback", "feedback": {"column": "outcome", "correct": {"No": "a", "no": "b"}}},
            "two values of correct differ only in upper and lower case",
        ),
        ({"origin": "feedback", "feedback": {**FEEDBACK, "accepts": []}}, "did you mean 'accept'"),
    ],
)
def test_contradictions_are_refused_with_advice(labels: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse({"corpus": {"train": source(**labels), "holdout": 0.1}})


def test_values_of_feedback_are_spelled_alike() -> None:
    rule = {"column": "stars", "accept": [5, 4.0, True, " Good "], "correct": {2: "right", False: "right"}}
    config = LabelsConfig.model_validate({"origin": "feedback", "feedback": rule})
    assert config.feedback is not None
    assert config.feedback.accept == ["5", "4", "true", "good"]
    assert config.feedback.correct == {"2": "right", "false": "right"}
    assert LabelsConfig.model_validate(config.to_dict()) == config


def test_the_columns_of_a_rule_are_named_by_their_settings() -> None:
    rule = {**FEEDBACK, "correct": {"rephrased": "meant", "edited": "meant"}}
    config = SourceConfig.model_validate(source(origin="feedback", confidence="sure", feedback=rule))
    assert config.labels.columns() == {
        "labels.confidence": "sure",
        "labels.feedback.column": "outcome",
        "labels.feedback.correct.rephrased": "meant",
        "labels.feedback.correct.edited": "meant",
    }


def test_a_test_that_shares_the_column_of_hypotheses_must_say_what_it_holds() -> None:
    shared = {"columns": {"label": "intent"}, "train": {"path": "log", "labels": {"origin": "hypothesis"}}}
    with pytest.raises(ConfigError, match=r"without saying what it holds.*corpus.test.labels: \{origin: gold\}"):
        parse({"corpus": {**shared, "test": {"path": "test"}}})
    said = parse({"corpus": {**shared, "test": {"path": "test", "labels": {"origin": "gold"}}}}).corpus
    other = parse({"corpus": {**shared, "test": {"path": "test", "columns": {"label": "gold_intent"}}}}).corpus
    assert said.test is not None
    assert other.test is not None
    assert (said.test.labels.origin, other.test.labels.origin) == ("gold", "gold")
