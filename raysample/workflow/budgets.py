"""Selections of every arm at one budget: a share, a count, tokens, or the share that the comparison recommends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from raysample.core.config import ArmConfig, SampleConfig, TokensConfig
from raysample.evaluation.comparison import Comparison
from raysample.evaluation.keep_curve import recommend
from raysample.selection import Selection, write_selection
from raysample.selection.redraws import draw_seed
from raysample.workflow.layout import RunFolder
from raysample.workflow.selections import ArmSelections, map_for


@dataclass(frozen=True)
class ArmBudget:
    """Budget of one arm: keyword arguments of `write_selection`, a short name for folders, and its origin as text."""

    arm: ArmConfig
    budget: dict[str, Any]
    name: str
    why: str = ""


def arm_budgets(config: SampleConfig, arms: list[ArmConfig], run_folder: RunFolder) -> Iterator[ArmBudget]:
    """Yield the budget of every arm; with `auto`, only of arms for which the comparison has a keep curve.

    Raises:
        StorageError: there is no comparison yet.
        SelectionError: the comparison has fewer than three shares, or no results on validation rows.
    """
    budget = config.budget
    if budget == "auto":
        comparison = Comparison.load(run_folder.comparison)
        recommended = {one.arm: one for one in recommend(comparison.runs, config.tolerance)}
        for arm in arms:
            if arm.name in recommended:
                one = recommended[arm.name]
                why = f"expected to cost {one.loss:.2%} of accuracy on validation, {config.tolerance:.2%} are allowed"
                yield ArmBudget(arm, {"fraction": one.fraction}, "auto", why)
        return
    for arm in arms:
        if isinstance(budget, TokensConfig):
            yield ArmBudget(arm, {"tokens": budget.tokens}, f"{budget.tokens}-tokens")
        elif isinstance(budget, int):
            yield ArmBudget(arm, {"count": budget}, f"{budget}-rows")
        else:
            yield ArmBudget(arm, {"fraction": budget}, f"{budget:g}")


def select_at_budget(
    config: SampleConfig, retraining: ArmSelections, compared: RunFolder
) -> Iterator[tuple[str, Selection]]:
    """Write the selection of every arm at the budget, with the first seed; yield a title and the selection.

    Of an arm with `redraw` the selections of all epochs are written, and the first is yielded.

    `compared`: the run folder of the comparison.
    """
    compare, table, run_folder = retraining.config, retraining.table, retraining.run_folder
    seed, map_fn = compare.seeds[0], map_for(table, retraining.context.executor)
    for one in arm_budgets(config, compare.arms, compared):

        def draw(epoch: int, one: ArmBudget = one) -> Selection:
            """Write the selection of an epoch."""
            uri, chance = run_folder.pruned(one.arm, one.name, seed, epoch), draw_seed(seed, epoch)
            return write_selection(table, one.arm.fixed, uri, **one.budget, seed=chance, map_fn=map_fn)

        selection, *redraws = retraining.with_redraws(one.arm, draw(0), seed, draw, [compare.first_regime])
        kept, rows = selection.counts["kept"], selection.counts["in"] - selection.counts["quarantined"]
        title = f"{one.arm.name}: {kept:,} of {rows:,} rows ({kept / rows:.1%})"
        title += f", drawn anew for each of {1 + len(redraws)} epochs" if redraws else ""
        yield f"{title}, {one.why}" if one.why else title, selection
