"""One class is one name, however files spell it; what is taken for no label can be set."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysample
from raysample.core.config import LabelsConfig
from raysample.core.errors import ConfigError, CorpusError
from raysample.data.corpus import Corpus, ledger
from raysample.data.corpus.ledger import reconcile
from raysample.data.labels.class_names import Declared, canonical, distinct_class_names
from raysample.data.log import compact_log
from tests.helpers.labelled_files import described, source, write_jsonl

pytestmark = pytest.mark.slow

RULE = LabelsConfig()
APART = LabelsConfig(numeric_strings=False)


def lines(path: Path, labels: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_jsonl(path, [{"text": f"{path.stem} {i}", "label": label} for i, label in enumerate(labels)])


def parquet(path: Path, labels: pa.Array, names: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [f"{path.stem} {i}" for i in range(len(labels))]
    if names is None:
        pq.write_table(pa.table({"text": texts, "label": labels}), path)
        return path
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    datasets.Dataset.from_dict({"text": texts, "label": labels.to_pylist()}, features=features).to_parquet(str(path))
    return path


@pytest.mark.parametrize(
    ("spelled", "name", "apart"),
    [
        ("3", "3", "3"),
        ("3.0", "3", "3.0"),
        ("3.", "3", "3."),
        ("-2.00", "-2", "-2.00"),
        ("-0.0", "0", "-0.0"),
        ("0", "0", "0"),
        ("007", "007", "007"),
        ("1.5", "1.5", "1.5"),
        ("3e0", "3e0", "3e0"),
        ("1" * 40 + ".0", "1" * 40, "1" * 40 + ".0"),
        ("cafe\u0301", "caf\u00e9", "caf\u00e9"),
        ("\u1112\u1161\u11ab", "\ud55c", "\ud55c"),
        ("pos\u200b", "pos", "pos"),
        ("\ufeffpos\u00a0", "pos", "pos"),
        ("pos \u200e\u2060 ", "pos", "pos"),
        ("a\u200db", "a\u200db", "a\u200db"),
        ("3\u200b", "3", "3"),
        ("\U0001f3f4\U000e0067\U000e007f", "\U0001f3f4\U000e0067\U000e007f", "\U0001f3f4\U000e0067\U000e007f"),
        ("\u200b", "", ""),
    ],
)
def test_the_name_of_a_spelling(spelled: str, name: str, apart: str) -> None:
    assert canonical(spelled, RULE) == name
    assert canonical(name, RULE) == name
    assert canonical(spelled, APART) == apart


NUMBERS = {
    "integers": pa.array([3, 4] * 5, pa.int8()),
    "unsigned": pa.array([3, 4] * 5, pa.uint64()),
    "floats": pa.array([3.0, 4.0] * 5, pa.float32()),
    "decimals": pa.array([Decimal(3), Decimal(4)] * 5, pa.decimal128(8, 2)),
    "tens": pa.array([Decimal(3), Decimal(4)] * 5, pa.decimal256(40, 0)),
    "strings": pa.array(["3", "4"] * 5),
    "decimal strings": pa.array(["3.0", "4.00"] * 5, pa.large_string()),
    "dictionary": pa.array(["3", "4.0"] * 5).dictionary_encode(),
}


def test_a_number_is_one_class_in_every_type_and_file_of_a_corpus_and_a_log(tmp_path: Path) -> None:
    for name, array in NUMBERS.items():
        assert described(tmp_path, parquet(tmp_path / f"{name}.parquet", array), {}).class_counts == (5, 5)
        parquet(tmp_path / "in" / f"{name}.parquet", array)
    corpus = described(tmp_path, tmp_path / "in", {})
    assert (corpus.labels, corpus.class_counts) == (("3", "4"), (40, 40))
    (told,) = corpus.warnings
    assert told.startswith("several spellings are taken for one class: '3' ('3', '3.0', 3); '4' (")
    assert Corpus.load(corpus.uri).warnings == corpus.warnings
    log = compact_log(source(tmp_path / "in", {}), str(tmp_path / "contents"))
    assert (log.labels, log.warnings) == ({"3": 40, "4": 40}, corpus.warnings)


def test_lines_may_mix_types_and_the_key_keeps_strings_from_numbers(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [3, 3.0, "3", "3.0", 4, True, "true"])
    corpus = described(tmp_path, path, {})
    assert dict(zip(corpus.labels, corpus.class_counts, strict=True)) == {"3": 4, "4": 1, "true": 2}
    assert "'true' ('true', true)" in corpus.warnings[0]
    with pytest.raises(CorpusError, match=r"labels\.numeric_strings to true"):
        described(tmp_path, path, {}, rule={"numeric_strings": False})
    apart = described(tmp_path, lines(tmp_path / "b.jsonl", [3, 3.0, "3.0", "4"]), {}, rule={"numeric_strings": False})
    assert dict(zip(apart.labels, apart.class_counts, strict=True)) == {"3": 2, "3.0": 1, "4": 1}


def test_names_are_compared_in_one_form_and_what_was_unseen_is_told(tmp_path: Path) -> None:
    labels = ["caf\u00e9", "cafe\u0301", "tea\u200b", "tea", "\ufeffmilk", "water", "water "]
    corpus = described(tmp_path, lines(tmp_path / "a.jsonl", labels), {})
    assert dict(zip(corpus.labels, corpus.class_counts, strict=True)) == {
        "caf\u00e9": 2, "milk": 1, "tea": 2, "water": 2,
    }  # fmt: skip
    assert corpus.warnings == (
        "several spellings are taken for one class: 'caf\u00e9' ('cafe\\u0301', 'caf\u00e9'); 'tea' ('tea', "
        "'tea\\u200b')",
        "class names are normalised: 'milk' ('\\ufeffmilk')",
    )
    assert corpus.table()["label"].to_pylist() == [corpus.labels.index(canonical(name, RULE)) for name in labels]


def test_names_that_differ_in_case_or_form_only_stay_apart_and_are_told(tmp_path: Path) -> None:
    corpus = described(tmp_path, lines(tmp_path / "a.jsonl", ["True", "true", "\uff21", "A", "b"]), {})
    assert len(corpus.labels) == 5
    (told,) = corpus.warnings
    assert "'True' and 'true'" in told
    assert "'A' and '\uff21'" in told


def test_given_labels_keep_their_spelling_and_find_their_rows(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [1, "0", 0.0, "caf\u00e9", 1])
    given = ["cafe\u0301", "1.0", "0"]
    corpus = described(tmp_path, path, {}, labels=given)
    assert (corpus.labels, corpus.class_counts) == (tuple(given), (1, 2, 2))
    assert corpus.table()["label"].to_pylist() == [1, 2, 2, 0, 1]
    with pytest.raises(CorpusError, match="two spellings of one class"):
        distinct_class_names(["1", "1.0"], RULE)
    assert distinct_class_names(["1", "1.0"], APART) == ["1", "1.0"]


def test_class_labels_in_some_files_only_name_the_files_in_corpora_and_logs(tmp_path: Path) -> None:
    for case, first, second, words in (
        ("some", ["neg", "pos"], None, ("a.parquet", "b.parquet", "a guess")),
        ("later", None, ["neg", "pos"], ("b.parquet", "a.parquet", "a guess")),
        ("order", ["neg", "pos"], ["pos", "neg"], ("a.parquet", "b.parquet", "number 0 is 'neg' in the one and 'pos'")),
        ("more", ["neg", "pos"], ["neg", "pos", "odd"], ("number 2 is no name in the one and 'odd' in the other",)),
    ):
        parquet(tmp_path / case / "a.parquet", pa.array([0, 1] * 4), first)
        parquet(tmp_path / case / "b.parquet", pa.array([0, 1] * 4), second)
        for call in (
            lambda case=case: described(tmp_path, tmp_path / case, {}),
            lambda case=case: compact_log(source(tmp_path / case, {}), str(tmp_path / f"log-{case}")),
        ):
            with pytest.raises(CorpusError, match=r"datasets\.ClassLabel") as caught:
                call()
            assert all(word in caught.value.problem for word in words)


def test_class_labels_and_names_as_strings_go_together(tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", pa.array([0, 1] * 4), ["neg", "pos"])
    parquet(tmp_path / "in" / "b.parquet", pa.array(["pos", "neg"] * 4))
    parquet(tmp_path / "in" / "c.parquet", pa.nulls(1, pa.int64()))
    corpus = described(tmp_path, tmp_path / "in", {})
    assert dict(zip(corpus.labels, corpus.class_counts, strict=True)) == {"neg": 8, "pos": 8}
    for names in (("a",), ("a",), ("b",)):
        known = Declared()
        known.add("x", ("a",), "one")
        if names == ("a",):
            known.add("x", names, "two")
        else:
            with pytest.raises(CorpusError, match="class names as strings"):
                known.add("x", names, "two")


SENTIMENT = [-1, 0, 1] * 20


def test_minus_one_is_no_label_unless_the_key_says_so(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", SENTIMENT)
    with pytest.raises(CorpusError, match=r"labels.missing to \['-'\]") as caught:
        described(tmp_path, path, {})
    assert "-1 in 20 rows" in caught.value.advice
    assert "missing=['-']" in caught.value.advice
    assert "label is -1, taken for no label (labels.missing): 20" in caught.value.problem
    for missing in ([], ["-"], ["none", 7]):
        corpus = described(tmp_path, path, {}, rule={"missing": missing})
        assert (corpus.labels, corpus.class_counts, corpus.warnings) == (("-1", "0", "1"), (20, 20, 20), ())
        assert raysample.describe(str(path), missing=[str(one) for one in missing]).labels == ("-1", "0", "1")
    with pytest.raises(ConfigError):
        raysample.describe(str(path), missing=[None])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([-1.0, 0.0, 1.0] * 5),
        pa.array(["-1", "0", "1"] * 5),
        pa.array(["-1.0", "0.0", "1.0"] * 5),
        pa.array([Decimal(-1), Decimal(0), Decimal(1)] * 5, pa.decimal128(4, 1)),
    ],
    ids=["floats", "strings", "decimal strings", "decimals"],
)
def test_minus_one_is_one_class_in_every_type(array: pa.Array, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", array)
    corpus = described(tmp_path, path, {}, rule={"missing": []})
    assert (corpus.labels, corpus.class_counts) == (("-1", "0", "1"), (5, 5, 5))
    assert described(tmp_path, path, {}, max_quarantined=1).labels == ("0", "1")
    log = compact_log(source(path, {}, rule={"missing": []}), str(tmp_path / "log"))
    assert log.labels == {"-1": 5, "0": 5, "1": 5}


def test_a_log_s_contents_keep_minus_one_as_a_class(tmp_path: Path) -> None:
    log = compact_log(source(lines(tmp_path / "a.jsonl", SENTIMENT), {}, rule={"missing": []}), str(tmp_path / "log"))
    corpus = raysample.describe(log.as_source(), str(tmp_path / "corpus"))
    assert (corpus.labels, corpus.class_counts) == (("-1", "0", "1"), (20, 20, 20))
    with pytest.raises(CorpusError, match=r"labels\.missing to \['-'\]"):
        compact_log(source(tmp_path / "a.jsonl", {}), str(tmp_path / "other"))


def test_other_values_may_be_missing_and_a_small_share_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ["a", "b"] * 20 + ["n/a", "?", 99])
    corpus = described(tmp_path, path, {}, rule={"missing": ["n/a", "?", 99]})
    assert corpus.labels == ("a", "b")
    assert corpus.quarantine == {"label is a value that labels.missing takes for no label": 3}
    assert corpus.warnings[0].startswith(
        "the label is one of these values in 3 rows, which labels.missing (n/a, ?, 99)"
    )
    few = described(tmp_path, lines(tmp_path / "b.jsonl", ["a", "b"] * 20 + [-1, "-"]), {})
    assert few.warnings[0].startswith("the label is -1 in 1 rows and '-' in 1 rows, which labels.missing (-1, -)")


def test_a_single_class_beside_minus_one_says_what_was_taken_for_missing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"labels\.missing to \['-'\]"):
        described(tmp_path, lines(tmp_path / "a.jsonl", [-1, 1] * 10), {}, max_quarantined=1)


def test_rows_that_get_lost_are_an_error_with_figures(tmp_path: Path) -> None:
    found = ledger.Ledger
    seen: list[Any] = []

    def keep(given: Any, *more: Any) -> None:
        seen.append((given, *more))
        reconcile(given, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "reconcile", keep)
        described(tmp_path, lines(tmp_path / "a.jsonl", ["a", "b"] * 10 + [None, ""]), {}, limit=15)
    ((given, path, rows, written),) = seen
    assert isinstance(given, found)
    assert (sum(rows.values()), written) == (22, 2)
    for files, quarantined in (({"x": 23}, 2), ({"x": 21}, 2), ({"x": 22}, 1), ({"x": 22}, 3)):
        with pytest.raises(CorpusError, match="do not use the corpus") as caught:
            reconcile(given, path, files, quarantined)
        assert "15 are usable, 2 in quarantine" in caught.value.problem
