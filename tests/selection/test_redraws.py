"""Which arms can be drawn anew, and the seeds of the draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.selection import choose_rows, write_selection
from raysample.selection.policies import create_policy
from raysample.selection.redraws import check_draws, check_redraw, draw_seed, is_random
from tests.helpers.every_policy import ARMS, HIGHER_IS, VARIANTS, columns, rows
from tests.helpers.selection_tables import score_table


def test_seeds_of_draws_differ_and_are_seeds_of_a_configuration() -> None:
    seeds = [draw_seed(seed, epoch) for seed in (0, 1, 2**32 - 1) for epoch in range(200)]
    assert seeds[0] == 0
    assert seeds[200] == 1
    assert len(set(seeds)) == 600
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("arm", VARIANTS.values(), ids=list(VARIANTS))
def test_a_policy_says_whether_it_draws(arm: ArmConfig) -> None:
    policy, all_rows = create_policy(arm, HIGHER_IS), rows(columns())
    # Without ties, which the seed breaks: every score is replaced by its rank.
    ranks = {name: (values.argsort(kind="stable").argsort() / 1000) for name, values in all_rows.scores.items()}
    untied = replace(all_rows, scores={name: rank.astype(np.float32) for name, rank in ranks.items()})
    found = [choose_rows([untied], policy, budget=300, seed=seed)[0] for seed in (0, draw_seed(0, 1))]
    # With the share 1 nothing is left to the draw, which only the rows can tell: `check_draws` does.
    if arm.options.get("share") != 1:
        # Means of ranks have a few ties left, of which the seed decides one or two.
        assert bool((found[0] != found[1]).mean() > 0.01) == is_random(policy)


def test_an_arm_that_leaves_nothing_to_chance_is_not_drawn_anew() -> None:
    for name in ("hard", "easy", "window", "middle", "mix", "consensus"):
        arm = ARMS[name].model_copy(update={"redraw": True})
        with pytest.raises(SelectionError, match=r"(?s)redraw\)' keeps the same rows .*leave `redraw` out"):
            check_redraw(arm, create_policy(arm, HIGHER_IS))
        check_redraw(arm.fixed, create_policy(arm, HIGHER_IS))


def test_a_name_says_that_an_arm_is_drawn_anew() -> None:
    assert ArmConfig(policy="stratified_random", redraw=True).name == "stratified_random(redraw)"
    assert ArmConfig(policy="tilted", score="aum", strength=1, redraw=True).name == "tilted(aum, strength=1, redraw)"


def test_one_selection_is_one_draw(tmp_path: Path) -> None:
    arm, table = ArmConfig(policy="random", redraw=True), score_table(tmp_path / "scores")
    with pytest.raises(SelectionError, match=r"(?s)a selection is one of its draws.*draw_seed\(seed, epoch\)"):
        write_selection(table, arm, str(tmp_path / "one"), fraction=0.5)
    first = write_selection(table, arm.fixed, str(tmp_path / "one"), fraction=0.5)
    other = write_selection(table, arm.fixed, str(tmp_path / "two"), fraction=0.5, seed=draw_seed(0, 1))
    check_draws([first, other])
    shared = np.isin(first.kept_ids().to_pylist(), other.kept_ids().to_pylist()).mean()
    assert shared == pytest.approx(0.5, abs=0.1)
    check_draws([first])
    with pytest.raises(SelectionError, match="all 2 draws of 'random' keep the same rows"):
        check_draws([first, replace(first, uri="again")])
