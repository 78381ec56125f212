"""What of a bare loop's speed is left: the loop written by hand, `sweep` in this process, the pipeline on Ray.

The same checkpoints and the same rows, which do not repeat, one torch thread each. Two sets of scores: EL2N, for which
a forward is enough, and EL2N with VoG, which takes a backward to the embeddings. The loop and `sweep` take turns, shard
by shard, before and after the pipeline; it goes from Parquet to Parquet, with one actor and with two.

Nothing is told before the three agree on their numbers. Prints a table and, as the last line, JSON. Exit code 1 means
that the numbers were wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from baselines.ray_passages import Passage, through_ray
from baselines.score_loop import scored_by_hand
from baselines.score_material import Block, Material, made_up_corpus, made_up_run
from harness.outcome import finish, machine, parser, print_table, target
from harness.quietness import quiet
from harness.timing import Cost

from raysample.core.config import EngineConfig, ModelConfig, ScoreConfig
from raysample.influence.scores import create_scores
from raysample.influence.visits.sweep import score_block
from tests.helpers.peers.base import relative_error

TOLERANCE = 1e-4
LONG = 300.0
"""Seconds that a run must take for its rate, start-up included, to be held against a target."""
HAND, SWEEP = "by hand", "sweep"
EL2N = {"name": "el2n", "checkpoints": "all"}
SETS: dict[str, list[Any]] = {"predictions": [EL2N], "gradients": [EL2N, "vog"]}


@dataclass(frozen=True)
class Sizes:
    """How much is measured: rows of a shard, checkpoints, shards that take turns; `rows` None: as many as take long."""

    shard_rows: int
    checkpoints: int
    turns: int
    rows: int | None = None


FULL, QUICK = Sizes(256, 3, 10), Sizes(32, 2, 4, 256)
MODEL = ModelConfig(path="tiny", layers=4, hidden_size=256, vocabulary_size=8_000, max_length=64)
SMALL = ModelConfig(path="tiny", layers=2, hidden_size=64, vocabulary_size=2_000, max_length=64)


@dataclass
class Found:
    """What was measured with one set of scores."""

    costs: dict[str, Cost]
    passages: list[Passage] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """Return the median rows per second of a loop in this process, by the wall clock."""
        return self.costs[name].rows / median(self.costs[name].wall)

    @property
    def one(self) -> Passage:
        """The passage with one actor."""
        return next(passage for passage in self.passages if passage.actors == 1)

    @property
    def two(self) -> float:
        """Rows per second with two actors: the mean of the passages before and after the one with one."""
        return mean(passage.rate for passage in self.passages if passage.actors == 2)


def hand(material: Material, block: Block, gradients: bool) -> dict[str, Any]:
    """Score a block by hand."""
    return scored_by_hand(material.models, block.encoded, block.labels, material.batch_tokens, gradients)


def sweep(material: Material, block: Block, scores: list[Any]) -> dict[str, Any]:
    """Score a block by `sweep`."""
    return score_block(
        material.models,
        material.trace.checkpoints,
        block.encoded,
        block.labels,
        create_scores(scores),
        pad=block.padded,
        batch_tokens=material.batch_tokens,
    )


def take_turns(material: Material, shards: Sequence[int], scores: list[Any], found: Found) -> dict[int, dict[str, Any]]:
    """Time both loops on some shards, the one first and then the other; return what `sweep` gave for each shard."""
    gradients, values = len(scores) > 1, dict[int, dict[str, Any]]()
    for place, shard in enumerate(shards):
        block, by_hand = material.block(shard), dict[str, Any]()
        runs = {
            HAND: lambda block=block, to=by_hand: to.update(hand(material, block, gradients)),
            SWEEP: lambda block=block, shard=shard: values.update({shard: sweep(material, block, scores)}),
        }
        for name in sorted(runs, reverse=bool(place % 2)):
            found.costs[name].add(runs[name])
        for name, column in values[shard].items():
            error = relative_error(by_hand[name], column)
            found.errors[f"{name}, {HAND}"] = max(error, found.errors.get(f"{name}, {HAND}", 0.0))
    return values


def check(material: Material, passage: Passage, values: Mapping[int, Mapping[str, Any]], found: Found) -> None:
    """Note how far the pipeline's numbers are from those of `sweep`."""
    starts = np.cumsum([0, *(shard.rows for shard in material.corpus.shards)])
    for shard, columns in values.items():
        for name, column in columns.items():
            here = passage.scores[name][starts[shard] : starts[shard + 1]]
            key = f"{name}, ray with {passage.actors}"
            found.errors[key] = max(relative_error(here, column), found.errors.get(key, 0.0))


