"""What all eight scores cost together, in plain forwards, training steps and naive loops.

On a random BERT and padded rows of uneven length, in eval mode, float32, with summed losses and one thread. A `visit`
is all rows at one checkpoint, a `sweep` all rows at every checkpoint of a run, whose models are resident in memory.

Nothing is timed before the fast numbers agree with the slow ones. Ratios are taken within each repetition, of the CPU
seconds per row and checkpoint: with one thread these are the wall seconds of a machine that does nothing else.

Prints a table and, as the last line, JSON. Exit code 1 means wrong numbers; a missed target is only reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from raysample.artifacts import Need, collect
from raysample.checkpoints import Checkpoint
from raysample.config import ScoreConfig
from raysample.model import Encoded, pad
from raysample.numerics.batches import token_batches
from raysample.scores import SCORES, create_all
from raysample.sweep import score_block

TOLERANCE = 1e-4
VOCABULARY = 2_000
CLASSES = 4
TOKENS = (8, 64)
BATCH_TOKENS = ScoreConfig().batch_tokens
FORWARD, TRAINING, LOOP = "plain forward", "training forward + backward", "naive loop of autograd.grad"
TOGETHER, SEPARATE = "sweep: all eight", "sweep: the eight, one pass each"
ALL = tuple(SCORES)
GRADIENTS = ("vog", "grand")
TARGETS: dict[str, tuple[Literal["<=", ">="], float]] = {
    "all_eight_over_vog_and_grand": ("<=", 1.25),
    "all_eight_over_one_pass_each": ("<=", 0.6),
    "grad_norms_speedup_over_loop": (">=", 1.2),
}

Batch = tuple[dict[str, Tensor], Tensor]
Columns = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    hidden: int = 256
    layers: int = 4
    rows: int = 128
    checkpoints: int = 3
    repetitions: int = 3


QUICK = Sizes(hidden=128, layers=2, rows=48, checkpoints=2, repetitions=5)
FEWEST = Sizes(hidden=8, layers=1, rows=1, checkpoints=2, repetitions=3)


@dataclass(frozen=True)
class Block:
    """Rows of made-up tokens, and the models of a made-up run, one per checkpoint."""

    models: list[nn.Module]
    checkpoints: tuple[Checkpoint, ...]
    encoded: Encoded
    labels: NDArray[np.int64]

    @cached_property
    def batches(self) -> list[Batch]:
        """The mini-batches that scoring would cut, padded."""
        return [self._batch(rows) for rows in token_batches(self.encoded.lengths, BATCH_TOKENS)]

    @cached_property
    def singles(self) -> list[Batch]:
        """One mini-batch per row, in row order, without padding."""
        return [self._batch(np.array([row])) for row in range(len(self.labels))]

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        return pad(self.encoded, rows, 0), torch.from_numpy(self.labels[rows])


def made_up(sizes: Sizes) -> Block:
    """Return the same block for the same sizes; every score but `loss` looks at every checkpoint (epochs 1 to 3)."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(TOKENS[0], TOKENS[1] + 1, sizes.rows).astype(np.int32)
    ids = [rng.integers(5, VOCABULARY, length).astype(np.int32) for length in lengths]
    encoded = Encoded(ids, [np.zeros_like(row) for row in ids], lengths)
    epochs = np.linspace(1, 3, sizes.checkpoints)
    return Block(
        [random_bert(sizes, seed) for seed in range(sizes.checkpoints)],
        tuple(Checkpoint(f"checkpoint-{k}", 10 * (k + 1), float(epoch), 1e-3) for k, epoch in enumerate(epochs)),
        encoded,
        rng.integers(0, CLASSES, sizes.rows),
    )


def random_bert(sizes: Sizes, seed: int) -> nn.Module:
    """Return a random BERT classifier in eval mode, drawn wide enough for its examples to differ."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=1 if sizes.hidden % 64 else sizes.hidden // 64,
        intermediate_size=4 * sizes.hidden,
        max_position_embeddings=TOKENS[1],
        initializer_range=0.5 / sizes.hidden**0.5,
        num_labels=CLASSES,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: nn.Module = BertForSequenceClassification(config)
    return model.eval()


def forward(block: Block) -> None:
    """Make the logits of all rows at the first checkpoint, and nothing else."""
    with torch.no_grad():
        for inputs, _ in block.batches:
            block.models[0](**inputs)


def training(block: Block) -> None:
    """Make the summed weight gradients of each mini-batch, as a training step does before its optimiser."""
    model = block.models[0]
    for inputs, labels in block.batches:
        loss = functional.cross_entropy(model(**inputs).logits, labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)


def loop_norms(model: nn.Module, singles: Sequence[Batch]) -> NDArray[np.float32]:
    """Return each row's gradient norm over all parameters, [rows]: one forward and backward per row, no padding."""
    weights = list(model.parameters())
    found = np.empty(len(singles), np.float32)
    for row, (inputs, label) in enumerate(singles):
        loss = functional.cross_entropy(model(**inputs).logits, label, reduction="sum")
        found[row] = float(torch.nn.utils.get_total_norm(torch.autograd.grad(loss, weights)))
    return found


