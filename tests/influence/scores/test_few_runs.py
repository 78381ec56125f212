"""A score that its source averages over several runs says so where it gets fewer."""

from __future__ import annotations

from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import create_scores, define_score, describe_few_runs

RUN = tuple(Checkpoint("", step, float(step), 1e-3) for step in range(1, 5))


def test_columns_with_fewer_runs_than_in_their_sources_are_named() -> None:
    scores = create_scores(["vog", "el2n", {"name": "forgetting", "as": "forgotten"}, "loss"])
    definitions = {column: define_score(score, RUN) for column, score in scores.items()}
    assert "of 1 here (score.runs), of more in their sources: el2n (10), forgotten (3)" in describe_few_runs(
        definitions, 1
    )
    assert describe_few_runs(definitions, 3).endswith("el2n (10)")
    assert describe_few_runs(definitions, 10) == ""
