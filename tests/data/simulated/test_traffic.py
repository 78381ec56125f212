"""The simulated traffic: same seed same rows, however cut; imbalance, repeats and mistakes as asked for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from raysample.core.config import SimulatedConfig
from raysample.core.errors import CorpusError
from raysample.data.simulated import logs, simulated_sources, traffic, write_traffic
from raysample.data.simulated.intents import INTENTS, SLOTS
from raysample.data.simulated.language import hearing_slip, phrase_book, typing_slip

pytestmark = pytest.mark.slow

ROWS = 40_000
NAMES = [intent.name for intent in INTENTS]


def rows(folder: Path, part: str) -> pa.Table:
    return ds.dataset(str(folder / part), format="parquet", partitioning=None).to_table()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traffic")
    write_traffic(SimulatedConfig(rows=ROWS, test_rows=8_000, seed=1), str(folder))
    return folder


@pytest.fixture(scope="module")
def train(written: Path) -> pa.Table:
    return rows(written, "train")


@pytest.fixture(scope="module")
def truth(written: Path) -> pa.Table:
    return rows(written, "truth")


def test_grammar_is_whole() -> None:
    assert 30 <= len(NAMES) == len(set(NAMES))
    assert len({intent.domain for intent in INTENTS}) >= 6
    for intent in INTENTS:
        assert intent.confusable, intent.name
        assert set(intent.confusable) < set(NAMES) - {intent.name}
        assert len(set(intent.phrases)) == len(intent.phrases)
    assert all(len(set(fillers)) == len(fillers) for fillers in SLOTS.values())


def test_phrase_book_follows_zipf_and_ends_each_intent_at_its_number() -> None:
    book = phrase_book()
    assert np.all(np.diff(book.edges) >= 0)
    np.testing.assert_allclose(book.edges[book.last], np.arange(1, len(INTENTS) + 1))
    greet = NAMES.index("greet")  # seven phrases without slots: the k-th has 1/k of the first
    share = np.diff([greet, *book.edges[book.last[greet - 1] + 1 : book.last[greet] + 1]])
    np.testing.assert_allclose(share / share[0], [1 / k for k in range(1, 8)])


def test_layout_and_schema(written: Path, train: pa.Table) -> None:
    days = sorted(path.name for path in (written / "train").iterdir())
    assert days == [f"date=2025-01-{day:02d}" for day in range(6, 13)]
    assert [path.name for path in (written / "test").iterdir()] == ["date=2025-01-13"]
    assert train.column_names == ["id", "text", "intent", "domain", "timestamp"]
    assert all(field.type == pa.string() for field in train.schema)
    assert len(train) == ROWS
    assert len(set(train["id"].to_pylist())) == ROWS
    stamps = train["timestamp"].to_pylist()
    assert stamps == sorted(stamps)
    assert max(stamps) < min(rows(written, "test")["timestamp"].to_pylist())
    assert not list(written.rglob("*.started.json"))


def test_manifest_says_that_it_is_simulated_and_counts_right(written: Path, train: pa.Table, truth: pa.Table) -> None:
    manifest = json.loads((written / "simulated.json").read_text())
    assert "simulated" in manifest["note"]
    assert "every test label is true" in manifest["note"]
    assert manifest["counts"]["train"]["rows"] == ROWS
    assert manifest["counts"]["train"]["classes"] == {name: train["intent"].to_pylist().count(name) for name in NAMES}
    wrong = sum(a != b for a, b in zip(truth["label"].to_pylist(), truth["true_label"].to_pylist(), strict=True))
    assert manifest["counts"]["train"]["wrong_labels"] == wrong
    assert manifest["counts"]["test"]["wrong_labels"] == 0
    assert manifest["config"] == SimulatedConfig(rows=ROWS, test_rows=8_000, seed=1).to_dict()


def test_imbalance_is_as_asked(truth: pa.Table) -> None:
    counts = Counter(truth["true_label"].to_pylist())
    assert set(counts) == set(NAMES)
    # The rarest class has about 60 rows: a deviation of 13 % each way is one standard deviation.
    assert 60 < counts[NAMES[0]] / counts[NAMES[-1]] < 160


def test_balanced_when_asked(tmp_path: Path) -> None:
    write_traffic(SimulatedConfig(rows=9_000, test_rows=200, imbalance=1, wrong_labels=0, days=30), str(tmp_path))
    counts = Counter(rows(tmp_path, "train")["intent"].to_pylist())
    assert max(counts.values()) / min(counts.values()) < 1.8


def test_head_utterances_repeat_and_the_tail_is_long(train: pa.Table) -> None:
    counts = Counter(train["text"].to_pylist())
    assert sum(n for _, n in counts.most_common(10)) > 0.08 * ROWS
    assert len(counts) < 0.5 * ROWS
    assert sum(n == 1 for n in counts.values()) > 0.1 * ROWS


def test_share_of_wrong_labels_and_their_kind(train: pa.Table, truth: pa.Table) -> None:
    assert truth["id"].to_pylist() == train["id"].to_pylist()
    assert truth["label"].to_pylist() == train["intent"].to_pylist()
    pairs = list(zip(truth["true_label"].to_pylist(), truth["label"].to_pylist(), strict=True))
    wrong = [(true, given) for true, given in pairs if true != given]
    # Binomial: 40,000 draws at 0.05 have a standard deviation of 0.0011.
    assert abs(len(wrong) / ROWS - 0.05) < 0.0045
    confusable = {intent.name: set(intent.confusable) for intent in INTENTS}
    share = sum(given in confusable[true] for true, given in wrong) / len(wrong)
    assert 0.6 < share < 0.95


def test_mistakes_keep_rare_classes_recognisable(truth: pa.Table) -> None:
    pairs = Counter(zip(truth["label"].to_pylist(), truth["true_label"].to_pylist(), strict=True))
    for name in NAMES:
        given = sum(n for (label, _), n in pairs.items() if label == name)
        assert pairs[name, name] > 0.6 * given, name


def test_test_labels_are_true_ones(written: Path) -> None:
    """Unambiguous phrases never carry another intent's label in the test days."""
    table = rows(written, "test")
    by_text = {
        (text, label) for text, label in zip(table["text"].to_pylist(), table["intent"].to_pylist(), strict=True)
    }
    assert {label for text, label in by_text if text == "what's the weather"} == {"weather_today"}
    assert {label for text, label in by_text if text == "stop"} >= {"stop_music", "cancel_timer"}


