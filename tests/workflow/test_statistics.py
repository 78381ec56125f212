"""Statistics are written with the shards, merged when all are done, and made again from the parts where they lack."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.cli import main
from raysample.core import storage
from raysample.core.statistics import count_part, read_statistics
from raysample.data.score_table import STATISTICS, ScoreTable
from raysample.data.score_table_layout import statistics_of
from raysample.influence.shards import part_statistics, write_statistics
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Score a corpus with groups in shards of 80 rows."""
    folder = tmp_path_factory.mktemp("statistics")
    rows = pq.read_table(small_run / "train.parquet")
    skills = [None if i % 7 == 0 else "odd" if i % 2 else "even" for i in range(len(rows))]
    pq.write_table(rows.append_column("skill", pa.array(skills)), folder / "train.parquet")
    corpus = {
        "columns": {"id": "id", "group": "skill"},
        "shard_rows": 80,
        "train": {"path": str(folder / "train.parquet")},
        "test": {"path": str(small_run / "test.parquet"), "columns": {"id": "id"}},
    }
    path = write_config(folder, small_run, corpus=corpus)
    assert main.main(["fine-tune", str(path)]) == 0
    assert main.main(["score", str(path)]) == 0
    return path


@pytest.fixture
def table(config: Path) -> ScoreTable:
    return ScoreTable.load(str(config.parent / "runs/small/scores"))


def test_statistics_are_written_beside_the_parts_that_have_rows_enough(table: ScoreTable) -> None:
    # 80, 80 and 40 rows of three classes and two groups: at 16 a cell, the last shard has too few
    beside = [storage.join(table.uri, statistics_of(part)) for part in table.parts]
    assert [storage.exists(uri) for uri in beside] == [True, True, False]
    for uri, part in zip(beside, table.read(), strict=False):
        if storage.exists(uri):
            assert read_statistics(uri)[0].to_pandas("group").equals(count_part(part, table.columns).to_pandas("group"))


def test_the_merged_ones_are_those_of_the_whole_table(table: ScoreTable) -> None:
    found, whole = table.statistics(), count_part(table.to_arrow(), table.columns)
    assert found.labels == table.labels
    assert found.to_pandas("group").equals(whole.to_pandas("group"))
    assert found.correlation("vog", "el2n") == whole.correlation("vog", "el2n")
    frame = table.to_pandas().groupby("class")["el2n"].mean()
    for name, mean in frame.items():
        label = table.labels.index(str(name))
        assert found.of_class(label, "el2n").mean == pytest.approx(mean, rel=1e-6)
    assert (found.rows, found.shards, found.quarantined) == (200, 3, 0)
    assert found.seconds == pytest.approx(table.cost["score_seconds"], abs=0.01)


def test_what_lacks_or_is_damaged_is_made_again_from_the_parts(config: Path, table: ScoreTable) -> None:
    merged = Path(table.uri, STATISTICS)
    before = merged.read_bytes()
    first, second = (Path(table.uri, statistics_of(part)) for part in table.parts[:2])
    kept = first.read_bytes()
    first.unlink()
    second.write_bytes(b"half of")
    write_statistics(table)
    assert merged.read_bytes() == before
    first.write_bytes(kept)
    merged.unlink()
    assert main.main(["score", str(config)]) == 0
    assert merged.read_bytes() == before


def test_a_part_with_few_rows_leaves_no_stale_statistics(table: ScoreTable, tmp_path: Path) -> None:
    from raysample.data.corpus import Shard

    shard = Shard(0, "a", 0, 1, 1, "f" * 40)
    rows = table.to_arrow()
    part_statistics.keep(str(tmp_path), shard, count_part(rows, table.columns))
    kept = tmp_path / "_statistics" / f"part-{shard.name}.parquet"
    assert kept.exists()
    part_statistics.keep(str(tmp_path), shard, count_part(rows.slice(0, 5), table.columns))
    assert not kept.exists()
