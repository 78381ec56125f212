from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from raysample import models
from raysample.core.config import FineTuneConfig
from raysample.core.errors import TrainingError
from raysample.testing import tiny_model, tiny_rows
from raysample.training import DistributedContext, Examples, assess, batches, learning_rate, schedule_training, train
from raysample.training.length_balance import length_balanced_split


def examples(count: int = 40, width: int = 5) -> Examples:
    """Rows whose first token gives the class away."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    ids = [np.array([2, 10 + label, *rng.integers(20, 60, rng.integers(1, width))], np.int32) for label in labels]
    lengths = np.array([len(row) for row in ids], np.int32)
    types = [np.zeros_like(row) for row in ids]
    return Examples(models.Encoded(ids, types, lengths), labels, 0, np.array([str(i) for i in range(count)], object))


def test_every_row_is_seen_once_an_epoch_and_order_depends_on_seed_and_epoch_only() -> None:
    seen = list(batches(10, 4, seed=3, steps=6))
    assert [len(rows) for rows in seen] == [4, 4, 2, 4, 4, 2]
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert all((a == b).all() for a, b in zip(seen, batches(10, 4, seed=3, steps=6), strict=True))
    assert list(first) != list(np.concatenate(list(batches(10, 4, seed=4, steps=3))))


def test_grouping_by_length_saves_padding_and_still_shows_every_row_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 1000)
    plain, grouped = list(batches(1000, 32, 0, 64)), list(batches(1000, 32, 0, 64, lengths))
    assert len(plain) == len(grouped) == 64
    assert sorted(np.concatenate(grouped[:32])) == sorted(np.concatenate(grouped[32:])) == list(range(1000))
    padded = [sum(len(rows) * lengths[rows].max() for rows in found) for found in (plain, grouped)]
    assert padded[1] < 0.7 * padded[0]
    short_last = [len(rows) for rows in grouped[:32]]
    assert sorted(short_last) == [8] + [32] * 31
    first = [lengths[rows].mean() for rows in grouped[:16]]
    assert first != sorted(first), "short batches must not all come first"


def test_ten_checkpoints_over_the_run_by_default_the_last_at_the_end() -> None:
    layout = schedule_training(320, FineTuneConfig(epochs=3, batch_size=32))
    assert layout.steps == 30
    assert layout.save_at == (3, 6, 9, 12, 15, 18, 21, 24, 27, 30)
    assert layout.epoch(15) == 1.5


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        ({"checkpoints": 2}, (15, 30)),
        ({"checkpoints_per_epoch": 1}, (10, 20, 30)),
        ({"checkpoint_every": 12}, (12, 24, 30)),
        ({"checkpoints": 100}, tuple(range(1, 31))),
    ],
)
def test_cadences(cadence: dict[str, int], expected: tuple[int, ...]) -> None:
    assert schedule_training(320, FineTuneConfig(epochs=3, batch_size=32, **cadence)).save_at == expected


def test_equal_steps_replace_epochs() -> None:
    assert schedule_training(160, FineTuneConfig(epochs=3, batch_size=32), steps=30).steps == 30


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    config = FineTuneConfig(learning_rate=1.0, warmup_ratio=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == pytest.approx(1 / 90)
    constant = FineTuneConfig(learning_rate=1.0, schedule="constant", warmup_ratio=0)
    assert {learning_rate(step, 100, constant) for step in range(100)} == {1.0}


def test_training_learns_and_is_reproducible() -> None:
    data, config = examples(), FineTuneConfig(epochs=8, batch_size=8, learning_rate=5e-3, seed=1, precision="float32")
    found = []
    for _ in range(2):
        torch.manual_seed(123 + len(found))  # the run must not depend on the caller's random state
        classifier = tiny_model("bert", labels=3, seed=0)
        losses: list[float] = []
        train(
            classifier,
            data,
            config,
            schedule_training(len(data), config),
            progress=lambda _, loss, to=losses: to.append(loss),
        )
        found.append((losses, assess(classifier, data)))
    assert found[0][0] == found[1][0]
    assert np.mean(found[0][0][-5:]) < 0.5 * found[0][0][0]
    assert found[0][1].metrics["accuracy"] > 0.9


def test_every_step_tells_a_workers_own_rows_and_the_logits_before_it() -> None:
    data = examples(9)
    config = FineTuneConfig(epochs=2, batch_size=4, precision="float32")
    rows_of: dict[int, list[list[int]]] = {}
    for rank in range(2):
        network = tiny_model("bert", labels=3, dropout=0.0)
        (mine,) = length_balanced_split(next(batches(9, 4, 0, 1)), data.encoded.lengths, rank, 2)
        first = network(**models.pad(data.encoded, mine, 0)).logits.detach()
        told: list[tuple[np.ndarray, torch.Tensor, int]] = []
        train(
            network,
            data,
            config,
            schedule_training(9, config),
            DistributedContext(rank, 2),
            capture=lambda *seen, to=told: to.append(seen),
        )
        assert [step for _, _, step in told] == [1, 2, 3, 4, 5, 6]
        assert all(logits.shape == (len(rows), 3) and not logits.requires_grad for rows, logits, _ in told)
        assert torch.equal(told[0][1], first)
        rows_of[rank] = [rows.tolist() for rows, _, _ in told]
    # The third batch of an epoch has one row: the second worker has none of it.
    assert [rows_of[1][step] for step in (2, 5)] == [[], []]
    assert all(rows_of[1][step] for step in (0, 1, 3, 4))
    for epoch in (slice(0, 3), slice(3, 6)):
        assert sorted(chain(*rows_of[0][epoch], *rows_of[1][epoch])) == list(range(9))


def test_workers_shares_add_up_to_the_gradient_of_one_worker() -> None:
    """Workers' averaged gradients equal one worker's, also for a short last batch that leaves one without rows."""
    data = examples(9)
    for rows in (np.arange(9), np.arange(1)):
        one = gradient(data, rows, DistributedContext())
        for world, most in ((1, 2), (2, None), (2, 2), (3, None), (3, 1), (4, 1)):
            parts = [gradient(data, rows, DistributedContext(rank, world), most) for rank in range(world)]
            assert torch.allclose(one, torch.stack(parts).mean(0), rtol=1e-4, atol=1e-7), (world, most)


def test_weights_multiply_the_losses_and_have_mean_one() -> None:
    data, rows = examples(6), np.arange(6)
    raw = np.array([1, 1, 1, 3, 3, 9], np.float32)
    weighted = data.weighted(raw)
    assert weighted.weights is not None
    np.testing.assert_allclose(weighted.weights, raw / 3)
    single = torch.stack([gradient(data, rows[i : i + 1], DistributedContext()) for i in range(6)])
    expected = (single * torch.from_numpy(raw / 3)[:, None]).mean(0)
    assert torch.allclose(gradient(weighted, rows, DistributedContext()), expected, rtol=1e-4, atol=1e-7)
    halves = [gradient(weighted, rows, DistributedContext(rank, 2)) for rank in range(2)]
    assert torch.allclose(expected, (halves[0] + halves[1]) / 2, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(weighted.take(np.array([5, 0])).weights, weighted.weights[[5, 0]])


def test_equal_weights_are_none() -> None:
    assert examples(6).weighted(np.full(6, 2.5, np.float32)).weights is None
    assert examples(0).weighted(np.zeros(0, np.float32)).weights is None


def gradient(data: Examples, rows: np.ndarray, place: DistributedContext, most: int | None = None) -> torch.Tensor:
    from raysample.training.step import Stepper

    classifier = tiny_model("bert", labels=3, seed=0).eval()  # eval: dropout would differ between the workers
    optimiser = torch.optim.SGD(classifier.parameters(), lr=0.0)
    config = FineTuneConfig(max_grad_norm=1e9, precision="float32", micro_batch_size=most)
    Stepper(classifier, optimiser, config, place).backward(data, rows)
    return torch.cat([p.grad.flatten() for p in classifier.parameters() if p.grad is not None])


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    data, config = examples(), FineTuneConfig(learning_rate=1e30, precision="float32", warmup_ratio=0)
    with pytest.raises(TrainingError, match=r"lower fine_tune\.learning_rate"):
        train(tiny_model("bert", labels=3), data, config, schedule_training(len(data), config))


def test_the_head_can_have_its_own_rate() -> None:
    from raysample.training.optimizer import adamw, set_rate

    config = FineTuneConfig(learning_rate=1e-4, head_learning_rate=1e-3)
    optimiser = adamw(tiny_model("bert", labels=3), config)
    set_rate(optimiser, 5e-5)
    rates = {group["head"]: group["lr"] for group in optimiser.param_groups}
    assert rates == pytest.approx({True: 5e-4, False: 5e-5})
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.0, 0.01}


def test_rows_of_the_test_table_are_encoded_with_their_ids() -> None:
    table = tiny_rows(5, seed=0)
    assert len(table) == 5
    assert examples(5).take(np.array([3, 1])).ids.tolist() == ["3", "1"]
