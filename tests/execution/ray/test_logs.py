"""A log compacted, scored and expanded on Ray comes to what it does in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import raysample
from raysample import testing
from raysample.core.config import EngineConfig
from raysample.testing import LABELS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_a_log_on_ray_is_that_of_this_process(tmp_path: Path) -> None:
    trace = testing.tiny_checkpoints(tmp_path / "run", 2, labels=len(LABELS))
    for day in range(3):  # every day has the rows of the first one, and some of its own
        testing.tiny_corpus_files(tmp_path / f"log/date=2026-01-0{day + 1}", 40, seed=day, files=2)
        for number in range(2):
            again = tmp_path / "log/date=2026-01-01" / f"part-{number:05d}.parquet"
            if day:
                shutil.copy(again, tmp_path / f"log/date=2026-01-0{day + 1}" / f"again-{number}.parquet")
    found = {}
    for name, engine in (("here", None), ("there", EngineConfig(kind="ray"))):
        place = tmp_path / name
        columns = {"id": "id", "timestamp": "date"}
        contents = raysample.compact(str(tmp_path / "log"), str(place / "contents"), columns=columns, engine=engine)
        table = raysample.score(trace, contents, ["vog", "el2n"], str(place / "scores"), max_length=16, engine=engine)
        rows = raysample.expand(table, contents, str(place / "rows"), engine=engine)
        found[name] = contents.counts, table.to_arrow(), rows.to_arrow()
    assert found["here"][0] == found["there"][0]
    assert found["here"][0]["usable"] == 200
    assert found["here"][0]["contents"] < 125
    for here, there in zip(found["here"][1:], found["there"][1:], strict=True):
        assert here.equals(there)
