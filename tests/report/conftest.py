"""A score table and a comparison that the tests of the report share."""

from __future__ import annotations

import pytest

from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from tests.helpers.report_data import ARMS, SCORES, fake_comparison, fake_table


@pytest.fixture(scope="session")
def labels() -> tuple[str, ...]:
    return ("weather", "music", "alarm")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory, labels: tuple[str, ...]) -> ScoreTable:
    return fake_table(tmp_path_factory.mktemp("scores"), labels)


@pytest.fixture(scope="session")
def comparison(labels: tuple[str, ...]) -> Comparison:
    return fake_comparison(labels, ARMS)


@pytest.fixture(scope="session")
def slim(tmp_path_factory: pytest.TempPathFactory, labels: tuple[str, ...]) -> ScoreTable:
    """Write a table of one score, for pages whose score figures do not matter."""
    return fake_table(tmp_path_factory.mktemp("slim"), labels, rows=200, scores={"el2n": SCORES["el2n"]})
