"""A log that is broken on purpose: the quarantine names every broken row with its reason, and no other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample.core.config import Columns, SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.corpus import describe_source
from raysample.data.simulated import write_broken_log
from raysample.data.simulated.broken import UNSCORABLE
from raysample.testing import tiny_corpus_files

pytestmark = pytest.mark.slow

COLUMNS = Columns(text="text", label="label", id="id")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return Path(tiny_corpus_files(tmp_path / "whole", 2_000, files=3))


def test_every_kind_is_found_where_it_was_put(whole: Path, tmp_path: Path) -> None:
    truth = write_broken_log(str(whole), str(tmp_path / "log"), columns=COLUMNS, share=0.03, seed=5)
    source = SourceConfig(path=str(tmp_path / "log"), columns=COLUMNS)
    corpus = describe_source(source, str(tmp_path / "corpus"), shard_rows=300)
    keys = ["file", "row", "stage", "reason"]
    found = pq.read_table(tmp_path / "corpus" / "quarantine").select(keys)
    assert found.sort_by([("file", "ascending"), ("row", "ascending")]).equals(truth)
    assert truth.num_rows == 60
    assert len(set(truth["reason"].to_pylist())) == 12
    assert corpus.counts == {"in": 2_000, "usable": 1_940, "quarantined": 60, "filtered": 0}


def test_the_rest_is_as_it_was_and_the_same_arguments_break_the_same_rows(whole: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_broken_log(str(whole), str(tmp_path / name), columns=COLUMNS, share=0.02, seed=seed)
    logs = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in ("one", "again", "other")
    }
    assert logs["one"] == logs["again"] != logs["other"]
    corpus = describe_source(SourceConfig(path=str(tmp_path / "one"), columns=COLUMNS), str(tmp_path / "corpus"))
    before = pa.concat_tables(pq.read_table(path) for path in sorted(whole.iterdir()))
    texts = dict(zip(before["id"].to_pylist(), before["text"].to_pylist(), strict=True))
    rows = corpus.table()
    assert rows["text"].to_pylist() == [texts[name] for name in rows["row_id"].to_pylist()]


def test_a_sign_that_cannot_be_scored_is_put_before_texts(whole: Path, tmp_path: Path) -> None:
    truth = write_broken_log(str(whole), str(tmp_path / "log"), columns=COLUMNS, share=0.02, unscorable="☠")
    odd = [row for row in truth.to_pylist() if row["reason"] == UNSCORABLE]
    assert len(odd) == 40 // 13
    assert {row["stage"] for row in odd} == {"score"}
    for row in odd:
        line = (tmp_path / "log" / row["file"]).read_bytes().split(b"\n")[row["row"]].decode()
        assert '"text": "☠ ' in line


def test_what_cannot_be_broken_is_told(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="name a folder of Parquet files"):
        write_broken_log(str(tmp_path / "whole" / "part-00000.parquet"), str(tmp_path / "log"), share=0.6)
    with pytest.raises(CorpusError, match="0 Parquet files"):
        write_broken_log(str(tmp_path / "empty"), str(tmp_path / "log"))
