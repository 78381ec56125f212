"""Who takes which rows of a global batch: every row once, as many forwards for all, the least padding possible."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from raysample.training.length_balance import length_balanced_split

CORPUS = 1_000


def drawn(seed: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths of a corpus, most of them short and few long, and a batch of it."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(4 + rng.lognormal(2.5, 0.8, CORPUS), 128).astype(np.int32)
    return lengths, rng.choice(CORPUS, batch, replace=False)


def cost(rows: np.ndarray, lengths: np.ndarray) -> int:
    return len(rows) * int(lengths[rows].max(initial=0))


@pytest.mark.parametrize("most", [None, 1, 3, 16])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 2, 7, 32, 33])
def test_every_row_is_taken_once_by_as_many_forwards_on_every_worker(batch: int, world: int, most: int | None) -> None:
    lengths, rows = drawn(batch, batch)
    taken = [length_balanced_split(rows, lengths, rank, world, most) for rank in range(world)]
    assert sorted(np.concatenate([piece for mine in taken for piece in mine])) == sorted(rows)
    # Workers gather each other's shards at every forward, so that all must make as many.
    assert {len(mine) for mine in taken} == {-(-batch // (world * (most or batch)))}
    assert all(len(piece) <= (most or batch) for mine in taken for piece in mine)
    place = {row: at for at, row in enumerate(rows)}
    for piece in (piece for mine in taken for piece in mine):
        assert [place[row] for row in piece] == sorted(place[row] for row in piece)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_busiest_worker_has_as_little_to_do_as_any_cut_allows(seed: int, world: int) -> None:
    lengths, rows = drawn(seed, 14)
    taken = [np.concatenate(length_balanced_split(rows, lengths, rank, world)) for rank in range(world)]
    ordered = rows[np.argsort(-lengths[rows])]
    best = min(
        max(cost(group, lengths) for group in np.split(ordered, cuts)) for cuts in combinations(range(14), world - 1)
    )
    assert max(cost(mine, lengths) for mine in taken) == best


@pytest.mark.parametrize("world", [2, 4, 8])
def test_rows_that_are_dealt_in_turn_are_never_less_to_do_and_mostly_much_more(world: int) -> None:
    saved = []
    for seed in range(50):
        lengths, rows = drawn(seed, 64)
        mine = max(
            cost(np.concatenate(length_balanced_split(rows, lengths, rank, world)), lengths) for rank in range(world)
        )
        saved.append(mine / max(cost(rows[rank::world], lengths) for rank in range(world)))
    assert max(saved) <= 1
    assert np.median(saved) < 0.75


def test_rows_of_one_length_are_dealt_evenly() -> None:
    lengths, rows = np.full(CORPUS, 17, np.int32), np.arange(33)
    assert sorted(len(length_balanced_split(rows, lengths, rank, 4)[0]) for rank in range(4)) == [6, 9, 9, 9]
    assert sorted(len(length_balanced_split(rows[:32], lengths, rank, 4)[0]) for rank in range(4)) == [8, 8, 8, 8]


def test_a_worker_alone_has_the_batch_as_it_is() -> None:
    lengths, rows = drawn(0, 32)
    (alone,) = length_balanced_split(rows, lengths, 0, 1)
    assert alone is rows
    halves = length_balanced_split(rows, lengths, 0, 1, most=16)
    assert [len(piece) for piece in halves] == [16, 16]
    assert lengths[halves[0]].min() >= lengths[halves[1]].max()


def test_long_and_short_forwards_take_turns() -> None:
    """Of eight groups the first worker of two takes 0, 3, 4 and 7, so that what they sum up to is nearly the same."""
    lengths, rows = np.arange(1, 9, dtype=np.int32), np.arange(8)
    assert [piece.tolist() for piece in length_balanced_split(rows, lengths, 0, 2, most=1)] == [[7], [4], [3], [0]]
    assert [piece.tolist() for piece in length_balanced_split(rows, lengths, 1, 2, most=1)] == [[6], [5], [2], [1]]
