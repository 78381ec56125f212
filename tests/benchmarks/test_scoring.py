"""benchmarks/scoring.py scores on Ray what it scores by hand."""

from __future__ import annotations

import json

import pytest

from tests.helpers.benchmark_scripts import assert_targets, imported, on_path
from tests.helpers.paths import BENCHMARKS

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

__all__ = ["on_path"]  # a fixture that the test uses, too


def test_scoring_goes_from_parquet_to_parquet(capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(BENCHMARKS / "scoring.py").main(["--quick"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert_targets(result["targets"])
    found = result["found"]["gradients"]
    assert [passage["actors"] for passage in found["ray"]] == [1, 2]
    assert all(passage["rows"] == 160 for passage in found["ray"])
    assert max(found["errors"].values()) <= 1e-4
    assert {"el2n, by hand", "vog, by hand", "vog, ray with 1", "vog, ray with 2"} <= set(found["errors"])
