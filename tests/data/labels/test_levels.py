"""Hierarchical labels in corpora: every level is read, judged, named and part of a row's identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raysample.core.config import Columns, SourceConfig, parse
from raysample.core.errors import CorpusError
from raysample.data.corpus import Corpus, describe_source
from raysample.data.simulated import simulated_sources, write_traffic
from tests.helpers.labelled_files import quarantined, write_jsonl, write_parquet

pytestmark = pytest.mark.slow

INTENTS = (("music", "play"), ("music", "stop"), ("home", "on"), ("home", "off"), ("clock", "stop"))
BOTH = {"label": "domain", "levels": ["domain", "intent"], "id": "id"}


def rows(count: int = 20) -> list[dict[str, Any]]:
    pairs = [INTENTS[i % len(INTENTS)] for i in range(count)]
    return [
        {"id": f"r{i}", "text": f"text {i}", "domain": domain, "intent": intent}
        for i, (domain, intent) in enumerate(pairs)
    ]


def corpus_of(
    folder: Path, given: list[dict[str, Any]], columns: dict[str, Any], like: Corpus | None = None, **options: Any
) -> Corpus:
    path = write_parquet(folder / "rows.parquet", given)
    source = SourceConfig(path=str(path), columns=Columns(**columns), **options)
    known = {} if like is None else {"labels": like.labels, "levels": like.levels}
    return describe_source(source, str(folder / "corpus"), **known)


def test_the_table_has_the_label_of_every_level(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, rows(), BOTH)
    assert corpus.labels == ("clock", "home", "music")
    assert corpus.levels is not None
    assert corpus.levels.classes == (("clock", "home", "music"), ("off", "on", "play", "stop"))
    assert corpus.levels.spans == (slice(0, 3), slice(3, 7))
    table = Corpus.load(corpus.uri).table()
    assert table.column_names[-2:] == ["level_domain", "level_intent"]
    for place, (domain, intent) in enumerate(INTENTS):
        row = table.slice(place, 1).to_pylist()[0]
        assert corpus.labels[row["label"]] == domain
        assert row["level_domain"] == row["label"]
        assert corpus.levels.classes[1][row["level_intent"]] == intent
    assert Corpus.load(corpus.uri).levels == corpus.levels


def test_a_corpus_of_one_level_is_what_it_was(tmp_path: Path) -> None:
    """The constants were computed by the version before levels."""
    corpus = corpus_of(tmp_path, rows(), {"label": "intent", "id": "id"})
    assert corpus.fingerprint == FINGERPRINT
    assert corpus.shards[0].fingerprint == SHARD
    assert "levels" not in (tmp_path / "corpus" / "corpus.json").read_text().partition('"source"')[0]
    assert corpus.table().column_names == ["row_id", "text", "text_pair", "label", "group", "timestamp"]


FINGERPRINT = "6590da71f5979925e78757de0b9566ca63379cd5cf0b96df54ab7023d36878c7"
SHARD = "927cdd8fcb0f429c89c4cb172bd029c832b8282491bed90f374ff538fc68669e"


def test_every_level_and_which_is_scored_are_part_of_the_identity(tmp_path: Path) -> None:
    found = {
        "domain": corpus_of(tmp_path / "a", rows(), BOTH),
        "intent": corpus_of(tmp_path / "b", rows(), {**BOTH, "label": "intent"}),
        "plain": corpus_of(tmp_path / "c", rows(), {"label": "domain", "id": "id"}),
    }
    changed = rows()
    changed[0]["intent"] = "stop"
    found["changed"] = corpus_of(tmp_path / "d", changed, BOTH)
    assert len({corpus.fingerprint for corpus in found.values()}) == 4
    assert found["intent"].labels == ("off", "on", "play", "stop")
    again = corpus_of(tmp_path / "e", rows()[::-1], BOTH)
    assert again.fingerprint == found["domain"].fingerprint


def test_a_row_without_a_label_at_some_level_is_set_aside(tmp_path: Path) -> None:
    broken = rows()
    broken[3]["intent"] = None
    corpus = corpus_of(tmp_path, broken, BOTH)
    assert corpus.quarantine == {"label is missing": 1}
    assert quarantined(corpus)[0]["row"] == 3


def test_a_test_corpus_takes_trainings_classes_at_every_level(tmp_path: Path) -> None:
    train = corpus_of(tmp_path / "train", rows(), BOTH)
    few = corpus_of(tmp_path / "few", rows(3), BOTH, like=train)
    assert (few.labels, few.levels) == (train.labels, train.levels)
    assert few.table()["level_intent"].to_pylist() == [2, 3, 1]
    foreign = [*rows(19), {"id": "new", "text": "new", "domain": "home", "intent": "dim"}]
    with pytest.raises(CorpusError, match=r"1 rows of .* that training does not know: 'dim' \(1 rows\)"):
        corpus_of(tmp_path / "foreign", foreign, BOTH, like=train)
    kept = corpus_of(tmp_path / "kept", foreign, BOTH, like=train, unseen_labels="quarantine")
    assert kept.quarantine == {"label is unknown to training": 1}


def test_other_column_names_of_the_test_are_the_same_levels(tmp_path: Path) -> None:
    train = corpus_of(tmp_path / "train", rows(), BOTH)
    renamed = [{"id": r["id"], "text": r["text"], "d": r["domain"], "i": r["intent"]} for r in rows()]
    test = corpus_of(tmp_path / "test", renamed, {"label": "d", "levels": ["d", "i"], "id": "id"}, like=train)
    assert test.levels == train.levels
    assert test.table().equals(train.table())


def test_classes_of_other_levels_are_refused(tmp_path: Path) -> None:
    train = corpus_of(tmp_path / "train", rows(), BOTH)
    source = SourceConfig(path=str(tmp_path / "train" / "rows.parquet"), columns=Columns(**BOTH))
    with pytest.raises(CorpusError, match="give labels and levels of one training corpus"):
        describe_source(source, str(tmp_path / "x"), labels=train.labels)
    other = source.model_copy(update={"columns": Columns(**{**BOTH, "label": "intent"})})
    with pytest.raises(CorpusError, match="with the label 'intent'"):
        describe_source(other, str(tmp_path / "x"), labels=train.labels, levels=train.levels)


def test_a_level_of_one_class_and_a_missing_column_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="a classifier needs two classes"):
        corpus_of(tmp_path / "a", [{**row, "domain": "all"} for row in rows()], {**BOTH, "label": "intent"})
    with pytest.raises(CorpusError, match=r"(?s)no column 'slot'.*columns\.levels instead of 'slot'"):
        corpus_of(tmp_path / "b", rows(), {**BOTH, "levels": ["domain", "intent", "slot"]})


def test_lines_have_levels_too_and_a_changed_level_is_noticed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows())
    corpus = describe_source(SourceConfig(path=str(path), columns=Columns(**BOTH)), str(tmp_path / "corpus"))
    assert corpus.levels is not None
    assert corpus.levels.sizes == (3, 4)
    parquet = corpus_of(tmp_path / "parquet", rows(), BOTH)
    assert corpus.fingerprint == parquet.fingerprint


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": "slot", "levels": ["domain", "intent"]}, "lacks the column of label, 'slot'"),
        ({"label": "intent", "levels": ["intent"]}, "a label of one level needs label alone"),
        ({"label": "intent", "levels": ["intent", "intent"]}, "each once"),
    ],
)
def test_levels_that_cannot_be_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Columns(**columns)


def test_train_test_and_log_must_agree_on_levels() -> None:
    train = {"path": "train.parquet", "columns": BOTH}
    with pytest.raises(Exception, match="name the same levels for both, in the same order"):
        parse({"corpus": {"train": train, "test": {"path": "t.parquet", "columns": {"label": "domain"}}}})
    with pytest.raises(Exception, match=r"leave columns\.levels out"):
        parse({"log": {"source": train}})
    feedback = {"origin": "feedback", "feedback": {"column": "heard", "correct": {"no": "meant"}}}
    with pytest.raises(ValidationError, match="leave out levels, or correct"):
        SourceConfig(**train, labels=feedback)
    with pytest.raises(Exception, match="level goes with gold labels"):
        parse({"corpus": {"simulated": {"level": "domain", "labels": {"origin": "hypothesis"}}}})


@pytest.mark.parametrize(("level", "group"), [("domain", "intent"), ("intent", "domain")])
def test_simulated_traffic_has_domains_and_intents(level: str, group: str, tmp_path: Path) -> None:
    config = parse({"corpus": {"simulated": {"rows": 500, "test_rows": 200, "days": 1, "level": level}}})
    assert config.corpus.simulated is not None
    write_traffic(config.corpus.simulated, str(tmp_path))
    train, _ = simulated_sources(str(tmp_path))
    assert (train.columns.label, train.columns.group) == (level, group)
    corpus = describe_source(train, str(tmp_path / "corpus"))
    assert corpus.levels is not None
    assert corpus.levels.names == ("domain", "intent")
    assert corpus.levels.sizes[0] < corpus.levels.sizes[1]
    assert corpus.labels == corpus.levels.classes[("domain", "intent").index(level)]
