"""What each score costs, alone and with all others, in plain forwards and training passes; and what its peers cost.

On random BERT classifiers without dropout, rows of 64 tokens and rows of 8 to 64, float32, summed losses, one thread.
Everything looks at the same model and the same mini-batches, once; a score is what scoring does at one checkpoint.

Nothing is timed before its numbers agree with a loop over single rows. Ratios are taken within each repetition. Prints
tables and, as the last line, JSON. Exit code 1 means that raysample's numbers were wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from harness.outcome import finish, installed, machine, parser, print_table, target, version
from harness.quietness import quiet
from harness.timing import Cost, measure
from scipy.stats import spearmanr
from torch.nn import functional

from raysample.core.config import ScoreConfig
from raysample.influence.visits.artifacts import Need
from tests.helpers.peers import PEERS, Peer
from tests.helpers.peers.base import relative_error, squares, truth
from tests.helpers.peers.visits import FEATURES, PREDICTIONS, Visit, embedding_grads, every_score, grad_norms, only
from tests.helpers.peers.workload import LAYOUTS, Layout, Shape, Work, made_up

TOLERANCE = 1e-4
FORWARD, TRAINING = "plain forward", "plain forward and backward"
PREDICTED, READ, TOGETHER = "all of predictions", "all of predictions and features", "everything"
UNTARGETED = "everything without a target corpus"
BF16 = torch.bfloat16
FULL = (Shape(6, 384, 30_522), Shape(4, 512, 30_522))
QUICK = (Shape(4, 128, 2_000), Shape(4, 256, 2_000))


@dataclass(frozen=True)
class Sizes:
    """How much is measured. A peer whose first run took longer than `patience` seconds is not run again."""

    rows: int = 128
    repetitions: int = 5
    patience: float = 60.0


@dataclass
class Outcome:
    """What was found for one model and layout."""

    costs: dict[str, Cost]
    errors: dict[str, float]
    peers: list[dict[str, Any]] = field(default_factory=list)
    ranks: dict[str, float] = field(default_factory=dict)


def forward(work: Work, autocast: torch.dtype | None = None) -> None:
    """Make the logits of all rows, and nothing else."""
    with torch.inference_mode(), torch.autocast("cpu", BF16, enabled=autocast is not None):
        for inputs, _ in work.batches:
            work.model(**inputs)


def training(work: Work) -> None:
    """Make the summed weight gradients of each mini-batch, as a training step does before its optimiser."""
    for inputs, labels in work.batches:
        loss = functional.cross_entropy(work.model(**inputs).logits, labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        work.model.zero_grad(set_to_none=True)


def own_errors(work: Work, expected: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Return the largest relative errors of raysample's gradient norms and embedding gradients."""
    fast = embedding_grads(work, work.batches)
    slow = [row for single in work.singles for row in embedding_grads(work, [single])]
    apart = [float((a - b).norm() / b.norm()) for a, b in zip(fast, slow, strict=True)]
    return {
        "gradient norms against the loop": relative_error(grad_norms(work).double().numpy(), expected),
        "embedding gradients, in a mini-batch against alone": max(apart),
    }


def methods(work: Work, bf16: bool) -> dict[str, Callable[[], object]]:
    """Return what is timed of the plain passes and of raysample, by name."""
    scores = every_score()
    together = {
        PREDICTED: only(scores, PREDICTIONS),
        READ: only(scores, FEATURES),
        UNTARGETED: only(scores, ~Need.GRAD_DOTS),
        TOGETHER: scores,
    }
    low: dict[str, Callable[[], object]] = {
        f"{FORWARD}, bf16": partial(forward, work, BF16),
        "grand, bf16": Visit(work, {"grand": scores["grand"]}, BF16),
        f"{TOGETHER}, bf16": Visit(work, scores, BF16),
    }
    return {
        FORWARD: partial(forward, work),
        TRAINING: partial(training, work),
        **{name: Visit(work, {name: score}) for name, score in scores.items()},
        **{name: Visit(work, chosen) for name, chosen in together.items()},
        **(low if bf16 else {}),
    }