def test_popularity_drifts_over_days(tmp_path: Path) -> None:
    write_traffic(SimulatedConfig(rows=60_000, test_rows=200, days=30), str(tmp_path))
    table = rows(tmp_path, "truth")
    day = np.array([name[4:14] for name in table["id"].to_pylist()])
    label = np.array(table["true_label"].to_pylist())
    shares = [(label[day == d] == NAMES[0]).mean() for d in np.unique(day)]
    # A day's share would vary by sqrt(0.12 * 0.88 / 2000) = 0.007 without drift.
    assert np.std(shares) > 0.015


def test_same_seed_same_rows_however_cut(tmp_path: Path) -> None:
    config = SimulatedConfig(rows=3_000, test_rows=300, days=3)
    write_traffic(config, str(tmp_path / "a"))
    write_traffic(config, str(tmp_path / "b"), rows_per_file=257)
    write_traffic(config.model_copy(update={"seed": 1}), str(tmp_path / "c"))
    assert len(list((tmp_path / "b" / "train" / "date=2025-01-06").iterdir())) == 4
    for part in ("train", "test", "truth"):
        assert rows(tmp_path / "a", part).equals(rows(tmp_path / "b", part))
    assert (tmp_path / "a" / "simulated.json").read_bytes() == (tmp_path / "b" / "simulated.json").read_bytes()
    assert rows(tmp_path / "a", "train")["text"] != rows(tmp_path / "c", "train")["text"]


def test_rows_do_not_depend_on_the_cut_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "TRAFFIC_CHUNK_ROWS", 100)
    config = SimulatedConfig(rows=500, test_rows=200, days=1)
    write_traffic(config, str(tmp_path / "a"), rows_per_file=1_000)
    write_traffic(config, str(tmp_path / "b"), rows_per_file=130)
    files = sorted((tmp_path / "b" / "train" / "date=2025-01-06").iterdir())
    assert [ds.dataset(str(file)).count_rows() for file in files] == [130, 130, 130, 110]
    assert rows(tmp_path / "a", "truth").equals(rows(tmp_path / "b", "truth"))


def test_smallest_corpus_has_every_intent_over_many_days(tmp_path: Path) -> None:
    write_traffic(SimulatedConfig(rows=500, test_rows=200, days=150), str(tmp_path))
    assert set(rows(tmp_path, "train")["intent"].to_pylist()) == set(NAMES)
    assert len(rows(tmp_path, "train")) == 500
    assert len(rows(tmp_path, "test")) == 200


def test_written_again_is_left_alone_and_another_config_is_refused(tmp_path: Path) -> None:
    config = SimulatedConfig(rows=500, test_rows=200)
    write_traffic(config, str(tmp_path))
    stamp = (tmp_path / "simulated.json").stat().st_mtime_ns
    write_traffic(config, str(tmp_path))
    assert (tmp_path / "simulated.json").stat().st_mtime_ns == stamp
    with pytest.raises(CorpusError, match="choose another folder"):
        write_traffic(config.model_copy(update={"seed": 5}), str(tmp_path))


