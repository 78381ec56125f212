from __future__ import annotations

import re
from pathlib import Path

import pytest

from raysample.cli import main
from raysample.workflow.layout import cell
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


def test_different_cells_have_different_names() -> None:
    names = {
        cell(arm, fraction, seed)
        for arm in ("hard(vog|class)", "hard(vog-class)", "hard(vog, balanced)")
        for fraction in (0.5, 0.50000001)
        for seed in (0, 1)
    }
    assert len(names) == 12
    told = [f"mix(scores=vog+{more}, min_per_class=20)" for more in ("2*aum", "2+aum", "2 aum", "/../aum")]
    files = [cell(arm, 0.5, 0) for arm in told]
    assert len(set(files)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_.~+=-]+", file) for file in files)
    assert cell("hard(vog|class)", 0.5, 1) == "hard-vog~class-0.5-seed-1"


def test_fractions_that_round_to_the_same_rows_are_cells_of_their_own(small_run: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, small_run, compare={"fractions": [0.5, 0.501], "seeds": [0]})
    assert main.main(["run", str(config)]) == 0


def test_a_table_of_other_options_is_not_taken_for_this_one(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, small_run))
    for verb in ("fine-tune", "score", "sample"):
        assert main.main([verb, config]) == 0
    changed = "score.scores=[vog, {name: el2n, checkpoints: all}]"
    assert main.main(["sample", config, changed]) == 2
    assert "was made with other score options" in capsys.readouterr().err
    assert main.main(["score", config, changed]) == 0
    assert main.main(["sample", config, changed]) == 0
