"""Scores against independent implementations, on the same four checkpoints of a random BERT and padded rows.

The package `aum`, Captum's TracInCP, and the gradient norms of Opacus and dattri are optional: a test whose package is
not installed is skipped (`benchmarks/requirements-peers.txt` lists them). The statistics of data maps, forgetting and
EL2N are derived again in numpy, in float64, from the logits of single rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from raysample.core.numerics.batches import token_batches
from tests.helpers.peers import PEERS, Peer, dattri_flat, opacus_ghost
from tests.helpers.peers.base import TOLERANCE, Tuples, relative_error, squares, truth, try_peer
from tests.helpers.peers.captum_tracin import tracin
from tests.helpers.peers.scores_by_hand import mini_batches, scored_by_hand
from tests.helpers.peers.visits import own_errors, swept
from tests.helpers.peers.workload import CLASSES, Shape, Work, made_up

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One score, who else computes it, and how. `other` gives the values in row order."""

    score: str
    against: str
    modules: tuple[str, ...]
    other: Callable[[Work], Column]


def ours(work: Work, spec: str | dict[str, Any]) -> Column:
    """Return a score of every row, as scoring makes it, in row order."""
    (column,) = swept(work, [spec]).values()
    return column.astype(np.float64)


def logits(work: Work) -> NDArray[np.float64]:
    """Return the logits [checkpoints, rows, classes] of single, unpadded rows, in row order."""
    found = np.empty((len(work.models), len(work.labels), CLASSES))
    with torch.no_grad():
        for k, model in enumerate(work.models):
            for row, (inputs, _) in zip(work.order, work.singles, strict=True):
                found[k, row] = model(**inputs).logits[0].double().numpy()
    return found


def probabilities(work: Work) -> NDArray[np.float64]:
    """Return the softmax of `logits`."""
    found = logits(work)
    exp = np.exp(found - found.max(2, keepdims=True))
    softmax: NDArray[np.float64] = exp / exp.sum(2, keepdims=True)
    return softmax


def gold(work: Work) -> NDArray[np.float64]:
    """Return the probability of each row's label at each checkpoint, [checkpoints, rows]."""
    return probabilities(work)[:, np.arange(len(work.labels)), work.labels]


def correctness(work: Work) -> Column:
    """Return at how many checkpoints each row is right."""
    right: Column = (logits(work).argmax(2) == work.labels).sum(0).astype(np.float64)
    return right


def forgetting(work: Work) -> Column:
    """Return how often each row goes from right to wrong; rows that are never right count all checkpoints."""
    right = logits(work).argmax(2) == work.labels
    events = (right[:-1] & ~right[1:]).sum(0)
    return np.where(right.any(0), events, len(right)).astype(np.float64)


def el2n(work: Work) -> Column:
    """Return the mean over the checkpoints of ‖p − onehot(y)‖₂."""
    apart = probabilities(work) - np.eye(CLASSES)[work.labels]
    mean: Column = np.sqrt((apart**2).sum(2)).mean(0)
    return mean


def by_hand(work: Work, name: str) -> Column:
    """Return a score by the loop over mini-batches that one would write for it."""
    return scored_by_hand(work, gradients=True)[name].astype(np.float64)


def aum(work: Work) -> Column:
    """Return what the package `aum` makes of the logits of every checkpoint."""
    from aum import AUMCalculator

    with tempfile.TemporaryDirectory() as folder:
        calculator = AUMCalculator(folder)
        for at in torch.from_numpy(logits(work)):
            calculator.update(at, torch.from_numpy(work.labels), list(range(len(work.labels))))
    rows = range(len(work.labels))
    return np.array([calculator.sums[row] / calculator.counts[row] for row in rows])


def tracin_self(work: Work) -> Column:
    """Return Captum's TracInCP self-influence over all checkpoints with their learning rates."""
    holder = Tuples(work.model)

    def load(model: nn.Module, position: int) -> float:
        model.model = work.models[position]
        return work.checkpoints[position].learning_rate

    method = tracin(work, holder, range(len(work.models)), load)
    return in_row_order(work, method.self_influence())


