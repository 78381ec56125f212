"""First runs of a new output: two drivers of one folder at once, and a start after one that was killed half-way."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers import warm
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("forking")
def test_nothing_that_happens_to_a_first_start_stops_the_next_one(tmp_path: Path) -> None:
    # In a process of its own, which forks the drivers: pytest's has threads.
    subprocess.run([*warm.python(), "-m", "tests.helpers.chaos.start_drivers", str(tmp_path)], cwd=ROOT, check=True)
    same, killed = json.loads((tmp_path / "result.json").read_text())
    assert same["trained"] == 1, same
    assert killed["codes"] == [-9, 0], killed
    for one in (same, killed):
        assert (one["differing"], one["running"], one["left over"]) == (0, 0, []), one
