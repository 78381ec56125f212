"""Training, validation and hold-out: a row's side goes by its near text, and no row is lost between them."""

from __future__ import annotations

import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysample.core.errors import CorpusError
from raysample.data.corpus import Corpus, describe_source
from raysample.data.corpus.judge_rows import JudgedRows
from raysample.data.corpus.near_texts import near_text_hashes
from raysample.data.corpus.sides import Side, Split
from raysample.data.schema import SELECTED
from tests.helpers.labelled_files import Row, described, source, write_csv, write_jsonl

PARTS: tuple[Side, ...] = ("train", "validation", "holdout")


def words(rng: np.random.Generator, count: int = 2) -> str:
    """Return random words of letters, since numbers do not tell near texts apart."""
    return " ".join("".join(rng.choice(list(string.ascii_lowercase), 3)) for _ in range(count))


def rows_of_words(count: int, texts: int, seed: int = 0) -> list[Row]:
    """Return rows of two classes with some of `texts` different texts."""
    rng = np.random.default_rng(seed)
    known = [words(rng) for _ in range(texts)]
    return [{"id": i, "text": known[rng.integers(texts)], "label": f"c{i % 2}"} for i in range(count)]


def parts_of(folder: Path, path: Path, parts: tuple[Side, ...] = PARTS, **shares: Any) -> dict[Side, Corpus]:
    """Describe the parts of a source, as a run does: the others by the classes of training."""
    found: dict[Side, Corpus] = {}
    for part in parts:
        labels = None if part == "train" else found["train"].labels
        config, uri = source(path, {"id": "id"}, **shares.get("source", {})), str(folder / part)
        given = {name: share for name, share in shares.items() if name != "source"}
        found[part] = describe_source(config, uri, labels=labels, part=part, shard_rows=64, **given)
    return found


def judged(texts: list[str], pairs: list[str] | None = None) -> JudgedRows:
    """Return selected rows with these texts."""
    none = np.zeros(len(texts), np.uint8)
    pair = pa.nulls(len(texts), pa.string()) if pairs is None else pa.array(pairs)
    name = pa.array([f"f:{i}" for i in range(len(texts))])
    content = pa.table({"text": pa.array(texts, pa.string()), "text_pair": pair})
    return JudgedRows(content, name, none, none, none.astype(np.float32), none.astype(np.int16))


def test_the_parts_add_up_to_the_source_and_share_no_text(tmp_path: Path) -> None:
    rows = rows_of_words(1000, 400)
    rows += [{"id": 2000 + i, "text": "", "label": "c0"} for i in range(60)] + [dict(rows[0]), dict(rows[1])]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    whole = described(tmp_path, path, {"id": "id"})
    found = parts_of(tmp_path, path, holdout=0.2, validation=0.25)
    texts = {part: set(corpus.table()["text"].to_pylist()) for part, corpus in found.items()}
    assert not texts["train"] & texts["validation"]
    assert not texts["holdout"] & (texts["train"] | texts["validation"])
    assert set.union(*texts.values()) == set(whole.table()["text"].to_pylist())
    for key in ("usable", "quarantined"):
        assert sum(corpus.counts[key] for corpus in found.values()) == whole.counts[key]
    for corpus in found.values():
        counts = corpus.counts
        assert counts["in"] == 1062 == counts["usable"] + counts["quarantined"] + counts["filtered"]
    assert 0.12 < found["holdout"].rows / whole.rows < 0.28
    # The validation share is taken of the rows that the hold-out leaves.
    assert 0.17 < found["validation"].rows / (whole.rows - found["holdout"].rows) < 0.33
    sides = {part: found[part].counts["usable"] + found[part].counts["quarantined"] for part in PARTS}
    hold, other = "other side of the hold-out", "other side of the validation split"
    assert found["train"].filtered == {hold: sides["holdout"], other: sides["validation"]}
    assert found["validation"].filtered == {hold: sides["holdout"], other: sides["train"]}
    assert found["holdout"].filtered == {hold: sides["train"] + sides["validation"]}
    assert [found[part].part for part in PARTS] == list(PARTS)


