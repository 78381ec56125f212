"""A log's scores: only new contents are visited, and all come to what scoring everything at once gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import raysample
from raysample import models, testing
from raysample.core.config import ModelConfig, ScoreConfig
from raysample.core.errors import ProvenanceError, RaysampleError, ScoreError, SelectionError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.log import Contents
from raysample.data.score_table import ScoreTable
from raysample.execution.local import LocalExecutor
from raysample.influence.shards import run_visits
from raysample.selection.pruned_contents import apply_to_contents
from raysample.testing import LABELS
from raysample.workflow import RunContext, ScoreRequest
from raysample.workflow import score_contents as logs
from tests.helpers.traffic_logs import day, source, write

SCORES = ["vog", "grand_last", "el2n"]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSet:
    return testing.tiny_checkpoints(tmp_path_factory.mktemp("run"), 3)


@pytest.fixture
def looked(tmp_path: Path, trace: CheckpointSet) -> Callable[..., ScoreTable]:
    """Write a day, compact, score: what happens every morning."""

    def look(number: int | None = None, scores: Any = SCORES, **more: Any) -> ScoreTable:
        if number is not None:
            write(tmp_path / "log", number, day(number, **more))
        found = raysample.compact(source(tmp_path / "log"), str(tmp_path / "contents"))
        return raysample.score(trace, found, scores, str(tmp_path / "scores"), max_length=16)

    return look


def contents(tmp_path: Path) -> Contents:
    return Contents.load(str(tmp_path / "contents"))


def frame(table: ScoreTable) -> pd.DataFrame:
    return table.to_pandas().set_index("row_id")


def losses(table: ScoreTable) -> dict[str, str]:
    files = sorted(Path(table.uri).rglob("quarantine-*.parquet"))
    return {row["row_id"]: row["reason"] for file in files for row in pq.read_table(file).to_pylist()}


def test_a_day_costs_its_new_contents(
    looked: Callable[..., ScoreTable], visited: list[int], tmp_path: Path, trace: CheckpointSet
) -> None:
    first = looked(1)
    one = frame(first)
    second = looked(2)
    two = frame(second)
    new = len(two) - len(one)
    assert 0 < new < len(one)
    assert visited == [len(one), new]
    assert second.cost["new_contents"] == new
    scores = list(SCORES)
    assert two.loc[one.index, scores].equals(one[scores])  # bit for bit: taken over
    looked()
    assert len(visited) == 2
    once = raysample.score(trace, contents(tmp_path), SCORES, str(tmp_path / "once"), max_length=16)
    pd.testing.assert_frame_equal(frame(once), two, rtol=1e-4, atol=1e-7)
    assert once.fingerprint == second.fingerprint
    assert not (tmp_path / "scores/backlog").exists()  # where texts were
    assert len(list((tmp_path / "scores").glob("parts-*"))) == 1


def test_counts_and_groups_are_the_window_s(looked: Callable[..., ScoreTable], tmp_path: Path) -> None:
    looked(1)
    table = looked(2)
    known = pq.read_table(contents(tmp_path).places[0]).to_pandas().set_index("id")
    found = frame(table)
    assert found["count"].equals(known["count"].rename_axis("row_id"))
    assert found["group"].fillna("").tolist() == known["group"].fillna("").tolist()
    assert found["count"].sum() == 120
    assert table.statistics().rows == len(found)
    assert [table.labels[label] for label in found["label"]] == known["label"].tolist()


def test_other_scores_or_checkpoints_score_everything_again(
    looked: Callable[..., ScoreTable], visited: list[int], tmp_path: Path
) -> None:
    rows = looked(1).counts["in"]
    assert looked(None, ["el2n"]).columns == ("el2n",)
    other = testing.tiny_checkpoints(tmp_path / "other", 3, seed=1)
    raysample.score(other, contents(tmp_path), ["el2n"], str(tmp_path / "scores"), max_length=16)
    assert visited == [rows] * 3


def test_contents_with_labels_that_no_checkpoint_knows_are_set_aside(looked: Callable[..., ScoreTable]) -> None:
    looked(1)
    table = looked(2, labels=(*LABELS, "news"))
    lost = losses(table)
    assert lost
    assert set(lost.values()) == {"label is unknown to training"}
    assert table.counts["quarantined"] == len(lost)
    assert table.counts["in"] == table.counts["scored"] + len(lost)


def test_contents_that_cannot_be_scored_are_tried_again_when_asked(
    looked: Callable[..., ScoreTable],
    visited: list[int],
    tmp_path: Path,
    trace: CheckpointSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = models.encode

    def encode(words: Any, rows: Any, spec: ModelConfig) -> Any:
        if any("old pond the" in text or text == "moss the" for text in rows["text"].to_pylist()):
            raise ValueError("cannot read")
        return real(words, rows, spec)

    with monkeypatch.context() as broken:
        broken.setattr(models, "encode", encode)
        table = looked(1)
        lost = losses(table)
        assert set(lost.values()) == {"ValueError while it was scored"}
        before = len(visited)
        again = looked()
        assert len(visited) == before  # known to be bad
        assert losses(again) == lost
    config, space = ScoreConfig(scores=list(SCORES)), str(tmp_path / "scores")
    how = ModelConfig.model_validate({"max_length": 16})
    known = contents(tmp_path)
    request, context = ScoreRequest([trace], config, how, space), RunContext(LocalExecutor())
    mended = logs.score_contents(request, known, context, retry=True)
    assert visited[before:] == [len(lost)]
    assert losses(mended) == {}
    assert mended.counts["scored"] == table.counts["in"]


def test_too_many_losses_stop(looked: Callable[..., ScoreTable], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScoreError, match=r"could not be scored, more than score\.max_quarantined=0\.1 allows"):
        looked(1, labels=(*LABELS, "news", "weather"))


def test_what_an_interrupted_morning_finished_is_not_lost(
    looked: Callable[..., ScoreTable], visited: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SHARD_ROWS", 10)
    real = run_visits.score_block

    def stop(*given: Any, **more: Any) -> Any:
        if len(visited) == 3:
            raise KeyboardInterrupt
        return real(*given, **more)

    with monkeypatch.context() as stopped:
        stopped.setattr(run_visits, "score_block", stop)
        with pytest.raises(KeyboardInterrupt):
            looked(1)
    assert visited == [10] * 3
    write_more = looked(2)  # the log grew meanwhile
    assert sum(visited) == write_more.counts["in"]


def test_scores_on_every_row_are_those_of_scoring_every_row(
    looked: Callable[..., ScoreTable], tmp_path: Path, trace: CheckpointSet
) -> None:
    looked(1)
    table = looked(2)
    found = raysample.expand(table, contents(tmp_path), str(tmp_path / "rows"))
    corpus = raysample.describe(source(tmp_path / "log"), str(tmp_path / "corpus"), labels=LABELS)
    whole = raysample.score(trace, corpus, SCORES, str(tmp_path / "whole"), max_length=16)
    assert found.counts == {"in": 120, "scored": 120, "quarantined": 0}
    left, right = frame(found), frame(whole)
    assert left.index.tolist() == right.index.tolist()
    assert left[["label", "class", "tokens", "group"]].equals(right[["label", "class", "tokens", "group"]])
    np.testing.assert_allclose(left[list(SCORES)], right[list(SCORES)], rtol=1e-4, atol=1e-7)


def test_a_log_that_changed_is_not_expanded(looked: Callable[..., ScoreTable], tmp_path: Path) -> None:
    table = looked(1)
    write(tmp_path / "log", 1, day(1)[:20])
    with pytest.raises(ProvenanceError, match=r"1 files of the log changed since"):
        raysample.expand(table, contents(tmp_path), str(tmp_path / "rows"))
    other = raysample.compact(source(tmp_path / "log"), str(tmp_path / "contents"))
    with pytest.raises(ProvenanceError, match="score the contents again"):
        raysample.expand(table, other, str(tmp_path / "rows"))


@pytest.mark.parametrize(("copies", "most"), [("all", 10**9), (2, 2)])
def test_kept_contents_weigh_their_copies(
    copies: Any, most: int, looked: Callable[..., ScoreTable], tmp_path: Path
) -> None:
    table = looked(1)
    chosen = raysample.sample(table, "hard", "el2n", fraction=0.5, copies=copies, output=str(tmp_path / "half"))
    count = frame(table)["count"]
    kept = chosen.kept().to_pandas().set_index("row_id")["weight"]
    assert kept.tolist() == np.minimum(count.loc[kept.index], most).tolist()
    assert kept.max() > 1
    made = apply_to_contents(chosen, contents(tmp_path), str(tmp_path / "pruned"))
    rows = pd.concat([pq.read_table(tmp_path / "pruned" / file).to_pandas() for file in made.files])
    assert dict(zip(rows["id"], rows["raysample_weight"], strict=True)) == kept.to_dict()
    assert set(rows["count"]) == set(count.loc[kept.index])
    with pytest.raises(SelectionError, match="give a folder that does not exist yet"):
        apply_to_contents(chosen, contents(tmp_path), str(tmp_path / "pruned"))


def test_unbiased_weights_are_multiplied_with_copies(looked: Callable[..., ScoreTable], tmp_path: Path) -> None:
    table = looked(1)
    chosen = raysample.sample(table, "random", fraction=0.5, weights="unbiased", copies="all")
    kept = chosen.to_pandas().query("decision == 'kept'").set_index("row_id")
    count = frame(table)["count"].loc[kept.index]
    np.testing.assert_allclose(kept["weight"], count / kept["keep_probability"], rtol=1e-6)


def test_copies_need_counts(trace: CheckpointSet, tmp_path: Path) -> None:
    path = testing.tiny_corpus_files(tmp_path / "rows", 30)
    table = raysample.score(trace, path, ["el2n"], str(tmp_path / "scores"), max_length=16)
    with pytest.raises(SelectionError, match="compact the log and score its contents, or leave `copies` out"):
        raysample.sample(table, "random", fraction=0.5, copies=3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"scores": ["knn_label_disagreement"]}, "compares a row with others of its corpus"),
        ({"landmarks": {"scores": ["vog"], "count": 100}}, "leave score.landmarks out"),
        ({"economy": {}}, "leave score.economy out"),
        ({"source": "capture", "scores": ["el2n"]}, "set score.source: checkpoints for the log"),
    ],
)
def test_what_needs_a_whole_corpus_is_refused(
    more: dict[str, Any], words: str, tmp_path: Path, trace: CheckpointSet
) -> None:
    write(tmp_path / "log", 1, day(1))
    found = raysample.compact(source(tmp_path / "log"), str(tmp_path / "contents"))
    with pytest.raises(RaysampleError, match=words):
        raysample.score(trace, found, **{"scores": SCORES, **more}, output=str(tmp_path / "scores"), max_length=16)


def test_the_table_of_a_corpus_is_not_carried_on(looked: Callable[..., ScoreTable], tmp_path: Path) -> None:
    place = tmp_path / "rows"
    write(place, 1, day(1))
    trace = testing.tiny_checkpoints(tmp_path / "run", 2)
    corpus = raysample.describe(source(place), str(tmp_path / "corpus"), labels=LABELS)
    raysample.score(trace, corpus, ["el2n"], str(tmp_path / "scores"), max_length=16)
    with pytest.raises(ScoreError, match="holds the scores of a corpus, not of a log's contents"):
        looked(2)


def test_a_day_whose_new_contents_all_fail_stops_nothing(
    looked: Callable[..., ScoreTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = frame(looked(1))
    real = models.encode

    def encode(words: Any, rows: Any, spec: ModelConfig) -> Any:
        if "moss moss moss moss" in rows["text"].to_pylist():
            raise ValueError("cannot read")
        return real(words, rows, spec)

    monkeypatch.setattr(models, "encode", encode)
    new = {**day(1)[0], "id": "2-0", "say": "moss moss moss moss"}
    write(tmp_path / "log", 2, [*day(1), new])
    table = looked()
    assert set(losses(table).values()) == {"ValueError while it was scored"}
    assert table.counts == {"in": len(before) + 1, "scored": len(before), "quarantined": 1}
    assert frame(table)[list(SCORES)].equals(before[list(SCORES)])