def try_peer(peer: Peer, work: Work, found: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], object] | None, Cost]:
    """Return what is told of a peer, how to run it again (None: do not), and what its first run cost."""
    told: dict[str, Any] = {"name": peer.name, "version": version(peer.distribution), "counts": peer.counts}
    cost = Cost(len(work.labels))
    if not installed(*peer.modules):
        return {**told, "state": "not installed"}, None, cost
    try:
        began = time.perf_counter()
        run, norms = peer.build(work), list[np.ndarray[Any, Any]]()
        told["setup_seconds"] = round(time.perf_counter() - began, 3)
        cost.add(lambda: norms.append(run().detach().double().numpy()))
    except Exception as error:  # noqa: BLE001 - a peer that breaks is told, and the others are measured
        return {**told, "state": f"failed: {type(error).__name__}: {str(error)[:200]}"}, None, cost
    told["relative_error"] = relative_error(norms[0], truth(found, work.model, peer.counts))
    told["rank_correlation"] = float(spearmanr(norms[0], truth(found, work.model, "all")).statistic)
    if told["relative_error"] > TOLERANCE:
        return {**told, "state": "wrong numbers, not timed"}, None, cost
    return {**told, "state": "same quantity" if peer.counts == "all" else "different quantity"}, run, cost


def study(shape: Shape, layout: Layout, sizes: Sizes, batch_tokens: int, bf16: bool) -> Outcome:
    """Check and time one model on one layout of rows; nothing is timed where raysample's numbers are wrong."""
    work = made_up(shape, layout, sizes.rows, batch_tokens)
    found = squares(work.model, work.singles)
    errors = own_errors(work, truth(found, work.model, "all"))
    if max(errors.values()) > TOLERANCE:
        return Outcome({}, errors)
    with quiet():
        tried = [try_peer(peer, work, found) for peer in PEERS]
        chosen = methods(work, bf16)
        for run in chosen.values():
            run()
        again = {told["name"]: run for told, run, cost in tried if run is not None and cost.wall[0] <= sizes.patience}
        costs = measure({**chosen, **again}, sizes.rows, sizes.repetitions)
    costs |= {told["name"]: cost for told, run, cost in tried if run is not None and told["name"] not in again}
    low = {"grand": float(spearmanr(grad_norms(work, BF16), grad_norms(work)).statistic)} if bf16 else {}
    return Outcome(costs, errors, [told for told, _, _ in tried], low)