def grand(work: Work, build: Callable[[Work], Callable[[], torch.Tensor]]) -> Column:
    """Return the mean over the checkpoints of a peer's gradient norms."""
    runs = [build(Work([m], (c,), *vars_of(work)))() for m, c in zip(work.models, work.checkpoints, strict=True)]
    return in_row_order(work, torch.stack(runs).mean(0))


def vars_of(work: Work) -> tuple[Any, ...]:
    """Return what all checkpoints of the work have in common."""
    return work.encoded, work.labels, work.batch_tokens


def in_row_order(work: Work, values: torch.Tensor) -> Column:
    """Return values that came in the order of the mini-batches in that of the rows."""
    found = np.empty(len(work.labels))
    found[work.order] = values.detach().double().numpy()
    return found


NUMPY = "numpy, float64, single rows"
BY_HAND = "a loop by hand"
CHECKS = (
    Check("aum", "aum", ("aum",), aum),
    Check("tracin_self", "captum", ("captum",), tracin_self),
    Check("grand", "opacus", ("opacus",), partial(grand, build=opacus_ghost.build)),
    Check("grand", "dattri", ("dattri",), partial(grand, build=dattri_flat.build)),
    Check("confidence", NUMPY, (), lambda work: gold(work).mean(0)),
    Check("variability", NUMPY, (), lambda work: gold(work).std(0)),
    Check("correctness", NUMPY, (), correctness),
    Check("forgetting", NUMPY, (), forgetting),
    Check("el2n", NUMPY, (), el2n),
    Check("el2n", BY_HAND, (), partial(by_hand, name="el2n")),
    Check("vog", BY_HAND, (), partial(by_hand, name="vog")),
)


@pytest.fixture(scope="module")
def work() -> Work:
    torch.set_num_threads(1)
    return made_up(Shape(2, 32, 500), "padded", 16, 512, checkpoints=4)


@pytest.mark.filterwarnings("ignore::Warning")  # of other packages
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.score}, {check.against}")
def test_scores_agree_with_independent_implementations(check: Check, work: Work) -> None:
    for module in check.modules:
        pytest.importorskip(module)
    assert relative_error(ours(work, check.score), check.other(work)) <= TOLERANCE


@pytest.mark.filterwarnings("ignore::Warning")  # of other packages
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_that_is_installed_gives_the_norms_that_it_counts(peer: Peer, work: Work) -> None:
    about, _ = try_peer(peer, work, squares(work.model, work.singles))
    if about["state"] == "not installed":
        pytest.skip(f"{peer.distribution} is not installed")
    assert about["state"] == ("same quantity" if peer.counts == "all" else "different quantity")


def test_gradients_of_a_mini_batch_are_those_of_single_rows(work: Work) -> None:
    errors = own_errors(work, truth(squares(work.model, work.singles), work.model, "all"))
    assert max(errors.values()) <= TOLERANCE


def test_the_loop_by_hand_cuts_mini_batches_by_the_same_budget(work: Work) -> None:
    lengths = work.encoded.lengths
    cut = list(mini_batches(lengths, 200))
    assert sorted(np.concatenate(cut)) == list(range(len(lengths)))
    assert all(len(rows) * lengths[rows].max() <= 200 for rows in cut)
    assert len(cut) == len(list(token_batches(lengths, 200)))


def test_the_truth_of_a_peer_is_over_the_parameters_that_it_counts() -> None:
    work = made_up(Shape(1, 16, 50), "padded", 3, 300)
    found = squares(work.model, work.singles)
    everything, linear, last = (truth(found, work.model, c) for c in ("all", "linear", "classifier weight"))
    assert (everything > linear).all()
    assert (linear > last).all()
    assert np.allclose(last**2, found["classifier.weight"])
    assert relative_error(np.array([1.0, np.nan]), np.array([1.0, 1.0])) == np.inf
