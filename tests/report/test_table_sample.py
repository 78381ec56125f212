"""What the page is made of: one look at the parts, one at a time, and the statistics; never the whole table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysample.core import storage
from raysample.core.errors import ScoreError
from raysample.data.row_sampling import hash_bound
from raysample.data.score_table import STATISTICS, ScoreTable
from raysample.influence.shards import write_statistics
from raysample.report import collect_table_sample, render_report
from raysample.report.figures import ridges
from raysample.report.summaries import figure, scoring_words, summary_tables
from raysample.selection import table_blocks
from tests.helpers import warm
from tests.helpers.paths import ROOT
from tests.helpers.report_data import SCORES, fake_comparison, fake_labels, fake_table

pytestmark = pytest.mark.slow

LABELS = ("weather", "music", "alarm")


def backwards(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """Map in an order of its own."""
    return iter([function(item) for item in reversed(items)])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    return fake_table(tmp_path_factory.mktemp("parts"), LABELS, rows=3_000, parts=12, grouped=True)


def test_neither_blocks_nor_their_order_change_what_is_seen(parts: ScoreTable, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect_table_sample(parts, 6, sample=500)
    monkeypatch.setattr(table_blocks, "BLOCK_ROWS", 500)
    cut = collect_table_sample(parts, 6, backwards, sample=500)
    assert whole is not None
    assert cut is not None
    assert cut.examples == whole.examples
    assert cut.sample == whole.sample
    assert whole.sample.num_rows == 500
    assert sum(map(len, whole.places().values())) == len({r for t in whole.examples for r in t["row_id"].to_pylist()})
    frame = parts.to_pandas().set_index("row_id")
    for name, rows in whole.places().items():
        assert set(rows) <= set(next(parts.read((), ("row_id",), (name,)))["row_id"].to_pylist())
        assert set(rows) <= set(frame.index)


def test_the_sample_is_the_table_where_that_is_small(parts: ScoreTable) -> None:
    looked = collect_table_sample(parts, 3)
    assert looked is not None
    assert sorted(looked.sample["vog"].to_pylist()) == sorted(parts.to_arrow()["vog"].to_pylist())


def test_a_sample_has_as_many_rows_as_asked_for() -> None:
    assert hash_bound(10, 10) == 2**64 - 1
    # 100,000 of a billion: more than eight deviations above what is asked for, and not much more
    assert 1.02e5 < hash_bound(100_000, 10**9) / 2**64 * 10**9 < 1.04e5


def test_a_part_is_forgotten_before_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, real, held = fake_table(tmp_path, LABELS, rows=240_000, parts=12), storage.read_parquet, list[int]()

    def read(uri: str, columns: list[str] | None = None) -> pa.Table:
        held.append(pa.total_allocated_bytes())
        return real(uri, columns)

    part = real(storage.join(table.uri, table.parts[0])).nbytes
    monkeypatch.setattr(storage, "read_parquet", read)
    looked = collect_table_sample(table, 8, sample=1_000)
    assert looked is not None
    assert len(held) == 12 + 1  # the parts and the statistics
    assert max(held) - held[0] < part / 2


@pytest.mark.usefixtures("forking")
def test_memory_does_not_grow_with_the_number_of_parts(tmp_path: Path) -> None:
    tables = [fake_table(tmp_path / str(parts), LABELS, rows=10_000 * parts, parts=parts) for parts in (1, 3, 12)]
    command = [*warm.python(), "-m", "tests.helpers.table_sample_memory", *(table.uri for table in tables)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert done.returncode == 0
    few, many = json.loads(done.stdout)
    assert 0 < many < 1.3 * few


def test_the_ridges_are_those_of_the_rows(parts: ScoreTable) -> None:
    found, frame = parts.statistics(), parts.to_pandas()
    for name in ("vog", "el2n", "confidence"):
        whole = found.overall(name)
        edges = np.linspace(whole.quantile(0.005), whole.quantile(0.995), 49)
        exact, _ = np.histogram(frame[name].clip(edges[0], edges[-1]), edges)
        # A bin of the statistics is narrower than one of the figure, so only rows at an edge may change sides.
        assert np.abs(np.cumsum(whole.between(edges) - exact)).max() < 0.02 * len(frame)
        assert f"all rows ({len(frame):,})" in ridges(name, found, LABELS)


def test_the_tables_have_the_hardest_first_and_tell_what_is_left(tmp_path: Path) -> None:
    labels = fake_labels(30)
    table = fake_table(tmp_path, labels, rows=3_000)
    (found,) = summary_tables(table, table.statistics())
    means = table.to_pandas().groupby("class")["vog"].mean().sort_values(ascending=False)
    assert [line.name for line in found.lines] == [" ".join(name.split()) for name in means.index[:20]]
    assert found.left == means.size - 20
    page = render_report(
        title="A run", comparison=fake_comparison(labels, {}), table=table, texts=None, provenance={}, examples=3
    )
    assert f"… and {means.size - 20} more." in page


def test_figures_have_three_digits() -> None:
    values = (0.45, -15.0, 123.4, 99_999.5, 1.5e-7, float("nan"))
    assert [figure(value) for value in values] == ["0.450", "−15.0", "123", "100,000", "1.50e−07", "–"]


def test_scores_that_fall_with_difficulty_are_turned(tmp_path: Path) -> None:
    table = fake_table(tmp_path, LABELS, rows=600, scores={"confidence": SCORES["confidence"]})
    (found,) = summary_tables(table, table.statistics())
    means = table.to_pandas().groupby("class")["confidence"].mean().sort_values()
    assert [line.name for line in found.lines] == list(means.index)


def test_groups_have_a_table_and_the_page_says_what_the_scoring_took(parts: ScoreTable) -> None:
    page = render_report(
        title="A run", comparison=fake_comparison(LABELS, {}), table=parts, texts=None, provenance={}, examples=3
    )
    assert "<h3>By group</h3>" in page
    assert "&lt;b&gt;den" in page
    said = scoring_words(parts, parts.statistics())
    assert said[0] == "12 shards took 30 s of workers' time, 100 rows per second and worker."
    assert said[1] == ("Set aside, and in no figure here: 2 (not finite: vog) and 1 (ValueError while it was scored).")
    assert len(said) == 2


def test_a_page_says_that_correlations_are_those_of_a_sample(parts: ScoreTable) -> None:
    arguments: dict[str, Any] = {
        "title": "A run",
        "comparison": fake_comparison(LABELS, {}),
        "table": parts,
        "texts": None,
        "provenance": {},
    }
    assert "By a sample of 500 rows" in render_report(**arguments, looked=collect_table_sample(parts, 3, sample=500))
    assert "By a sample" not in render_report(**arguments)


def test_statistics_of_another_table_or_none_are_refused(tmp_path: Path) -> None:
    table = fake_table(tmp_path, LABELS, rows=50)
    other = ScoreTable(**{**vars(table), "checkpoints": "o" * 64})
    with pytest.raises(ScoreError, match=r"another table.*\n.*write_statistics"):
        other.statistics()
    storage.remove(storage.join(table.uri, STATISTICS))
    with pytest.raises(ScoreError, match=r"has no statistics\n.*write_statistics"):
        collect_table_sample(table, 3)


def test_rows_set_aside_without_a_reason_are_told(tmp_path: Path) -> None:
    table = fake_table(tmp_path, LABELS, rows=50)
    storage.remove(storage.join(table.uri, "quarantine-00000.parquet"))
    assert write_statistics(table).reasons == {"no reason was kept": 3}


def test_parts_that_changed_are_told(tmp_path: Path) -> None:
    table = fake_table(tmp_path, LABELS, rows=50)
    part = storage.join(table.uri, table.parts[1])
    storage.write_parquet(part, storage.read_parquet(part).slice(1))
    with pytest.raises(ScoreError, match=r"hold 49 scored rows and 3 set aside, 50 and 3 were.*\n.*score again"):
        write_statistics(table)
