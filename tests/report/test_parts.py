"""The parts of the page: sentences, tables, chosen examples and figures, each alone."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from raysample.core.statistics import count_part
from raysample.core.statistics.rank_correlation import spearman_matrix
from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.report.examples import rules
from raysample.report.figures import curves, ridge_classes, ridge_edges, spread_apart
from raysample.report.formatting import clean, duration, percent, share, signed
from raysample.report.headline import headline
from raysample.report.rendering import breakable
from raysample.report.svg import embedded
from raysample.report.tables import (
    correlation_table,
    recall_tables,
    results,
    seeds,
    shade,
    share_classes,
    share_tables,
)
from tests.helpers.report_data import ARMS, SCORES, example_ids, fake_comparison, fake_labels, fake_table

pytestmark = pytest.mark.slow

LABELS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("gaps", "noise", "start"),
    [
        ({"hard(vog)": 0.03}, 0.001, "hard(vog) at 50 % of the data is better than random sampling (+3."),
        ({"hard(vog)": -0.002}, 0.004, "No arm is better than both random and stratified random sampling (0 worse"),
        ({"hard(vog)": -0.1}, 0.001, "Every arm is worse than random sampling; the least bad is hard(vog)"),
        ({"x": -0.1, "y": 0.0}, 0.01, "No arm is better than both random and stratified random sampling (1 worse"),
        ({}, 0.001, "There is no arm to compare"),
    ],
)
def test_headline_says_what_the_intervals_allow(gaps: dict[str, float], noise: float, start: str) -> None:
    assert headline(fake_comparison(LABELS, gaps, noise=noise))[0].startswith(start)


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (0.06, "x at 50 % of the data is as good as all data, within 0.5 points (+3."),
        (0.03, "x at 50 % of the data is as good as all data, within 0.5 points (+0."),
        (0.0, "No arm is shown to be as good as all data, within 0.5 points: 2 of 2 are worse"),
    ],
)
def test_headline_goes_on_with_all_data(gap: float, words: str) -> None:
    assert headline(fake_comparison(LABELS, {"x": gap}, noise=0.0003))[1].startswith(words)


def test_headline_says_what_could_be_seen_and_how_often_was_looked() -> None:
    said = headline(fake_comparison(LABELS, ARMS, noise=0.001))
    # Against random four arms, against stratified random the other three.
    assert re.fullmatch(
        r"With 5 seeds and 4,000 test rows, differences below [0-9.]+ points of accuracy cannot be seen; verdicts are "
        "corrected by Holm for 7 comparisons of 4 arms[.]",
        said[-1],
    )


def test_headline_tells_the_other_objectives_by_the_same_rules() -> None:
    said = headline(fake_comparison(LABELS, {"x": 0.04, "y": -0.1}, noise=0.001))
    (macro,) = (sentence for sentence in said if sentence.startswith("Macro-F1, by the same rules"))
    assert "better than random: x at 50 % (+" in macro
    assert "worse than random: y at 50 % (−" in macro


@pytest.mark.parametrize(
    ("seeds", "start"),
    [
        ((0, 1), "Weak evidence: x at 50 %"),
        ((0,), "One seed per arm: no verdict; the largest difference"),
        ((), "No p"),
    ],
)
def test_headline_claims_no_more_than_the_seeds_allow(seeds: tuple[int, ...], start: str) -> None:
    found = fake_comparison(LABELS, {"x": 0.1}, noise=0.001, seeds=seeds or (0, 1, 2), predicted=bool(seeds))
    assert headline(found)[0].startswith(start)


def test_doubts_come_before_the_verdict() -> None:
    found = replace(fake_comparison(LABELS, {"x": 0.1}), doubts=("the full model is untrained",))
    assert headline(found)[0] == "Before any verdict: the full model is untrained."
    many = headline(replace(found, doubts=tuple("abcdefg")))
    assert many[3:5] == ["Before any verdict: d.", "Before any verdict: see 3 more among the warnings."]
    assert many[5].startswith("x at 50 %")


def test_words_of_numbers() -> None:
    assert [signed(-0.0123), signed(0.5, 0), signed(math.nan)] == ["−1.23", "+50", "–"]
    assert [percent(0.8504), percent(math.nan)] == ["85.04", "–"]
    assert [share(0.5), share(0.125), share(0.95)] == ["50 %", "12.5 %", "95 %"]
    assert [duration(s) for s in (0.5, 59, 60, 250, 7_500)] == [
        "0.5 s",
        "59 s",
        "1 min 00 s",
        "4 min 10 s",
        "2 h 05 min",
    ]


def test_clean_makes_any_text_one_printable_line() -> None:
    assert clean("a\n b\t\x00\ud800c") == "a b \ufffd\ufffdc"
    assert clean("abcdef", 4) == "abc…"


def test_breakable_escapes_and_allows_breaks_after_punctuation() -> None:
    assert breakable("hard(vog|class)<b>") == "hard(<wbr>vog|<wbr>class)&lt;b&gt;"


def test_results_keep_the_order_and_mark_the_verdict(comparison: Comparison) -> None:
    rows = results(comparison)
    assert [row.arm for row in rows] == ["full", "random", *ARMS]
    assert [row.mark for row in rows[:2]] == ["■", "•"]
    marks = {row.arm: (row.mark, row.tone) for row in rows}
    assert marks["hard(vog|class, proportional)"] == ("▲", "better")
    assert marks["easy(el2n)"] == ("▼", "worse")
    assert seeds(comparison) == "5 seeds"


def test_shade_counts_steps_with_the_sign() -> None:
    assert [shade(v, (1, 2, 3, 4)) for v in (0.5, 1.5, -2.0, -9, math.nan)] == [0, 1, -2, -4, 0]


def test_share_table_shows_before_after_and_how_far_the_mix_moved() -> None:
    base = fake_comparison(("a", "b"), {}, seeds=(0,))
    kept = {("x", 0.5): (50, 0), ("random", 0.5): (25, 25)}
    comparison = Comparison(**{**vars(base), "class_counts": (50, 50), "kept_counts": kept})
    (table,) = share_tables(comparison)
    assert table.heads == ("x", "random")
    assert [cell.text for cell in table.rows[0][2]] == ["100.0 %", "50.0 %"]
    assert [cell.shade for cell in table.rows[0][2]] == [3, 0]  # 100 % after 50 % is twice the share
    assert [(cell.text, cell.shade) for cell in table.rows[1][2]] == [("0 %", -4), ("50.0 %", 0)]
    assert [cell.text for cell in table.rows[2][2]] == ["50.0 %", "0.0 %"]


def test_share_classes_include_largest_smallest_and_most_changed() -> None:
    base = fake_comparison(fake_labels(60), {}, seeds=(0,))
    kept = [n // 2 for n in base.class_counts]
    kept[30] = 0
    comparison = Comparison(**{**vars(base), "kept_counts": {("x", 0.5): tuple(kept)}})
    shown = share_classes(comparison, limit=9)
    assert len(shown) == 9
    assert {0, 1, 2, 57, 58, 59, 30} <= set(shown)
    assert shown == sorted(shown)  # the fake classes come by falling size


def test_recall_table_starts_with_the_worst_hit_and_leaves_untested_out() -> None:
    comparison = fake_comparison(fake_labels(20), {"x": -0.08}, untested=4)
    (table,) = recall_tables(comparison)
    assert len(table.rows) == 12
    full, arms = comparison.summaries[0], comparison.summaries[1:]
    losses = {comparison.labels[c]: min(s.recall[c] - full.recall[c] for s in arms) for c in range(20) if c != 4}
    assert table.rows[0][0] == clean(min(losses, key=lambda name: losses[name]))


def test_recall_table_needs_a_run_on_all_data() -> None:
    comparison = fake_comparison(LABELS, {"x": 0.0})
    without = Comparison(**{**vars(comparison), "summaries": comparison.summaries[1:]})
    assert recall_tables(without) == []
    assert curves(without, "accuracy")


def test_spearman_equals_scipy_and_a_constant_has_none() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    b = np.round(a + rng.normal(size=200))
    rho = spearman_matrix([a, b, np.ones(200)])
    assert rho[0, 1] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert np.isnan(rho[2]).all()
    assert correlation_table(["a", "b", "c"], rho).rows[2][2][0].text == "–"


def test_example_rows_are_the_extremes_each_once(table: ScoreTable) -> None:
    frame = table.to_pandas()
    hardest = frame.sort_values(["vog", "row_id"], ascending=[False, True])["row_id"].head(4)
    easiest = frame.sort_values(["vog", "row_id"])["row_id"].head(4)
    doubted = frame.sort_values(["confidence", "row_id"])["row_id"].head(4)
    assert example_ids(table, 4) == list(dict.fromkeys([*hardest, *easiest, *doubted]))
    assert len(set(example_ids(table, 10_000))) == len(frame)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("vog", "el2n"), [("vog", True), ("vog", False), ("el2n", True)]),
        (("confidence", "el2n"), [("el2n", True), ("el2n", False), ("confidence", False)]),
        (("forgetting",), [("forgetting", True), ("forgetting", False), ("forgetting", True)]),
    ],
)
def test_rules_follow_the_columns(tmp_path: Path, names: tuple[str, ...], expected: list[tuple[str, bool]]) -> None:
    table = fake_table(tmp_path, LABELS, rows=20, scores={name: SCORES[name] for name in names})
    assert [(rule.column, rule.highest) for rule in rules(table)] == expected


def test_suspects_are_found_by_the_score_behind_a_renamed_column(tmp_path: Path) -> None:
    scores = {"vog": SCORES["vog"], "el2n": {"score": "el2n", "higher_is": "harder", "options": {"epoch": 2}}}
    table = fake_table(tmp_path, LABELS, rows=20, scores=scores)
    renamed = ScoreTable(**{**vars(table), "scores": {"vog": SCORES["vog"], "early": scores["el2n"]}})
    assert [rule.column for rule in rules(renamed)] == ["vog", "vog", "early"]


def test_ties_go_to_the_lower_row_id(tmp_path: Path) -> None:
    table = fake_table(tmp_path, LABELS, rows=500, scores={"forgetting": SCORES["forgetting"]})
    frame = table.to_pandas()
    never = frame.loc[frame["forgetting"] == 0, "row_id"].sort_values().head(3)
    assert set(never) <= set(example_ids(table, 3))


def test_curve_falls_back_to_dots_for_one_fraction() -> None:
    many = curves(fake_comparison(LABELS, ARMS, fractions=(0.7, 0.3)), "macro_f1")
    one = curves(fake_comparison(LABELS, ARMS), "macro_f1")
    assert "share of the training rows kept" in many
    assert "Macro-F1 by arm" in one
    for name in ("random", *ARMS, "all data"):
        assert f">{name}</text>" in many
        assert f">{name}</text>" in one


def test_spread_apart_moves_only_what_touches() -> None:
    assert spread_apart([0.0, 5.0], 1.0) == [0.0, 5.0]
    placed = spread_apart([1.0, 1.0, 1.2, 9.0], 1.0)
    assert placed == pytest.approx([1.2 / 3 + 2 / 3 - 1, 1.2 / 3 + 2 / 3, 1.2 / 3 + 2 / 3 + 1, 9.0])


def test_ridge_classes_are_frequent_and_extreme() -> None:
    counts = {c: 1000 - c for c in range(30)} | {30: 2}
    medians = {c: float(c) for c in range(31)}
    shown = ridge_classes(counts, medians, limit=6)
    assert sorted(shown) == [0, 1, 2, 3, 28, 29]  # class 30 is extreme, but two rows have no distribution


def test_ridge_edges_put_counts_in_the_middle_of_bins() -> None:
    def edges(values: list[float]) -> list[float]:
        columns = {"label": np.zeros(len(values), np.int32), "tokens": np.ones(len(values), np.int32)}
        rows = pa.table({**columns, "x": np.array(values, np.float32)})
        return list(ridge_edges(count_part(rows, ("x",)).overall("x")))

    assert edges([0.0, 1.0, 2.0]) == [-0.5, 0.5, 1.5, 2.5]
    assert len(edges([0.0, 0.3, 2.0])) == 49
    assert edges([0.25] * 4)[-1] == 1.25


def test_embedded_svg_takes_own_ids_and_the_ink_of_the_page() -> None:
    document = (
        '<?xml version="1.0"?><svg viewBox="0 0 72 36"><metadata>when</metadata><style>*{}</style>'
        '<g id="a" style="fill: #0a0b0c; clip-path: url(#b)"><use xlink:href="#c"/></g></svg>'
    )
    svg = embedded(document, "fig", 'what "is" shown')
    assert svg.startswith('<svg role="img" aria-label="what &#34;is&#34; shown" style="width:96px" viewBox="0 0 72 36"')
    assert svg.endswith(
        '<g id="fig-a" style="fill: currentColor; clip-path: url(#fig-b)"><use xlink:href="#fig-c"/></g></svg>'
    )
