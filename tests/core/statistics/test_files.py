"""Statistics on storage: what comes back, how large it is, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import storage
from raysample.core.errors import StorageError
from raysample.core.statistics import count_part, merge_statistics, nothing, read_statistics, write_statistics_file
from raysample.influence.shards.part_statistics import MIN_ROWS_PER_CELL
from tests.helpers.scored_rows import SCORES, plain, scored_rows


@pytest.mark.parametrize("rows", [0, 1, 500])
@pytest.mark.parametrize("groups", [None, 7, 0])
def test_what_is_written_is_read(tmp_path: Path, rows: int, groups: int | None) -> None:
    uri = str(tmp_path / "statistics.parquet")
    found = count_part(scored_rows(rows, groups=groups), SCORES, seconds=1.25, reasons={"not finite: vog": 2})
    write_statistics_file(uri, found, "a table")
    again, of = read_statistics(uri)
    assert of == "a table"
    assert plain(again) == plain(found)


def test_too_many_groups_stay_too_many(tmp_path: Path) -> None:
    uri = str(tmp_path / "statistics.parquet")
    rows = scored_rows(1_001, groups=None).append_column("group", pa.array([f"{i}" for i in range(1_001)]))
    write_statistics_file(uri, count_part(rows, SCORES))
    again = read_statistics(uri)[0]
    assert again.grouped
    assert again.groups is None


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "statistics.parquet")
    storage.write_parquet(uri, scored_rows(3))
    with pytest.raises(StorageError, match=r"no statistics of scores.*\n.*score again"):
        read_statistics(uri)


def test_they_are_smaller_than_the_part_where_they_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, cells = 4_000, 4_000 // MIN_ROWS_PER_CELL
    values = {name: rng.lognormal(size=rows).astype(np.float32) for name in SCORES}
    label = np.arange(rows, dtype=np.int32) % cells
    data = {
        "row_id": [f"{i:08d}" for i in range(rows)],
        "label": label,
        "tokens": rng.poisson(9, rows).astype(np.int32),
    }
    part = pa.table({**data, **values})
    storage.write_parquet(str(tmp_path / "part.parquet"), part)
    write_statistics_file(str(tmp_path / "statistics.parquet"), count_part(part, SCORES))
    assert (tmp_path / "statistics.parquet").stat().st_size < (tmp_path / "part.parquet").stat().st_size


def test_merged_statistics_do_not_grow_with_the_rows(tmp_path: Path) -> None:
    def size(parts: int) -> int:
        found = (count_part(scored_rows(2_000, seed=i), SCORES) for i in range(parts))
        write_statistics_file(str(tmp_path / "statistics.parquet"), merge_statistics(found, nothing(SCORES, True)))
        return (tmp_path / "statistics.parquet").stat().st_size

    assert size(40) < 2 * size(10)