def study(material: Material, name: str, sizes: Sizes, folder: Path, full: bool) -> Found:
    """Measure one set of scores on a cluster that is joined."""
    scores, found = SETS[name], Found({HAND: Cost(sizes.shard_rows), SWEEP: Cost(sizes.shard_rows)})
    whole = [shard.index for shard in material.corpus.shards if shard.rows == sizes.shard_rows]
    chosen = [whole[int(i)] for i in np.linspace(0, len(whole) - 1, min(sizes.turns, len(whole)))]
    values = take_turns(material, chosen[::2], scores, found)
    # A machine is slower in some minutes than in others: one actor goes between two times two.
    actors = (2, 1, 2) if full else (1, 2)
    found.passages = [through_ray(material, scores, n, folder / f"{name}-{i}") for i, n in enumerate(actors)]
    values |= take_turns(material, chosen[1::2], scores, found)
    for passage in found.passages:
        check(material, passage, values, found)
    return found


def targets(name: str, found: Found) -> dict[str, dict[str, Any]]:
    """Return what is claimed of one set of scores; of the pipeline, only where it ran for long enough."""
    one = found.one
    bare = found.costs[HAND].over(found.costs[SWEEP])["median"]
    claims = {f"{name}: sweep / by hand, rows/s": target(bare, ">=", 0.95)}
    if one.seconds < LONG:
        return claims
    whole = one.rows / one.seconds
    return claims | {
        f"{name}: ray with one actor / sweep, rows/s": target(one.rate / found.rate(SWEEP), ">=", 0.90),
        f"{name}: the same with the start-up": target(whole / found.rate(SWEEP), ">=", 0.90),
        f"{name}: two actors / one, rows/s": target(found.two / one.rate, ">=", 1.8),
        **_by_processor(name, one, found.costs[SWEEP]),
    }


def _by_processor(name: str, one: Passage, cost: Cost) -> dict[str, dict[str, Any]]:
    if one.cpu_rate is None:
        return {}
    ratio = one.cpu_rate * median(cost.cpu) / cost.rows
    return {f"{name}: ray with one actor / sweep, rows/CPU s": target(ratio, ">=", 0.90)}


def plain(found: Found) -> dict[str, Any]:
    """Return all figures of one set of scores as plain data."""
    one, sweeping = found.one, found.rate(SWEEP)
    return {
        "errors": found.errors,
        **{cost: found.costs[cost].figures() for cost in found.costs},
        "sweep_over_hand": found.costs[HAND].over(found.costs[SWEEP]),
        "ray": [passage.figures() for passage in found.passages],
        "ray_over_sweep": round(one.rate / sweeping, 4),
        "two_actors_over_one": round(found.two / one.rate, 4),
        "per_core_with_two_actors_over_sweep": round(found.two / 2 / sweeping, 4),
    }


