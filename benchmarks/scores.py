"""What each score costs, alone and with all others, in plain forwards and training passes; and what its peers cost.

On random BERT classifiers without dropout, rows of 64 tokens and rows of 8 to 64, float32, summed losses, one thread.
Everything gets the same model and the same mini-batches, once; a score is what scoring does at one checkpoint.

Nothing is timed before its numbers agree with a loop over single rows. Ratios are taken within each repetition. Exit
code 1 means that raysample's numbers were wrong.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from harness.outcome import Figures, Options, finish, print_table, quiet, target
from harness.timing import Cost, measure
from torch.nn import functional

from raysample.core.config import ScoreConfig
from raysample.influence.visits.artifacts import Need
from tests.helpers.peers import PEERS
from tests.helpers.peers.base import TOLERANCE, squares, truth, try_peer
from tests.helpers.peers.visits import FEATURES, PREDICTIONS, Visit, every_score, only, own_errors
from tests.helpers.peers.workload import LAYOUTS, Layout, Shape, Work, made_up

FORWARD, TRAINING = "plain forward", "plain forward and backward"
PREDICTED, READ, TOGETHER = "all of predictions", "all of predictions and features", "everything"
UNTARGETED = "everything without a target corpus"
BF16 = torch.bfloat16
BATCH_TOKENS = ScoreConfig().batch_tokens
VOCABULARY = 30_522


@dataclass
class Outcome:
    """What was found for one model and layout."""

    costs: dict[str, Cost]
    errors: dict[str, float]
    peers: list[Figures] = field(default_factory=list)


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


def study(shape: Shape, layout: Layout, options: Namespace, bf16: bool) -> Outcome:
    """Check and time one model on one layout of rows; nothing is timed if raysample's numbers are wrong.

    A peer whose first run took longer than `patience` seconds is not run again.
    """
    work = made_up(shape, layout, options.rows, BATCH_TOKENS)
    found = squares(work.model, work.singles)
    errors = own_errors(work, truth(found, work.model, "all"))
    if max(errors.values()) > TOLERANCE:
        return Outcome({}, errors)
    with quiet():
        tried = [try_peer(peer, work, found) for peer in PEERS]
        chosen = methods(work, bf16)
        for run in chosen.values():
            run()
        right = [(about["name"], run, about["first_seconds"]) for about, run in tried if run is not None]
        again = {name: run for name, run, first in right if first["wall"] <= options.patience}
        costs = measure({**chosen, **again}, options.rows, options.repetitions)
    slow = {name: first for name, _, first in right if name not in again}
    costs |= {name: Cost(options.rows, [first["cpu"]], [first["wall"]]) for name, first in slow.items()}
    return Outcome(costs, errors, [about for about, _ in tried])


def targets(name: str, outcome: Outcome) -> Figures:
    """Return what is claimed for one model and layout, by the medians of the ratios."""
    costs = outcome.costs

    def ratio(one: str, other: str) -> float:
        """Return the median ratio of two costs."""
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


def plain(outcome: Outcome) -> Figures:
    """Return all figures of one model and layout as plain data."""
    beside = {"over_forward": outcome.costs[FORWARD], "over_training": outcome.costs[TRAINING]}
    return {
        "errors": outcome.errors,
        "peers": outcome.peers,
        "methods": {
            name: {**cost.figures(), **{what: cost.over(other) for what, other in beside.items()}}
            for name, cost in outcome.costs.items()
        },
    }


def show(name: str, figures: Figures) -> None:
    """Print the table of one model and layout, and the state of each peer."""
    lines = []
    for method, found in figures["methods"].items():
        cpu, ratios = found["cpu_seconds"], (f"{found[key]['median']:.2f}" for key in ("over_forward", "over_training"))
        rates = (f"{found[key]:.1f}" for key in ("rows_per_cpu_second", "rows_per_second"))
        lines.append([method, *rates, f"{(cpu['highest'] - cpu['lowest']) / cpu['median']:.0%}", *ratios])
    caption = "medians; spread: (highest - lowest) / median of the seconds"
    print_table(("method", "rows/CPU s", "rows/s", "spread", "x forward", "x training"), lines, name, caption)
    for peer in figures["peers"]:
        error = f", relative error {peer['relative_error']:.1e}" if "relative_error" in peer else ""
        print(f"{peer['name']} ({peer['counts']}): {peer['state']}{error}")
    print(f"errors: {', '.join(f'{what} {error:.1e}' for what, error in figures['errors'].items())}")


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if raysample's numbers are wrong."""
    parser = Options("What each score costs, alone and with all others, and what its peers cost.")
    encoders = {"type": shape_of, "nargs": "+", "metavar": "LxH"}
    parser.size("--shapes", ["6x384", "4x512"], ["4x128x2000", "4x256x2000"], "encoders", **encoders)
    parser.size("--layouts", LAYOUTS, ["padded"], "of rows", type=str, choices=LAYOUTS, nargs="+", metavar="LAYOUT")
    parser.size("--rows", 128, 8)
    parser.size("--repetitions", 5, 3)
    options = parser.read(argv)
    options.shapes = [shape_of(shape) if isinstance(shape, str) else shape for shape in options.shapes]
    options.patience = 1.0 if options.quick else 60.0
    torch.set_num_threads(1)
    capabilities = torch.cpu.get_capabilities()
    bf16 = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    claims, found = Figures(), Figures()
    for shape in options.shapes:
        for layout in options.layouts:
            name = f"{shape.name} {layout}"
            outcome = study(shape, layout, options, bf16)
            if not outcome.costs:
                print(f"wrong numbers in {name}, so nothing is timed: {outcome.errors}", file=sys.stderr)
                return 1
            claims |= targets(name, outcome)
            found[name] = plain(outcome)
            show(name, found[name])
    figures = {"batch_tokens": BATCH_TOKENS, "tolerance": TOLERANCE, "bf16": bf16, "found": found}
    finish("scores", claims, figures, options, *sorted({peer.distribution for peer in PEERS}))
    return 0


def shape_of(text: str) -> Shape:
    """Read `LAYERSxHIDDEN` or `LAYERSxHIDDENxVOCABULARY`; the default vocabulary is that of BERT."""
    layers, hidden, *more = map(int, text.split("x"))
    return Shape(layers, hidden, *more or [VOCABULARY])


if __name__ == "__main__":
    sys.exit(main())
