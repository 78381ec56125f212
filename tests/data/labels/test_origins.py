"""Labels that nobody annotated: hypotheses with a confidence, feedback that accepts or corrects them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.errors import CorpusError, ProvenanceError
from raysample.data.corpus import Corpus
from raysample.data.labels.origins import read_confidence
from raysample.data.schema import REASONS
from tests.helpers.labelled_files import WRITERS, Row, described, quarantined, read_back, write_jsonl, write_parquet

pytestmark = pytest.mark.slow

LOG = {"id": "id", "label": "hypothesis"}
HYPOTHESIS: dict[str, Any] = {"origin": "hypothesis", "confidence": "sure"}
FEEDBACK: dict[str, Any] = {
    "origin": "feedback",
    "confidence": "sure",
    "min_confidence": 0.3,
    "feedback": {"column": "outcome", "accept": ["completed", 5], "correct": {"rephrased": "meant", "edited": "typed"}},
}


def told(folder: Path, path: Path, rule: dict[str, Any], **options: Any) -> Corpus:
    """Describe a log by a rule."""
    return described(folder, path, options.pop("columns", LOG), rule=rule, max_quarantined=1, **options)


def log(count: int, seed: int = 0, broken: bool = True) -> list[Row]:
    """Make a log in which everything that can go wrong does; all values are strings, so that every format has them."""
    dice = random.Random(seed)
    wrong = [""] if broken else []
    return [
        {
            "id": f"r{i}",
            "text": dice.choice(["turn it up", "what time is it", *wrong]) + (f" {i}" if i % 3 else ""),
            "hypothesis": dice.choice(["music", "clock", "music", *wrong]),
            "sure": dice.choice(
                ["0.9", "0.3", "0.29", "1", " 0.5 ", "3e-1", *(["", "1.01", "high"] if broken else [])]
            ),
            "outcome": dice.choice(["completed", "Rephrased ", "edited", "5", "", "abandoned", "thumbs_down"]),
            "meant": dice.choice(["clock", "weather", *wrong]),
            "typed": dice.choice(["weather", "music"]),
        }
        for i in range(count)
    ]


def twin(row: Row) -> tuple[str, str, float | None]:
    """Judge a row by FEEDBACK as a reader of the documentation would: (usable, reason or cause; label; confidence)."""
    said = row["outcome"].strip().lower()
    if said == "":
        return "no feedback", "", None
    if said not in ("completed", "5", "rephrased", "edited"):
        return "feedback that gives no label", "", None
    sure = None
    if said in ("completed", "5"):
        try:
            sure = float(row["sure"])
        except ValueError:
            sure = -1.0
        if 0 <= sure < 0.3:
            return "confidence below min_confidence", "", None
    if not row["text"].strip():
        return "text is empty", "", None
    label = {"rephrased": row["meant"], "edited": row["typed"]}.get(said, row["hypothesis"])
    if not label:
        return ("label is empty" if said in ("completed", "5") else "corrected label is missing"), "", None
    if sure is not None and not 0 <= sure <= 1:
        return ("confidence is missing" if not row["sure"] else REASONS[29]), "", None
    return "usable", label, sure


@pytest.mark.parametrize("form", WRITERS)
def test_feedback_gives_the_labels_that_a_plain_reading_gives(form: str, tmp_path: Path) -> None:
    rows = log(400)
    name, write = WRITERS[form]
    corpus = told(tmp_path, write(tmp_path / name, rows), FEEDBACK)
    verdicts = {row["id"]: twin(row) for row in rows}
    tally = Counter(verdict for verdict, _, _ in verdicts.values())
    assert corpus.filtered == {cause: tally[cause] for cause in corpus.filtered}
    assert set(corpus.filtered) == {"no feedback", "feedback that gives no label", "confidence below min_confidence"}
    assert corpus.quarantine == {reason: tally[reason] for reason in corpus.quarantine}
    assert len(corpus.quarantine) == 5
    counts = corpus.counts
    assert counts["in"] == 400 == counts["usable"] + counts["quarantined"] + counts["filtered"]
    assert counts["filtered"] == sum(corpus.filtered.values())
    found = {row["row_id"]: row for row in read_back(corpus)}
    assert set(found) == {name for name, (verdict, _, _) in verdicts.items() if verdict == "usable"}
    for name, row in found.items():
        _, label, sure = verdicts[name]
        assert row["label"] == label
        assert row["label_confidence"] == (None if sure is None else np.float32(sure))


def test_what_users_did_and_how_sure_the_model_was_is_summed_up(tmp_path: Path) -> None:
    rows = log(400)
    corpus = told(tmp_path, write_parquet(tmp_path / "log.parquet", rows), FEEDBACK)
    assert Corpus.load(corpus.uri) == corpus
    verdicts = [(row["outcome"].strip().lower(), *twin(row)) for row in rows]
    feedback = {row["value"]: row for row in corpus.annotations["feedback"]}
    gives = ["the hypothesis", "the hypothesis", "the label in meant", "the label in typed", "no label", "no label"]
    assert [row["gives"] for row in feedback.values()] == gives
    assert [*feedback] == ["completed", "5", "rephrased", "edited", "any other value", "none"]
    for value in ("completed", "5", "rephrased", "edited"):
        here = [verdict for said, verdict, _, _ in verdicts if said == value]
        assert (feedback[value]["rows"], feedback[value]["usable"]) == (len(here), here.count("usable"))
    assert feedback["none"]["rows"] == sum(said == "" for said, *_ in verdicts)
    assert sum(row["rows"] for row in feedback.values()) == 400
    assert sum(row["usable"] for row in feedback.values()) == corpus.rows
    sure = sorted(found for _, verdict, _, found in verdicts if verdict == "usable" and found is not None)
    spread = corpus.annotations["confidence"]
    assert spread["rows"] == len(sure)
    assert spread["mean"] == pytest.approx(np.mean(sure), abs=1e-6)
    assert [spread["deciles"][0], spread["deciles"][5], spread["deciles"][10]] == pytest.approx(
        [sure[0], sure[-(-len(sure) // 2) - 1], sure[-1]], abs=1e-6
    )


@pytest.mark.parametrize("form", WRITERS)
def test_hypotheses_are_the_rows_that_gold_labels_of_the_same_words_would_be(form: str, tmp_path: Path) -> None:
    name, write = WRITERS[form]
    path = write(tmp_path / name, log(60, broken=False))
    corpus, gold = told(tmp_path / "a", path, HYPOTHESIS), told(tmp_path / "b", path, {})
    assert corpus.fingerprint == gold.fingerprint
    assert [shard.fingerprint for shard in corpus.shards] == [shard.fingerprint for shard in gold.shards]
    assert (corpus.origin, gold.origin) == ("hypothesis", "gold")
    assert gold.annotations == {"origin": "gold"}
    assert "label_confidence" not in gold.table().column_names
    table = corpus.table()
    assert table.schema == corpus.schema
    assert table.drop_columns("label_confidence") == gold.table()
    assert table["label_confidence"].type == pa.float32()
    assert table["label_confidence"].null_count == 0


FAULTS: list[tuple[Any, str]] = [
    (None, "confidence is missing"),
    (float("nan"), "confidence is missing"),
    ("", "confidence is missing"),
    (" ", "confidence is missing"),
    (-0.01, "confidence is not a number in [0, 1]"),
    (1.01, "confidence is not a number in [0, 1]"),
    (7, "confidence is not a number in [0, 1]"),
    (float("inf"), "confidence is not a number in [0, 1]"),
    (True, "confidence is not a number in [0, 1]"),
    ("high", "confidence is not a number in [0, 1]"),
    ("0,9", "confidence is not a number in [0, 1]"),
    ("1e999", "confidence is not a number in [0, 1]"),
    ("0x1", "confidence is not a number in [0, 1]"),
    ([0.5], "confidence is not a number in [0, 1]"),
    ({"p": 0.5}, "confidence is not a number in [0, 1]"),
]


@pytest.mark.parametrize(("value", "reason"), FAULTS)
def test_a_confidence_that_is_none_is_set_aside(value: Any, reason: str, tmp_path: Path) -> None:
    rows = log(8, broken=False)
    rows[3]["sure"] = value
    for row in rows[4:]:
        row["sure"] = 0.5
    corpus = told(tmp_path, write_jsonl(tmp_path / "log.jsonl", rows), HYPOTHESIS)
    assert corpus.quarantine == {reason: 1}
    assert [row["row_id"] for row in quarantined(corpus)] == ["r3"]
    assert corpus.rows == corpus.annotations["confidence"]["rows"] == 7


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 5e-324, "1.", ".5", "1E-2", "+0.5", "1e-300", 1.00000001])
def test_a_confidence_may_be_written_in_many_ways(value: Any) -> None:
    sure, reason = read_confidence(pa.array([value]))
    assert reason.tolist() == [0]
    assert sure.tolist() == [np.float32(value)]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.decimal128(4, 3)])
def test_the_min_confidence_is_enough_in_every_type(kind: pa.DataType, tmp_path: Path) -> None:
    values = [0.5, 0.75, 0.25, 0.5, 0.499 if kind != pa.float16() else 0.25]
    if kind in (pa.float32(), pa.float64(), pa.string()):
        values = [0.7, 0.71, 0.69, 0.7, 0.699]
    texts = [str(value) for value in values]
    sure = pa.array(texts).cast(kind) if pa.types.is_decimal(kind) or kind == pa.string() else pa.array(values, kind)
    table = pa.table({"text": ["a", "b", "c", "d", "e"], "hypothesis": ["x", "y", "x", "x", "y"], "sure": sure})
    pq.write_table(table, tmp_path / "log.parquet")
    rule = {**HYPOTHESIS, "min_confidence": values[0]}
    corpus = told(tmp_path, tmp_path / "log.parquet", rule, columns={"label": "hypothesis"})
    assert corpus.filtered == {"confidence below min_confidence": 2}
    assert corpus.table()["text"].to_pylist() == ["a", "b", "d"]


@pytest.mark.parametrize("value", [["completed"], {"a": 1}])
def test_feedback_that_is_no_word_is_set_aside(value: Any, tmp_path: Path) -> None:
    rows = [{**row, "outcome": "completed", "sure": "0.9"} for row in log(8, broken=False)]
    rows[2]["outcome"] = value
    corpus = told(tmp_path, write_jsonl(tmp_path / "log.jsonl", rows), FEEDBACK)
    assert corpus.quarantine == {"feedback is neither a string nor a number": 1}


def test_feedback_may_be_numbers_and_booleans(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{i}", "label": "ab"[i % 2], "liked": [True, False, None][i % 3], "stars": i % 6} for i in range(12)
    ]
    path = write_parquet(tmp_path / "log.parquet", rows)
    for column, accept, kept in (("liked", [True], 4), ("stars", [4, 5.0], 4)):
        rule = {"origin": "feedback", "feedback": {"column": column, "accept": accept}}
        assert told(tmp_path, path, rule, columns={}).rows == kept


def test_where_comes_first_and_broken_lines_are_never_left_out(tmp_path: Path) -> None:
    rows = [{**row, "lang": "en" if i % 2 else "de"} for i, row in enumerate(log(200, broken=False))]
    path = write_jsonl(tmp_path / "log.jsonl", rows)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("not json\n")
    corpus = told(tmp_path, path, FEEDBACK, where={"lang": "en"}, limit=20)
    assert corpus.filtered["where"] == 100
    assert corpus.quarantine == {"line is not valid JSON": 1}
    assert corpus.rows == 20
    assert corpus.counts["filtered"] == sum(corpus.filtered.values()) == 180
    assert corpus.filtered["limit"] > 0
    assert sum(row["rows"] for row in corpus.annotations["feedback"]) == 100
    assert sum(row["usable"] for row in corpus.annotations["feedback"]) == 20


def test_the_sides_of_a_holdout_share_the_rows_that_have_labels(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "log.parquet", log(400))
    whole = told(tmp_path / "all", path, FEEDBACK)
    train, test = (told(tmp_path / part, path, FEEDBACK, part=part, holdout=0.4) for part in ("train", "holdout"))
    assert train.rows + test.rows == whole.rows
    assert train.counts["quarantined"] + test.counts["quarantined"] == whole.counts["quarantined"]
    assert train.filtered["other side of the hold-out"] == test.rows + test.counts["quarantined"]
    mean = {corpus.part: corpus.annotations["confidence"] for corpus in (train, test, whole)}
    assert mean["train"]["rows"] + mean["holdout"]["rows"] == mean["all"]["rows"]


def test_a_row_without_a_label_takes_no_id(tmp_path: Path) -> None:
    rows = [
        {"id": i % 3, "text": f"t{i}", "hypothesis": "ab"[i % 2], "outcome": "completed" if i > 2 else None}
        for i in range(6)
    ]
    rule = {"origin": "feedback", "feedback": {"column": "outcome", "accept": ["completed"]}}
    corpus = told(tmp_path, write_parquet(tmp_path / "log.parquet", rows), rule)
    assert corpus.table()["text"].to_pylist() == ["t3", "t4", "t5"]
    assert corpus.counts == {"in": 6, "usable": 3, "quarantined": 0, "filtered": 3}


def test_a_repeated_id_is_set_aside_with_its_confidence(tmp_path: Path) -> None:
    rows = [{**row, "id": i % 6, "sure": f"0.{i + 1}"} for i, row in enumerate(log(8, broken=False))]
    corpus = told(tmp_path, write_parquet(tmp_path / "log.parquet", rows), HYPOTHESIS)
    assert corpus.quarantine == {"duplicate id": 2}
    assert corpus.annotations["confidence"]["deciles"][-1] == pytest.approx(0.6)


def test_other_feedback_is_another_row_but_another_confidence_is_not(tmp_path: Path) -> None:
    rows = log(40, broken=False)
    path = write_jsonl(tmp_path / "log.jsonl", rows)
    corpus = told(tmp_path, path, FEEDBACK)
    write_jsonl(path, [{**row, "sure": "0.77"} for row in rows])
    sure = set(corpus.table()["label_confidence"].to_pylist())
    assert sure == {np.float32(0.77), None}
    write_jsonl(path, [{**row, "typed": "clock"} for row in rows])
    with pytest.raises(ProvenanceError, match="changed since"):
        corpus.table()


def test_some_rows_of_a_log_are_a_corpus_with_their_confidence(tmp_path: Path) -> None:
    corpus = told(tmp_path, write_parquet(tmp_path / "log.parquet", log(80)), FEEDBACK)
    some = corpus.restricted({0: np.arange(5)}, str(tmp_path / "some"))
    assert Corpus.load(some.uri) == some
    assert (some.filtered, some.annotations) == ({}, {"origin": "feedback"})
    assert some.table() == corpus.table().slice(0, 5)


SETTINGS = {
    "labels.confidence": {**FEEDBACK, "confidence": "nowhere"},
    "labels.feedback.column": {**FEEDBACK, "feedback": {**FEEDBACK["feedback"], "column": "nowhere"}},
    "labels.feedback.correct.undone": {**FEEDBACK, "feedback": {"column": "outcome", "correct": {"undone": "nowhere"}}},
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_column_that_is_not_there_is_named_with_its_setting(setting: str, form: str, tmp_path: Path) -> None:
    name, write = WRITERS[form]
    path = write(tmp_path / name, log(5))
    with pytest.raises(CorpusError, match="no column 'nowhere'; it has id, text, hypothesis, sure, outcome") as caught:
        told(tmp_path, path, SETTINGS[setting])
    assert f"name the right column in the source's {setting}" in caught.value.advice


def test_lines_may_leave_out_what_users_hardly_ever_do(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    rows = [{**row, "sure": "0.9"} for row in log(60, broken=False)]
    lean = [{key: value for key, value in row.items() if key not in ("meant", "typed")} for row in rows]
    silent = [{**row, "outcome": "completed"} for row in lean[:30]]
    write_jsonl(tmp_path / "log" / "a.jsonl", silent)
    write_jsonl(tmp_path / "log" / "b.jsonl", [{**row, "id": f"b{i}"} for i, row in enumerate(rows)])
    corpus = told(tmp_path, tmp_path / "log", FEEDBACK)
    assert corpus.shards[0].rows == 30
    write_jsonl(tmp_path / "log" / "b.jsonl", [{**row, "id": f"b{i}"} for i, row in enumerate(lean)])
    with pytest.raises(CorpusError, match=r"b.jsonl' has no column 'meant'"):
        told(tmp_path, tmp_path / "log", FEEDBACK)


def test_feedback_that_never_comes_says_what_was_left_out(tmp_path: Path) -> None:
    rule = {"origin": "feedback", "feedback": {"column": "outcome", "accept": ["complete"]}}
    with pytest.raises(
        CorpusError, match=r"no usable row.*feedback that gives no label: \d+; no feedback: \d+"
    ) as caught:
        told(tmp_path, write_parquet(tmp_path / "log.parquet", log(50, broken=False)), rule)
    assert "labels" in caught.value.advice


def test_corrected_labels_alone_have_no_confidence(tmp_path: Path) -> None:
    rule = {**FEEDBACK, "feedback": {"column": "outcome", "correct": {"edited": "typed"}}}
    corpus = told(tmp_path, write_parquet(tmp_path / "log.parquet", log(80, broken=False)), rule)
    assert corpus.annotations["confidence"] == {"rows": 0, "mean": None, "deciles": []}
    assert corpus.table()["label_confidence"].null_count == corpus.rows > 0
