"""A log's contents against pandas; the same however the log is cut, and however often it was looked at before."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysample.core.errors import CorpusError
from raysample.data.log import Contents, compact_log, compaction, ranges
from tests.helpers.traffic_logs import Row, day, expected, source, write

DAYS = (1, 2, 3)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for number in DAYS:
        write(tmp_path / "log", number, day(number))
    return tmp_path / "log"


def rows(numbers: tuple[int, ...] = DAYS) -> list[Row]:
    return [row for number in numbers for row in day(number)]


def frame(contents: Contents) -> pd.DataFrame:
    whole = pd.concat([pq.read_table(place).to_pandas() for place in contents.places])
    assert whole["id"].is_monotonic_increasing
    assert whole["text_pair"].isna().all()
    whole = whole.drop(columns=["id", "text_pair"]).sort_values(["text", "label"]).reset_index(drop=True)
    return whole.fillna({"group": ""})


def same(contents: Contents, given: list[Row]) -> None:
    wanted = expected(given).fillna({"group": ""})
    pd.testing.assert_frame_equal(frame(contents), wanted, check_dtype=False)


def test_contents_are_those_of_pandas(log: Path, tmp_path: Path) -> None:
    found = compact_log(source(log), str(tmp_path / "contents"))
    same(found, rows())
    assert found.counts == {
        "in": 3 * 62,
        "usable": 180,
        "quarantined": 6,
        "filtered": 0,
        "contents": len(expected(rows())),
        "conflicts": expected(rows()).query("labels > 1")["text"].nunique(),
        "conflict_rows": expected(rows()).query("labels > 1")["count"].sum(),
    }
    assert found.counts["conflicts"] > 0
    assert found.reasons == {"line is not valid JSON": 3, "text is empty": 3}
    assert sum(found.labels.values()) == 180
    assert Contents.load(found.uri) == found


def test_broken_rows_lie_in_quarantine_with_file_and_place(log: Path, tmp_path: Path) -> None:
    found = compact_log(source(log), str(tmp_path / "contents"))
    files = sorted((tmp_path / "contents").rglob("quarantine/*.parquet"))
    lost = pa.concat_tables(map(pq.read_table, files)).to_pylist()
    assert sorted((row["file"], row["row"], row["reason"]) for row in lost) == [
        (f"date=2026-01-0{number}/part-0.jsonl", place, reason)
        for number in DAYS
        for place, reason in ((1, "line is not valid JSON"), (2, "text is empty"))
    ]
    assert len(lost) == found.counts["quarantined"]


def test_neither_order_nor_cut_of_the_log_nor_ranges_matter(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compact_log(source(log), str(tmp_path / "one"))
    for number in DAYS:
        write(tmp_path / "other", number, day(number)[::-1], cut=3)
    monkeypatch.setattr(ranges, "RANGE_ROWS", 20)
    many = compact_log(source(tmp_path / "other"), str(tmp_path / "many"))
    assert len(one.parts) == 1
    assert len(many.parts) == -(-sum(file.tallied for file in many.files) // 20) > 4
    assert many.fingerprint == one.fingerprint
    assert frame(many).equals(frame(one))


def test_a_log_looked_at_every_day_comes_to_the_same_as_one_looked_at_once(tmp_path: Path) -> None:
    log, seen = tmp_path / "log", list[dict[str, int]]()
    for number in DAYS:
        write(log, number, day(number))
        found = compact_log(source(log), str(tmp_path / "daily"))
        seen.append(found.update)
    assert seen == [{"new": 1, "kept": kept, "gone": 0} for kept in range(3)]
    once = compact_log(source(log), str(tmp_path / "once"))
    assert found.fingerprint == once.fingerprint
    assert frame(found).equals(frame(once))
    assert [file.key for file in found.files] == [file.key for file in once.files]


def test_only_new_files_are_read(log: Path, tmp_path: Path) -> None:
    compact_log(source(log), str(tmp_path / "contents"))
    tallies = {path: path.stat().st_mtime_ns for path in (tmp_path / "contents/files").rglob("*.*")}
    write(log, 4, day(4))
    compact_log(source(log), str(tmp_path / "contents"))
    assert all(path.stat().st_mtime_ns == time for path, time in tallies.items())


def test_late_changed_and_vanished_files_need_no_care(log: Path, tmp_path: Path) -> None:
    compact_log(source(log), str(tmp_path / "contents"))
    late = [{**row, "id": f"late-{row['id']}"} for row in day(9)]
    (log / "date=2026-01-01/late.jsonl").write_text(pd.DataFrame(late).to_json(orient="records", lines=True))
    write(log, 2, day(2)[:30])
    (log / "date=2026-01-03/part-0.jsonl").unlink()
    found = compact_log(source(log), str(tmp_path / "contents"))
    same(found, [*day(1), *late, *day(2)[:30]])
    assert found.update == {"new": 2, "kept": 1, "gone": 2}
    assert len(list((tmp_path / "contents/files").iterdir())) == 3


def test_a_window_slides_and_what_leaves_it_is_deleted(log: Path, tmp_path: Path) -> None:
    for number in (4, 5):
        found = compact_log(source(log), str(tmp_path / "contents"), window=2)
        write(log, number, day(number))
    found = compact_log(source(log), str(tmp_path / "contents"), window=2)
    same(found, rows((4, 5)))
    assert [file.name.split("/")[0] for file in found.files] == ["date=2026-01-04", "date=2026-01-05"]
    assert len(list((tmp_path / "contents/files").iterdir())) == 2
    assert len(list((tmp_path / "contents").glob("contents-*"))) == 1


def test_rows_with_the_same_id_in_one_file_count_once(tmp_path: Path) -> None:
    again = [*day(1), *day(1)[:5]]
    write(tmp_path / "log", 1, again, broken=False)
    found = compact_log(source(tmp_path / "log"), str(tmp_path / "contents"))
    same(found, day(1))
    assert found.reasons == {"duplicate id": 5}


def test_filtered_rows_are_counted(log: Path, tmp_path: Path) -> None:
    found = compact_log(source(log, where={"device": "d1"}), str(tmp_path / "contents"))
    wanted = [row for row in rows() if row["device"] == "d1"]
    same(found, wanted)
    assert found.counts["usable"] == len(wanted)
    assert found.left_out == {"where": found.counts["filtered"]}
    assert found.counts["filtered"] == 180 - len(wanted) + 3 * (day(1)[0]["device"] != "d1")


@pytest.mark.parametrize(
    ("change", "window", "words"),
    [
        ({"limit": 5}, None, "give Parquet, JSONL or CSV files, without a limit"),
        ({"max_quarantined": 0.01}, None, r"6 of 186 rows .* text is empty: 3"),
        ({"columns": {"text": "say", "label": "intent"}}, None, "has no column 'intent'; it has"),
        ({"where": {"device": "none such"}, "max_quarantined": 1.0}, None, "no usable row in the window"),
        ({}, 0, "give a window of 1 or more"),
    ],
)
def test_bad_logs_are_refused(
    change: dict[str, object], window: int | None, words: str, log: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=words):
        compact_log(source(log, **change), str(tmp_path / "contents"), window=window)


def test_files_beside_each_other_are_partitions_of_their_own(tmp_path: Path) -> None:
    for number in DAYS:
        write(tmp_path / "days", number, day(number), broken=False)
        flat = tmp_path / "flat" / f"{number}.jsonl"
        flat.parent.mkdir(exist_ok=True)
        (tmp_path / f"days/date=2026-01-0{number}/part-0.jsonl").rename(flat)
    found = compact_log(source(tmp_path / "flat"), str(tmp_path / "contents"), window=1)
    same(found, day(3))


def test_stale_files_are_named(log: Path, tmp_path: Path) -> None:
    found = compact_log(source(log), str(tmp_path / "contents"))
    assert compaction.stale(found) == []
    write(log, 2, day(2)[:30])
    (log / "date=2026-01-03/part-0.jsonl").unlink()
    assert compaction.stale(found) == ["date=2026-01-02/part-0.jsonl", "date=2026-01-03/part-0.jsonl"]


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, ranges.PREFIXES - 1))
def test_ranges_cover_every_id_once(of: int, others: int, prefix: int) -> None:
    row_id = f"{prefix:04x}" + "0" * 32
    at = ranges.place(row_id, of)
    low, high = ranges.range_bounds(at, of)
    assert low <= row_id < high
    assert sum(a <= row_id < b for a, b in (ranges.range_bounds(i, of) for i in range(of))) == 1
    assert ranges.place(row_id, others) in ranges.overlapping(at, of, others)


def test_hypotheses_that_are_too_unsure_are_left_out(log: Path, tmp_path: Path) -> None:
    place = tmp_path / "sure/date=2026-01-01/part-0.jsonl"
    place.parent.mkdir(parents=True)
    given = [{**row, "sure": 0.2 if i % 3 else 0.9} for i, row in enumerate(day(1))]
    place.write_text(pd.DataFrame(given).to_json(orient="records", lines=True))
    labels = {"origin": "hypothesis", "confidence": "sure", "min_confidence": 0.5}
    found = compact_log(source(tmp_path / "sure", labels=labels), str(tmp_path / "contents"))
    same(found, day(1)[::3])
    assert found.left_out == {"confidence below min_confidence": 40}
    assert found.as_source().labels.origin == "hypothesis"