def test_interrupted_run_is_begun_again_but_foreign_files_stay(tmp_path: Path) -> None:
    config = SimulatedConfig(rows=500, test_rows=200)
    write_traffic(config, str(tmp_path / "a"))
    (tmp_path / "a" / "simulated.json").rename(tmp_path / "a" / "simulated.started.json")
    left = tmp_path / "a" / "train" / "date=1999-01-01" / "part-00000.parquet"
    left.parent.mkdir()
    left.write_bytes(b"half")
    write_traffic(config, str(tmp_path / "a"))
    assert not left.exists()
    foreign = tmp_path / "b" / "train" / "mine.csv"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("dear data")
    with pytest.raises(CorpusError, match="choose an empty folder"):
        write_traffic(config, str(tmp_path / "b"))
    assert foreign.read_text() == "dear data"


def test_sources_name_the_columns(written: Path, tmp_path: Path) -> None:
    train, test = simulated_sources(str(written))
    assert train.columns.to_dict() == {
        "text": "text",
        "text_pair": None,
        "label": "intent",
        "id": "id",
        "group": "domain",
        "timestamp": "timestamp",
        "levels": [],
    }
    assert train.path == str(written / "train")
    assert test.path == str(written / "test")
    with pytest.raises(CorpusError, match="write it first"):
        simulated_sources(str(tmp_path))


@pytest.mark.parametrize("kind", range(4))
def test_typing_slips_change_few_letters(kind: int) -> None:
    for place in range(20):
        slipped = typing_slip("turn on the lights", kind, place)
        assert abs(len(slipped) - len("turn on the lights")) <= 1
    assert typing_slip("a", kind, 3) == "a"
    assert typing_slip("ab", kind, 3) != ""


def test_hearing_slips_take_sounds_for_words() -> None:
    assert hearing_slip("set a timer for ten minutes", 1, 2) == "set a timer four ten minutes"
    assert hearing_slip("lights on", 1, 0) == "likes on"
    assert hearing_slip("good morning", 1, 0) == "uh good morning"
    assert hearing_slip("tell me a joke", 1, 3) == "tell me a"


LOGGED = SimulatedConfig.model_validate(
    {
        "rows": 20_000,
        "test_rows": 200,
        "wrong_labels": 0.15,
        "labels": {
            "origin": "feedback",
            "confidence": "confidence",
            "feedback": {"column": "outcome", "accept": ["completed"], "correct": {"rephrased": "correction"}},
        },
    }
)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged")
    write_traffic(LOGGED, str(folder))
    return folder


def test_a_log_has_a_calibrated_hypothesis_and_what_users_did(logged: Path) -> None:
    table, truth = rows(logged, "train"), rows(logged, "truth")
    extra = ["confidence", "outcome", "correction"]
    assert table.column_names == ["id", "text", "hypothesis", *extra, "domain", "timestamp"]
    assert rows(logged, "test").column_names == ["id", "text", "intent", "domain", "timestamp"]
    assert truth["label"] == table["hypothesis"]
    right = np.array(truth["label"].to_pylist()) == np.array(truth["true_label"].to_pylist())
    sure = table["confidence"].to_numpy()
    # Binomial: 20,000 draws at 0.15 have a standard deviation of 0.0025; the mean of doubt is that of its 20,000 draws.
    assert abs(right.mean() - 0.85) < 0.01
    assert abs(sure.mean() - 0.85) < 0.01
    for low in (0.25, 0.5, 0.75):
        here = (sure >= low) & (sure < low + 0.25)
        assert abs(right[here].mean() - sure[here].mean()) < 4 * 0.5 / np.sqrt(here.sum())
    outcome = np.array(table["outcome"].to_pylist(), dtype=object)
    again = outcome == "rephrased"
    assert not right[again].any()
    assert 0.3 < again.sum() / (~right).sum() < 0.4
    assert table["correction"].filter(again).to_pylist() == truth["true_label"].filter(again).to_pylist()
    assert table["correction"].null_count == (~again).sum()
    assert set(NAMES) == set(table["hypothesis"].filter(right & (outcome == "completed")).to_pylist())


def test_the_sources_of_a_log_have_its_rule_and_the_test_is_annotated(logged: Path) -> None:
    train, test = simulated_sources(str(logged))
    assert train.labels == LOGGED.labels
    assert (train.columns.label, test.columns.label) == ("hypothesis", "intent")
    assert test.labels.origin == "gold"
    assert "nobody annotated them" in json.loads((logged / "simulated.json").read_text())["note"]


@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.49])
def test_doubt_is_a_chance_with_the_mean_that_was_asked_for(wrong: float) -> None:
    sure = np.arange(200_000) % 4 == 0
    doubt = logs.doubt(wrong, sure, np.random.default_rng(0))
    assert doubt.min() >= 0
    assert doubt.max() <= 1
    assert not doubt[sure].any()
    assert abs(doubt[~sure].mean() - wrong) < 0.005