def test_the_side_goes_by_the_text_not_by_file_id_or_label(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": row["label"]} for row in rows_of_words(150, 150)]
    other = [{"text": row["text"], "label": "c1" if row["label"] == "c0" else "c0"} for row in rows[::-1]]
    split: dict[str, Any] = {"part": "validation", "validation": 0.3, "holdout": 0.2}
    one = described(tmp_path, write_jsonl(tmp_path / "a.jsonl", rows), {}, **split).table()
    two = described(tmp_path, write_csv(tmp_path / "b.csv", other), {}, **split).table()
    assert sorted(one["text"].to_pylist()) == sorted(two["text"].to_pylist())


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=20), st.data())
@settings(max_examples=60, deadline=None)
def test_the_side_is_a_function_of_the_near_text(texts: list[str], data: st.DataObject) -> None:
    pairs = data.draw(st.none() | st.lists(st.text(min_size=1, max_size=4), min_size=len(texts), max_size=len(texts)))
    varied = [data.draw(st.sampled_from([f" {text}!", f"{text}  ", f"({text})"])) for text in texts]
    both = judged(texts + varied, None if pairs is None else pairs * 2)
    hashes = near_text_hashes(both.content)
    for split in (Split("train", 0.4, 0.5), Split("validation", None, 0.5), Split("holdout", 0.5)):
        side = dict(zip(hashes.tolist(), (split.filters(both)).tolist(), strict=True))
        assert split.filters(both).tolist() == [side[value] for value in hashes.tolist()]


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_row_is_on_one_side(texts: list[str]) -> None:
    rows = judged(texts)
    chosen = [Split(part, 0.3, 0.4).filters(rows) == SELECTED for part in PARTS]
    assert np.sum(chosen, axis=0).tolist() == [1] * len(texts)


def test_the_two_splits_are_independent() -> None:
    rng = np.random.default_rng(0)
    rows = judged([words(rng, 3) for _ in range(4000)])
    held, chosen = (
        Split(part, share, other).filters(rows) == SELECTED
        for part, share, other in (("holdout", 0.5, None), ("validation", None, 0.5))
    )
    assert 0.45 < chosen[held].mean() < 0.55
    assert 0.45 < chosen[~held].mean() < 0.55


def test_training_and_validation_share_the_limit(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows_of_words(400, 400))
    found = parts_of(tmp_path, path, ("train", "validation"), validation=0.3, source={"limit": 200})
    assert found["train"].rows + found["validation"].rows == 200
    assert {corpus.filtered["limit"] for corpus in found.values()} == {200}
    without = described(tmp_path, path, {"id": "id"}, limit=200).table()["row_id"].to_pylist()
    assert sorted(without) == sorted(i for part in found.values() for i in part.table()["row_id"].to_pylist())


def test_classes_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    rows = rows_of_words(200, 200)
    side = Split("validation", None, 0.3).filters(judged([row["text"] for row in rows])) == SELECTED
    inside, outside = (rows[int(np.flatnonzero(mask)[0])] for mask in (side, ~side))
    inside["label"], outside["label"] = "only validation", "only training"
    found = parts_of(tmp_path, write_jsonl(tmp_path / "a.jsonl", rows), ("train", "validation"), validation=0.3)
    assert set(found["train"].labels) == {"c0", "c1", "only training", "only validation"}
    assert found["validation"].labels == found["train"].labels
    counts = [Counter(dict(zip(corpus.labels, corpus.class_counts, strict=True))) for corpus in found.values()]
    assert (counts[0]["only validation"], counts[1]["only validation"]) == (0, 1)
    assert (counts[0]["only training"], counts[1]["only training"]) == (1, 0)
    (trains,), (chooses,) = (corpus.warnings for corpus in found.values())
    assert trains.startswith("training has no row of 1 of 4 classes (only validation)")
    assert chooses.startswith("the validation part has no row of 1 of 4 classes (only training)")


def test_an_empty_side_is_an_error_that_says_what_to_change(tmp_path: Path) -> None:
    numbered = [{"id": i, "text": f"text {i}", "label": f"c{i % 2}"} for i in range(50)]
    path, same = write_jsonl(tmp_path / "a.jsonl", numbered), judged(["text 1"])
    alone: Side = "validation" if (Split("validation", None, 0.5).filters(same) == SELECTED)[0] else "train"
    empty: Side = "train" if alone == "validation" else "validation"
    advice = {"train": "lower corpus.validation", "validation": "raise corpus.validation, or leave it out"}
    labels = ["c0", "c1"]
    assert described(tmp_path, path, {"id": "id"}, labels=labels, part=alone, validation=0.5).rows == 50
    with pytest.raises(CorpusError, match=f"all 50 usable rows are on another side.*\n.*{advice[empty]}"):
        described(tmp_path, path, {"id": "id"}, labels=labels, part=empty, validation=0.5)
    with pytest.raises(CorpusError, match=r"raise corpus\.holdout"):
        described(tmp_path, path, {"id": "id"}, labels=labels, part="holdout", holdout=1e-12)