def targets(name: str, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return what is claimed for one model and layout, by the medians of the ratios."""
    costs = outcome.costs

    def ratio(one: str, other: str) -> float:
        return costs[one].over(costs[other])["median"]

    claims = {
        f"{name}: vog / training": target(ratio("vog", TRAINING), "<=", 0.65),
        f"{name}: grand / training": target(ratio("grand", TRAINING), "<=", 0.80),
        f"{name}: everything / training": target(ratio(TOGETHER, TRAINING), "<=", 1.15),
        f"{name}: everything without a target corpus / training": target(ratio(UNTARGETED, TRAINING), "<=", 1.15),
        f"{name}: all of predictions / forward": target(ratio(PREDICTED, FORWARD), "<=", 1.05),
    }
    for peer in outcome.peers:
        if peer["state"] == "same quantity":
            claims[f"{name}: {peer['name']} / grand"] = target(ratio(peer["name"], "grand"), ">=", 1)
    if f"{TOGETHER}, bf16" in costs:
        claims[f"{name}: everything / everything in bf16"] = target(ratio(TOGETHER, f"{TOGETHER}, bf16"), ">=", 2)
    return claims


def plain(outcome: Outcome) -> dict[str, Any]:
    """Return all figures of one model and layout as plain data."""
    forward_cost, training_cost = outcome.costs[FORWARD], outcome.costs[TRAINING]
    return {
        "errors": outcome.errors,
        "peers": outcome.peers,
        "rank_correlation_of_bf16": outcome.ranks,
        "methods": {
            name: {**cost.figures(), "over_forward": cost.over(forward_cost), "over_training": cost.over(training_cost)}
            for name, cost in outcome.costs.items()
        },
    }


def show(name: str, figures: dict[str, Any]) -> None:
    """Print the table of one model and layout, and what became of the peers."""
    lines = []
    for method, found in figures["methods"].items():
        cpu, times = found["cpu_seconds"], [found[f"over_{what}"]["median"] for what in ("forward", "training")]
        spread = (cpu["highest"] - cpu["lowest"]) / cpu["median"]
        rates = (f"{found[key]:.1f}" for key in ("rows_per_cpu_second", "rows_per_second"))
        lines.append([method, *rates, f"{spread:.0%}", *(f"{x:.2f}" for x in times)])
    caption = "medians; spread: (highest - lowest) / median of the seconds"
    headings = ("method", "rows/CPU s", "rows/s", "spread", "x forward", "x training")
    print_table(headings, lines, name, caption)
    for peer in figures["peers"]:
        error = f", relative error {peer['relative_error']:.1e}" if "relative_error" in peer else ""
        rank = f", rank correlation {peer['rank_correlation']:.3f}" if "relative_error" in peer else ""
        print(f"{peer['name']} ({peer['counts']}): {peer['state']}{error}{rank}")
    print(f"errors: {', '.join(f'{what} {error:.1e}' for what, error in figures['errors'].items())}")


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if raysample's numbers are wrong."""
    given = arguments(argv)
    torch.set_num_threads(given.threads)
    quick = Sizes(rows=8, repetitions=3, patience=1.0) if given.quick else Sizes()
    sizes = Sizes(given.rows or quick.rows, given.repetitions or quick.repetitions, quick.patience)
    capabilities = torch.cpu.get_capabilities()
    bf16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    claims, found = dict[str, Any](), dict[str, Any]()
    for shape in given.shapes or (QUICK if given.quick else FULL):
        for layout in given.layouts or (LAYOUTS[1:] if given.quick else LAYOUTS):
            name = f"{shape.name} {layout}"
            outcome = study(shape, layout, sizes, given.batch_tokens, bf16)
            if not outcome.costs:
                print(f"wrong numbers in {name}, so nothing is timed: {outcome.errors}", file=sys.stderr)
                return 1
            claims |= targets(name, outcome)
            found[name] = plain(outcome)
            show(name, found[name])
    told = {"sizes": vars(sizes), "batch_tokens": given.batch_tokens, "tolerance": TOLERANCE, "bf16": bf16}
    peers = sorted({peer.distribution for peer in PEERS})
    finish({"benchmark": "scores", "targets": claims, "found": found, **told, **machine(*peers)}, given.json)
    return 0


def shape_of(text: str) -> Shape:
    """Read `LAYERSxHIDDEN` or `LAYERSxHIDDENxVOCABULARY`; the vocabulary is that of BERT where it is not given."""
    layers, hidden, *more = map(int, text.split("x"))
    return Shape(layers, hidden, more[0] if more else FULL[0].vocabulary)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("What each score costs, alone and with all others, and what its peers cost.")
    made.add_argument("--shapes", type=shape_of, nargs="+", metavar="LxH", help="encoders, for example 6x384")
    made.add_argument("--layouts", choices=LAYOUTS, nargs="+", help="both if not given; --quick: padded")
    made.add_argument("--rows", type=int, metavar="N", help="128 if not given, with --quick 8")
    made.add_argument("--repetitions", type=int, metavar="N", help="5 if not given, with --quick 3")
    made.add_argument("--batch-tokens", type=int, default=ScoreConfig().batch_tokens, metavar="N", help="%(default)s")
    made.add_argument("--threads", type=int, default=1, metavar="N", help="of torch: %(default)s if not given")
    return made.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
