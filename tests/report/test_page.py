"""The whole page: structure, safety, determinism, and the cases in which parts of it have nothing to show."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raysample.core.errors import StorageError
from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.report import render_report, write_report
from tests.helpers.report_data import ARMS, PROVENANCE, SCORES, example_ids, fake_comparison, fake_labels, fake_table

pytestmark = pytest.mark.slow

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "br", "img", "link", "input", "hr", "wbr"}


class Reader(HTMLParser):
    """Collects tags, attributes, ids and visible text, and checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def page_of(comparison: Comparison, table: ScoreTable, **changes: Any) -> str:
    arguments: dict[str, Any] = {"title": "A run", "texts": None, "provenance": PROVENANCE, "examples": 4}
    return render_report(comparison=comparison, table=table, **{**arguments, **changes})


@pytest.fixture(scope="module")
def page(comparison: Comparison, table: ScoreTable) -> str:
    texts = {row: f"text of {row}" for row in example_ids(table, 4)}
    return page_of(comparison, table, texts=texts)


def test_all_sections_are_there_in_order(page: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Results",
        "What the samples do to the classes",
        "Recall of the worst-hit classes",
        "Scores",
        "Examples",
        "How it was made",
    ]
    assert re.findall(r"<h3>(Hardest|Easiest|Suspected mislabelled)</h3>", page) == [
        "Hardest",
        "Easiest",
        "Suspected mislabelled",
    ]


def test_page_is_well_formed_and_ids_are_unique(page: str) -> None:
    reader = Reader(page)
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0
    used = re.findall(r'(?:url\(#|href="#)([^)"]+)', page)
    assert used
    assert set(used) <= set(ids)
    assert reader.tags.count("svg") == 2 + len(SCORES)


def test_page_needs_nothing_from_outside_and_no_script(page: str) -> None:
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object", "img", "base", "form"} & set(reader.tags)
    outward = [value for name, value in reader.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in outward)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(http" not in page


def test_first_sentence_is_the_verdict(page: str) -> None:
    first = re.search(r'<p class="first">(.*?)</p>', page)
    assert first is not None
    assert first[1].startswith(
        "hard(vog|class, proportional) at 50 % of the data is better than random and stratified "
    )


def test_simulated_traffic_wears_a_badge(page: str, comparison: Comparison, slim: ScoreTable) -> None:
    assert 'class="badge">simulated traffic' in page
    assert 'class="badge"' not in page_of(comparison, slim, provenance={})


def test_provenance_is_shown_and_passwords_are_not(page: str) -> None:
    text = Reader(page).text
    assert "train · quarantine · empty text7" in text.replace(" 7", "7")
    assert "5 min 12 s" in text
    assert "2 h 05 min" in text
    assert "rows: 20000" in text
    assert "c" * 64 in text
    assert "secret" not in page


def test_texts_only_where_given(page: str, comparison: Comparison, table: ScoreTable) -> None:
    assert all(f"text of {row}" in page for row in example_ids(table, 4))
    bare = page_of(comparison, table, texts=None)
    assert "text of" not in bare
    assert "Texts are not shown" in bare
    assert example_ids(table, 4)[0] in bare


def test_untrusted_text_and_names_are_escaped(tmp_path: Path) -> None:
    labels = (EVIL, "$\\frac{1}{0}$", "line\nbreak \x00 \ud800 " + "x" * 500)
    table = fake_table(tmp_path / "scores", (*labels[:2], "c"), rows=300, scores={EVIL: SCORES["el2n"]})
    table = ScoreTable(**{**vars(table), "labels": labels})
    texts = dict.fromkeys(example_ids(table, 3), EVIL + "\x07\ud800")
    comparison = fake_comparison(labels, {EVIL: 0.01})
    provenance = {"config": {"name": EVIL}, EVIL: {EVIL: EVIL}}
    page = page_of(comparison, table, title=EVIL, texts=texts, provenance=provenance)
    reader = Reader(page)
    assert not {"script", "img"} & set(reader.tags)
    assert EVIL in reader.text
    page.encode()


def test_equal_input_gives_equal_bytes(page: str, comparison: Comparison, table: ScoreTable) -> None:
    texts = {row: f"text of {row}" for row in example_ids(table, 4)}
    assert page_of(comparison, table, texts=texts) == page
    assert not re.search(r"<metadata|dc:date", page)


def test_one_seed_gives_no_verdict_and_no_nan(slim: ScoreTable, labels: tuple[str, ...]) -> None:
    page = page_of(fake_comparison(labels, ARMS, seeds=(0,)), slim)
    text = Reader(page).text
    assert "One seed per arm: no verdict" in text
    assert "one seed: no interval" in text
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_runs_without_predictions_give_means_without_verdict(slim: ScoreTable, labels: tuple[str, ...]) -> None:
    page = page_of(fake_comparison(labels, ARMS, predicted=False), slim)
    text = Reader(page).text
    assert "No predictions stored: means without verdict." in text
    assert "no predictions: no interval" in text
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_class_without_test_rows_is_named_not_judged(slim: ScoreTable, labels: tuple[str, ...]) -> None:
    page = page_of(fake_comparison(labels, ARMS, untested=2), slim)
    assert "1 class has no test row" in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_warnings_are_shown(slim: ScoreTable, labels: tuple[str, ...], comparison: Comparison) -> None:
    warned = Comparison(**{**vars(comparison), "warnings": ("easy(el2n) at 30% nearly wipes out 1 of 3 classes",)})
    assert "easy(el2n) at 30% nearly wipes out" in page_of(warned, slim)
    assert 'class="warn"' not in page_of(comparison, slim)


def test_many_classes_and_fractions_stay_small(tmp_path: Path) -> None:
    labels = fake_labels(150)
    table = fake_table(tmp_path, labels, rows=20_000)
    page = page_of(fake_comparison(labels, ARMS, fractions=(0.7, 0.3, 0.1)), table, examples=100)
    assert len(page.encode()) < 1_000_000
    assert "Shown are 24 of 150 classes" in page
    assert "12 of 150" in page


def test_comparison_without_arms_and_table_without_rows_still_make_a_page(tmp_path: Path) -> None:
    empty = fake_table(tmp_path, ("a",), rows=0, parts=0)
    page = page_of(fake_comparison(("a",), {}, fractions=()), empty)
    assert "no verdict" in page
    assert Reader(page).tags.count("svg") == 0


def test_write_puts_the_page_at_the_uri(tmp_path: Path, comparison: Comparison, slim: ScoreTable) -> None:
    path = str(tmp_path / "out" / "report.html")
    arguments: dict[str, Any] = {"title": "A run", "texts": None, "provenance": PROVENANCE}
    assert write_report(path, comparison=comparison, table=slim, **arguments) == path
    assert Path(path).read_text("utf-8") == render_report(comparison=comparison, table=slim, **arguments)


def test_place_that_cannot_be_written_is_an_error(tmp_path: Path, comparison: Comparison, slim: ScoreTable) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="writable"):
        write_report(
            str(tmp_path / "file" / "report.html"),
            title="A run",
            comparison=comparison,
            table=slim,
            texts=None,
            provenance={},
        )