def show(name: str, found: Found) -> None:
    """Print the table of one set of scores."""
    sweeping, lines = found.rate(SWEEP), []
    for loop in (HAND, SWEEP):
        cost, rate = found.costs[loop], found.rate(loop)
        by_cpu = f"{cost.rows / median(cost.cpu):.1f}"
        lines.append([loop, f"{rate:.1f}", f"{rate / sweeping:.2f}", by_cpu, f"{sum(cost.wall):.1f}", ""])
    for one in found.passages:
        cpu = "" if one.cpu_rate is None else f"{one.cpu_rate:.1f}"
        rates = (f"{one.rate:.1f}", f"{one.rate / sweeping:.2f}", cpu)
        lines.append([f"ray, actors: {one.actors}", *rates, f"{one.seconds:.1f}", f"{one.start_up:.1f}"])
    headings = ("what", "rows/s", "of sweep", "rows/CPU s", "seconds", "start-up, s")
    print_table(headings, lines, name, "rows/s by the wall clock; the loops: medians over shards")
    print(f"errors: {', '.join(f'{what} {error:.1e}' for what, error in found.errors.items())}")


def material_of(given: argparse.Namespace, sizes: Sizes, name: str, folder: Path) -> Material:
    """Make the run, find out how many rows take as long as they should, and make these."""
    spec = SMALL if given.quick else MODEL
    if given.model is not None:
        spec = ModelConfig(path=str(given.model), max_length=MODEL.max_length)
    first = made_up_corpus(folder / "first", max(sizes.shard_rows, 256), sizes.shard_rows, seed=0)
    trace = made_up_run(folder / "run", spec, first, sizes.checkpoints)
    material = Material.of(first, trace, spec.max_length, given.batch_tokens)
    rows = given.rows or sizes.rows
    if rows is None:
        trial, cost = material.block(0), Cost(sizes.shard_rows)
        for _ in range(2):
            cost.add(lambda: sweep(material, trial, SETS[name]))
        shards = given.seconds * cost.rows / min(cost.wall) / sizes.shard_rows
        rows = max(4, round(shards)) * sizes.shard_rows
    corpus = made_up_corpus(folder / "all", rows, sizes.shard_rows, seed=1)
    return Material(corpus, trace, material.models, spec.max_length, given.batch_tokens)


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if the numbers are wrong."""
    given = arguments(argv)
    sizes = QUICK if given.quick else FULL
    torch.set_num_threads(1)
    from raysample.execution.ray import session

    claims, figures = dict[str, Any](), dict[str, Any]()
    began = time.perf_counter()
    with session.cluster(EngineConfig(address="local", cpus=2)):
        joining = time.perf_counter() - began
        for name in given.sets or (["gradients"] if given.quick else list(SETS)):
            with tempfile.TemporaryDirectory(prefix="raysample-scoring-") as folder, quiet():
                material = material_of(given, sizes, name, Path(folder))
                found = study(material, name, sizes, Path(folder), not given.quick)
            if max(found.errors.values()) > TOLERANCE:
                print(f"wrong numbers with {name}, so nothing is told: {found.errors}", file=sys.stderr)
                return 1
            claims |= targets(name, found)
            figures[name] = plain(found)
            show(name, found)
    print(f"ray.init: {joining:.1f} s")
    told = {"sizes": vars(sizes), "batch_tokens": given.batch_tokens, "ray_init_seconds": round(joining, 2)}
    finish({"benchmark": "scoring", "targets": claims, "found": figures, **told, **machine("ray")}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("What of a bare loop's speed is left in sweep, and in the pipeline on Ray with one and two actors.")
    made.add_argument("--sets", choices=SETS, nargs="+", help="of scores; both if not given, --quick: gradients")
    made.add_argument("--model", type=Path, metavar="PATH", help="folder of a BERT; a random one if not given")
    made.add_argument("--rows", type=int, metavar="N", help="of the corpus; if not given, as many as take --seconds")
    made.add_argument("--seconds", type=float, default=1.15 * LONG, metavar="S", help="of one actor: %(default)s")
    made.add_argument("--batch-tokens", type=int, default=ScoreConfig().batch_tokens, metavar="N", help="%(default)s")
    return made.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