def visit(block: Block, names: Collection[str]) -> None:
    """Fold the first checkpoint into fresh states of some scores, mini-batch by mini-batch."""
    scores = create_all(names).values()
    needs, objectives = Need.LOGITS, frozenset[str]()
    for score in scores:
        needs, objectives = needs | score.needs, objectives | score.objectives
    for inputs, labels in block.batches:
        seen = collect(block.models[0], inputs, labels, needs, objectives)
        for score in scores:
            score.fold(score.init(), seen, block.checkpoints[0])


def sweep(block: Block, names: Collection[str]) -> Columns:
    """Return the columns of some scores over all checkpoints."""
    return score_block(
        block.models,
        block.checkpoints,
        block.encoded,
        block.labels,
        create_all(names),
        pad=lambda rows: pad(block.encoded, rows, 0),
        batch_tokens=BATCH_TOKENS,
    )


def errors(block: Block) -> dict[str, float]:
    """Return the largest relative errors of the fast numbers; every model is warm afterwards."""
    together, alone = sweep(block, ALL), {name: sweep(block, [name])[name] for name in ALL}
    each = [replace(block, models=[m], checkpoints=(c,)) for m, c in zip(block.models, block.checkpoints, strict=True)]
    fast = np.concatenate([sweep(one, ["grand"])["grand"] for one in each])
    slow = np.concatenate([loop_norms(one.models[0], block.singles) for one in each])
    return {
        "grad norms against the loop": _error(fast, slow),
        "scores together against alone": max(_error(together[name], alone[name]) for name in ALL),
    }


def _error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    error = float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-12)))
    return error if np.isfinite(error) else np.inf  # unlike NaN it survives a maximum


@dataclass(frozen=True)
class Method:
    """What is timed: `rows` is how many rows x checkpoints one run works through."""

    rows: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """Seconds of a method at each repetition."""

    rows: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def over(self, other: Cost) -> dict[str, float]:
        """Return how many times the CPU seconds per row of `other` this took, repetition by repetition."""
        ratios = [mine * other.rows / (its * self.rows) for mine, its in zip(self.cpu, other.cpu, strict=True)]
        return _summary(ratios)


def _summary(values: list[float], digits: int = 4) -> dict[str, float]:
    found = {"median": median(values), "lowest": min(values), "highest": max(values)}
    return {what: round(value, digits) for what, value in found.items()}


def methods(block: Block) -> dict[str, Method]:
    """Return everything that is timed, by name; the methods of a ratio stand near each other."""
    rows = len(block.labels)
    cheap = [name for name in ALL if name not in GRADIENTS]
    mixed = {"vog + grand": GRADIENTS, "all eight": ALL}
    visits = {"the six without gradients": cheap, "vog": ["vog"], "grand": ["grand"], **mixed}
    sweeps = {**{f"{name} alone": [name] for name in ALL}, **mixed}
    seen = {
        what: {at for s in create_all(it).values() for at in s.select(block.checkpoints)} for what, it in sweeps.items()
    }
    return {
        FORWARD: Method(rows, partial(forward, block)),
        TRAINING: Method(rows, partial(training, block)),
        LOOP: Method(rows, partial(loop_norms, block.models[0], block.singles)),
        **{f"visit: {what}": Method(rows, partial(visit, block, names)) for what, names in visits.items()},
        **{f"sweep: {what}": Method(rows * len(seen[what]), partial(sweep, block, it)) for what, it in sweeps.items()},
    }


def measure(block: Block, repetitions: int) -> dict[str, Cost]:
    """Run every method once per repetition, each time from another start, and return what they cost."""
    todo = methods(block)
    costs = {name: Cost(method.rows) for name, method in todo.items()}
    names = list(todo)
    for repetition in range(repetitions):
        start = repetition * len(names) // repetitions
        for name in names[start:] + names[:start]:
            wall, cpu = time.perf_counter(), time.process_time()
            todo[name].run()
            costs[name].cpu.append(time.process_time() - cpu)
            costs[name].wall.append(time.perf_counter() - wall)
    alone = [costs[f"sweep: {name} alone"] for name in ALL]
    cpu_sums = [sum(seconds) for seconds in zip(*(cost.cpu for cost in alone), strict=True)]
    wall_sums = [sum(seconds) for seconds in zip(*(cost.wall for cost in alone), strict=True)]
    costs[SEPARATE] = Cost(costs[TOGETHER].rows, cpu_sums, wall_sums)
    return costs


def dearest(costs: dict[str, Cost]) -> str:
    """Return the name of the sweep of one score that costs most."""
    return max((f"sweep: {name} alone" for name in ALL), key=lambda name: median(costs[name].cpu))


def ratios(costs: dict[str, Cost]) -> dict[str, dict[str, float]]:
    """Return what is claimed and what all eight scores cost in other currencies: median, lowest and highest."""
    others = {"vog_and_grand": "sweep: vog + grand", "one_pass_each": SEPARATE, "dearest_alone": dearest(costs)}
    others |= {"forward": FORWARD, "training": TRAINING, "loop": LOOP}
    return {
        **{f"all_eight_over_{what}": costs[TOGETHER].over(costs[name]) for what, name in others.items()},
        "grad_norms_speedup_over_loop": costs[LOOP].over(costs["visit: grand"]),
    }


