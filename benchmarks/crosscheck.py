"""raysample's scores against independent public implementations, on the same checkpoints of a random BERT.

Each score of a made-up run is computed by raysample's sweep and once more by someone else's code: the package `aum`,
Captum's TracInCP, Opacus' and dattri's gradient norms; cartography's statistics and EL2N, for which no sound package
exists, are derived again in numpy from the logits of single rows, in float64.

Prints a table and, as the last line, JSON. A package that is not installed is listed, not failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring.outcome import finish, installed, machine, parser, target, version
from measuring.quietness import quiet
from measuring.workload import CLASSES, Shape, Work, made_up
from numpy.typing import NDArray
from peers import dattri_flat, opacus_ghost
from peers.base import Tuples, relative_error
from peers.captum_tracin import tracin
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from raysample.influence.scores import create_scores
from raysample.influence.visits.sweep import score_block

TOLERANCE = 1e-4
Column = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One score, who else computes it, and how. `other` gives the values in row order."""

    score: str
    against: str
    modules: tuple[str, ...]
    other: Callable[[Work], Column]
    spec: dict[str, Any] | None = None


def ours(work: Work, spec: str | dict[str, Any]) -> Column:
    """Return a score of every row, as scoring makes it, in row order."""
    (column,) = score_block(
        work.models,
        work.checkpoints,
        work.encoded,
        work.labels,
        create_scores([spec]),
        pad=work.padded,
        batch_tokens=work.batch_tokens,
    ).values()
    return column.astype(np.float64)


def logits(work: Work) -> NDArray[np.float64]:
    """Return the logits [checkpoints, rows, classes] of single, unpadded rows, in row order."""
    found = np.empty((len(work.models), len(work.labels), CLASSES))
    with torch.inference_mode():
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
)


def examined(check: Check, work: Work) -> dict[str, Any]:
    """Return how far raysample and the other are apart."""
    told: dict[str, Any] = {"score": check.score, "against": check.against, "version": version(check.against)}
    if not installed(*check.modules):
        return {**told, "state": "not installed"}
    with quiet():
        found, expected = ours(work, check.score), check.other(work)
    return {**told, "state": "compared", "rows": len(found), "relative_error": relative_error(found, expected)}


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print; return 1 where a score is wrong."""
    given = arguments(argv)
    torch.set_num_threads(1)
    shape, rows = (Shape(2, 32, 500), 16) if given.quick else (Shape(4, 128, 2_000), 64)
    work = made_up(shape, "padded", given.rows or rows, 512, checkpoints=4)
    told = [examined(check, work) for check in CHECKS]
    table = Table(title=f"{shape.name}, {len(work.labels)} padded rows, 4 checkpoints, float32", box=SIMPLE)
    for heading in ("score", "against", "version", "state", "largest relative error"):
        table.add_column(heading)
    for one in told:
        error = f"{one['relative_error']:.1e}" if "relative_error" in one else ""
        table.add_row(one["score"], one["against"], one["version"] or "", one["state"], error)
    Console(width=110, highlight=False).print(table)
    compared = [one for one in told if one["state"] == "compared"]
    claims = {
        f"{one['score']} against {one['against']}": target(one["relative_error"], "<=", TOLERANCE) for one in compared
    }
    peers = [check.against for check in CHECKS if check.modules]
    finish({"benchmark": "crosscheck", "targets": claims, "found": told, **machine(*peers)}, given.json)
    return 0 if all(aim["met"] for aim in claims.values()) else 1


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("raysample's scores against independent public implementations.")
    made.add_argument("--rows", type=int, metavar="N", help="64 if not given, with --quick 16")
    return made.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
