"""raysample's loop, a loop by hand and the Hugging Face Trainer: same weights, same batches, so the same steps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from raysample.core.config import ModelConfig
from tests.helpers.training_twins import train_by_hand, train_by_trainer, train_here, training_work

pytestmark = pytest.mark.slow


def test_three_loops_make_the_same_steps(tmp_path: Path) -> None:
    spec = ModelConfig(hidden_size=16, vocabulary_size=300, layers=1, max_length=32, dropout=0.0)
    # 44 rows in batches of 8, two epochs: the last batch of an epoch is short.
    work = training_work(tmp_path, spec, rows=44, steps=12, batch_size=8, learning_rate=1e-2)
    assert sorted({len(rows) for rows in work.order}) == [4, 8]
    losses, networks = dict[str, list[float]](), {}
    for name, train in (
        ("raysample", train_here),
        ("by hand", train_by_hand),
        ("Trainer", partial(train_by_trainer, folder=tmp_path / "trainer")),
    ):
        losses[name], networks[name] = [], work.network()
        train(work, networks[name], losses[name].append)
    assert len(set(losses["raysample"])) == 12
    for name in ("by hand", "Trainer"):
        assert losses["raysample"] == pytest.approx(losses[name], rel=1e-4)
        for (weight, mine), other in zip(
            networks["raysample"].named_parameters(), networks[name].parameters(), strict=True
        ):
            assert mine.detach().numpy() == pytest.approx(other.detach().numpy(), abs=1e-4), (name, weight)