def target(value: float, sense: Literal["<=", ">="], limit: float) -> dict[str, Any]:
    """Return a value beside what it should be, and whether it is."""
    return {"value": value, "target": f"{sense} {limit:g}", "met": value <= limit if sense == "<=" else value >= limit}


def report(costs: dict[str, Cost]) -> dict[str, Any]:
    """Return targets, ratios and each method's figures as plain data."""
    found = ratios(costs)
    return {
        "targets": {name: target(found[name]["median"], *limit) for name, limit in TARGETS.items()},
        "ratios": found,
        "dearest_alone": dearest(costs),
        "methods": {
            name: {
                "rows": cost.rows,
                "cpu_seconds": _summary(cost.cpu, 6),
                "wall_seconds": _summary(cost.wall, 6),
                "rows_per_cpu_second": round(cost.rows / median(cost.cpu), 2),
                "rows_per_second": round(cost.rows / median(cost.wall), 2),
                "over_forward": cost.over(costs[FORWARD])["median"],
                "speedup_over_loop": costs[LOOP].over(cost)["median"],
            }
            for name, cost in costs.items()
        },
    }


def machine() -> dict[str, Any]:
    """Return when, on what and with what this was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    unit = 2**20 if sys.platform == "darwin" else 2**10
    packages = ("raysample", "torch", "transformers", "numpy")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print the table, the ratios and the targets."""
    sizes = Sizes(**result["sizes"])
    table = Table(
        title=f"{sizes.rows} rows of {TOKENS[0]} to {TOKENS[1]} tokens, {sizes.checkpoints} checkpoints of a BERT "
        f"{sizes.layers} x {sizes.hidden}, float32, 1 thread, {sizes.repetitions} repetitions",
        caption="rows: rows x checkpoints; seconds: median; spread: (highest - lowest) / median",
        box=SIMPLE,
    )
    table.add_column("method", no_wrap=True)
    for heading in ("CPU s", "spread", "rows/CPU s", "rows/s", "x forward", "x loop's speed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in result["methods"].items():
        cpu = found["cpu_seconds"]
        spread = (cpu["highest"] - cpu["lowest"]) / cpu["median"]
        rates = (f"{found[key]:.0f}" for key in ("rows_per_cpu_second", "rows_per_second"))
        times = (f"{found[key]:.2f}" for key in ("over_forward", "speedup_over_loop"))
        table.add_row(name, f"{cpu['median']:.3f}", f"{spread:.0%}", *rates, *times)
    console.print(table)
    for name, ratio in result["ratios"].items():
        aim = result["targets"].get(name)
        verdict = f", target {aim['target']}: {'met' if aim['met'] else 'MISSED'}" if aim else ""
        console.print(f"{name}: {ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f}){verdict}")
    console.print(f"largest relative errors: {', '.join(f'{what} {e:.1e}' for what, e in result['errors'].items())}")
    console.print(f"dearest alone: {result['dearest_alone']}; peak RSS of the process: {result['peak_rss_mib']} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if the numbers are wrong."""
    sizes, path = _arguments(argv)
    torch.set_num_threads(1)
    block = made_up(sizes)
    found = errors(block)
    if max(found.values()) > TOLERANCE:
        print(f"wrong numbers (relative errors above {TOLERANCE:g}), so nothing is timed: {found}", file=sys.stderr)
        return 1
    result = {"benchmark": "scoring", **report(measure(block, sizes.repetitions)), "errors": found}
    result |= {"tolerance": TOLERANCE, "sizes": asdict(sizes), "batch_tokens": BATCH_TOKENS, **machine()}
    show(result, Console(width=110, highlight=False))
    line = json.dumps(result)
    if path is not None:
        path.write_text(line + "\n")
    print(line)
    return 0


def _arguments(argv: Sequence[str] | None) -> tuple[Sizes, Path | None]:
    parser = argparse.ArgumentParser(description="What all eight scores cost together.")
    parser.add_argument("--quick", action="store_true", help="small sizes: under a minute, also on a busy machine")
    for size in fields(Sizes):
        fewest, full, quick = (getattr(sizes, size.name) for sizes in (FEWEST, Sizes(), QUICK))
        about = f"at least {fewest}; if not given {full}, with --quick {quick}"
        parser.add_argument(f"--{size.name}", type=int, metavar="N", help=about)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the last line of the output here")
    given = parser.parse_args(argv)
    chosen = {size.name: n for size in fields(Sizes) if (n := getattr(given, size.name)) is not None}
    for name, n in chosen.items():
        if n < getattr(FEWEST, name):
            parser.error(f"--{name} is {n}, but must be at least {getattr(FEWEST, name)}")
    return replace(QUICK if given.quick else Sizes(), **chosen), given.json


if __name__ == "__main__":
    sys.exit(main())
