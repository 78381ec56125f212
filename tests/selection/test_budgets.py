"""Budgets in tokens, and what `auto` is without evidence."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import storage
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.data.identity import group_codes
from raysample.data.score_table import ScoreTable, table_schema
from raysample.selection import Selection, write_selection
from raysample.selection.policies import create_policy
from tests.helpers.every_policy import columns

DATA = columns()
TOKENS = np.random.default_rng(7).integers(3, 60, 1000)


def score_table(folder: Path, cuts: tuple[int, ...] = (300, 700)) -> ScoreTable:
    made = {name: DATA[name] for name in ("row_id", "label", "group", "vog", "aum")}
    codes = group_codes(pa.array(DATA["group"], pa.string()))
    whole = pa.table({**made, "tokens": TOKENS, "group_code": codes}).select(
        table_schema(("vog", "aum"), grouped=True).names
    )
    names = []
    for number, (start, stop) in enumerate(zip((0, *cuts), (*cuts, 1000), strict=True)):
        names.append(f"parts/{number}.parquet")
        part = whole.slice(start, stop - start).cast(table_schema(("vog", "aum"), grouped=True))
        storage.write_parquet(str(folder / names[-1]), part)
    higher = {"vog": {"higher_is": "harder"}, "aum": {"higher_is": "easier"}}
    counts = {"in": 1000, "scored": 1000, "quarantined": 0}
    return ScoreTable(str(folder), tuple(names), higher, ("a", "b", "c"), "c", "k", counts, {}, grouped=True).save()


ARMS: list[dict[str, Any]] = [
    {"policy": "hard", "score": "vog", "normalise": "class"},
    {"policy": "random"},
    {"policy": "softmax", "score": "aum", "quota": "balanced"},
    {"policy": "explore", "score": "vog", "cap_per_group": 60},
]


def kept_tokens(selection: Selection) -> int:
    return int(TOKENS[selection.to_pandas()["decision"].eq("kept")].sum())


@pytest.mark.parametrize("budget", [60, 9_999, 25_000])
@pytest.mark.parametrize("arm", [ArmConfig(**given) for given in ARMS], ids=lambda arm: arm.name)
def test_kept_rows_fit_and_one_more_does_not(arm: ArmConfig, budget: int, tmp_path: Path) -> None:
    table = score_table(tmp_path / "t")
    made = write_selection(table, arm, str(tmp_path / "fits"), tokens=budget, seed=1)
    assert made.tokens == budget
    assert kept_tokens(made) <= budget
    count = made.counts["kept"]
    same = write_selection(table, arm, str(tmp_path / "same"), count=count, seed=1)
    assert same.digest == made.digest
    assert kept_tokens(write_selection(table, arm, str(tmp_path / "more"), count=count + 1, seed=1)) > budget
    other = write_selection(
        score_table(tmp_path / "u", (10, 11, 900)), arm, str(tmp_path / "other"), tokens=budget, seed=1
    )
    assert other.digest == made.digest


def test_limits_that_a_guess_runs_into_are_no_trouble_but_those_of_the_answer_are(tmp_path: Path) -> None:
    table = score_table(tmp_path / "t")
    arm = ArmConfig(policy="easy", score="aum", cap_per_group=40)  # leaves 772 rows
    most = kept_tokens(write_selection(table, arm, str(tmp_path / "o"), count=772))
    for budget in (most - 2_000, most - 500, most - 1):
        made = write_selection(table, arm, str(tmp_path / "o"), tokens=budget)
        assert made.counts["kept"] < 772
        assert budget - 60 < kept_tokens(made) <= budget
    for budget in (most, most + 1, most + 2_000):
        with pytest.raises(SelectionError, match="leaves 772 rows, the budget needs 773"):
            write_selection(table, arm, str(tmp_path / "o"), tokens=budget)
    floor = ArmConfig(policy="hard", score="vog", min_per_class=80)  # 240 rows
    with pytest.raises(SelectionError, match=r"keeps 2\d\d rows, and"):
        write_selection(table, floor, str(tmp_path / "p"), tokens=3_000)
    assert kept_tokens(write_selection(table, floor, str(tmp_path / "p"), tokens=9_000)) <= 9_000


def test_all_tokens_are_all_rows_and_more_are_an_error(tmp_path: Path) -> None:
    table, total = score_table(tmp_path / "t"), int(TOKENS.sum())
    assert write_selection(table, ArmConfig(policy="random"), str(tmp_path / "o"), tokens=total).counts["kept"] == 1000
    for tokens, message in ((total + 1, "cannot keep"), (0, "cannot keep"), (1, "no row fits into 1 tokens")):
        with pytest.raises(SelectionError, match=message):
            write_selection(table, ArmConfig(policy="hard", score="vog"), str(tmp_path / "p"), tokens=tokens)
    with pytest.raises(SelectionError, match="give exactly one"):
        write_selection(table, ArmConfig(policy="random"), str(tmp_path / "p"), tokens=5, count=3)


def test_auto_without_evidence_is_stratified_random(tmp_path: Path) -> None:
    table = score_table(tmp_path / "t")
    for count in (200, 700):
        ours, incumbent = (
            write_selection(table, ArmConfig(policy=policy), str(tmp_path / f"{policy}-{count}"), count=count)
            for policy in ("auto", "stratified_random")
        )
        assert ours.name == "auto"
        assert ours.digest == incumbent.digest
    with pytest.raises(SelectionError, match="policy 'auto' draws rows by lot and has no use for score 'vog'"):
        create_policy(ArmConfig(score="vog"), {"vog": "harder"})


@pytest.mark.parametrize("bound", [{"min_per_class": 100}, {"max_per_class": 200}])
@pytest.mark.parametrize("quota", ["proportional", "balanced"])
def test_tokens_are_met_whatever_counts_the_bounds_of_classes_forbid(
    bound: dict[str, int], quota: str, tmp_path: Path
) -> None:
    table = score_table(tmp_path / "t")
    arm = ArmConfig.model_validate({"policy": "hard", "score": "vog", "quota": quota, **bound})
    sizes = table.to_arrow()["label"].value_counts().field("counts").to_numpy()
    low, high = np.minimum(sizes, 100).sum(), np.minimum(sizes, 200).sum()
    # Beside the bounds, where a guess of the search runs into them.
    limit = int(low if "min_per_class" in bound else high)
    there = kept_tokens(write_selection(table, arm, str(tmp_path / "o"), count=limit))
    budget = there + 100 if "min_per_class" in bound else there - 100
    made = write_selection(table, arm, str(tmp_path / "o"), tokens=budget)
    count = made.counts["kept"]
    assert count >= limit if "min_per_class" in bound else count < limit
    assert kept_tokens(made) <= budget
    assert kept_tokens(write_selection(table, arm, str(tmp_path / "more"), count=count + 1)) > budget
