"""What of a bare loop's speed is left: the loop written by hand, `sweep` in this process, the pipeline on Ray.

The same checkpoints and the same rows, which do not repeat, one torch thread each. Two sets of scores: EL2N, for which
a forward is enough, and EL2N with VoG, which takes a backward to the embeddings. The loop and `sweep` take turns, shard
by shard, before and after the pipeline; it goes from Parquet to Parquet, with one actor and with two.

Nothing is reported unless the three agree on their numbers. Exit code 1 means that the numbers were wrong.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from baselines.ray_passages import BATCH_TOKENS, Material, Passage, through_ray
from harness.outcome import Figures, Options, finish, print_table, quiet, target
from harness.timing import Cost

from raysample.core.config import EngineConfig, ModelConfig
from tests.helpers.corpora import varied_corpus
from tests.helpers.noisy_checkpoints import write_noisy_checkpoints
from tests.helpers.peers.base import relative_error
from tests.helpers.peers.scores_by_hand import scored_by_hand
from tests.helpers.peers.visits import swept

TOLERANCE = 1e-4
LONG = 300.0
"""Seconds that a run must take for its rate, start-up included, to be held against a target."""
HAND, SWEEP = "by hand", "sweep"
EL2N = {"name": "el2n", "checkpoints": "all"}
SETS: dict[str, list[Any]] = {"predictions": [EL2N], "gradients": [EL2N, "vog"]}
MODEL = ModelConfig(path="tiny", layers=4, hidden_size=256, vocabulary_size=8_000, max_length=64)
SMALL = ModelConfig(path="tiny", layers=2, hidden_size=64, vocabulary_size=2_000, max_length=64)


@dataclass(frozen=True)
class Sizes:
    """Rows of a shard, checkpoints, shards that take turns, rows (None: as many as take long), actors of the passages.

    A machine is slower in some minutes than in others: one actor goes between two times two.
    """

    shard_rows: int
    checkpoints: int
    turns: int
    rows: int | None
    actors: tuple[int, ...]


FULL, QUICK = Sizes(256, 3, 10, None, (2, 1, 2)), Sizes(32, 2, 4, 160, (1, 2))


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

    def compare(self, what: str, columns: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """Note the largest error of each column."""
        for name, column in expected.items():
            key = f"{name}, {what}"
            self.errors[key] = max(relative_error(columns[name], column), self.errors.get(key, 0.0))


def take_turns(material: Material, shards: Sequence[int], scores: list[Any], found: Found) -> dict[int, dict[str, Any]]:
    """Time both loops on some shards, the one first and then the other; return what `sweep` gave for each shard."""
    values = dict[int, dict[str, Any]]()
    for place, shard in enumerate(shards):
        work, columns = material.shard(shard), dict[str, dict[str, Any]]()
        runs = {
            HAND: lambda work=work: scored_by_hand(work, gradients=len(scores) > 1),
            SWEEP: lambda work=work: swept(work, scores),
        }
        for name in sorted(runs, reverse=bool(place % 2)):
            found.costs[name].add(lambda name=name, runs=runs, to=columns: to.update({name: runs[name]()}))
        found.compare(HAND, columns[HAND], columns[SWEEP])
        values[shard] = columns[SWEEP]
    return values


def study(material: Material, name: str, sizes: Sizes, folder: Path) -> Found:
    """Measure one set of scores on a cluster that is joined."""
    scores, found = SETS[name], Found({HAND: Cost(sizes.shard_rows), SWEEP: Cost(sizes.shard_rows)})
    whole = [shard.index for shard in material.corpus.shards if shard.rows == sizes.shard_rows]
    chosen = [whole[int(i)] for i in np.linspace(0, len(whole) - 1, min(sizes.turns, len(whole)))]
    values = take_turns(material, chosen[::2], scores, found)
    found.passages = [through_ray(material, scores, n, folder / f"{name}-{i}") for i, n in enumerate(sizes.actors)]
    values |= take_turns(material, chosen[1::2], scores, found)
    starts = np.cumsum([0, *(shard.rows for shard in material.corpus.shards)])
    for passage in found.passages:
        for shard, columns in values.items():
            rows = slice(starts[shard], starts[shard + 1])
            here = {name: scored[rows] for name, scored in passage.scores.items()}
            found.compare(f"ray with {passage.actors}", here, columns)
    return found


def targets(name: str, found: Found) -> Figures:
    """Return what is claimed of one set of scores; of the pipeline, only if it ran for long enough."""
    one, cost = found.one, found.costs[SWEEP]
    claims = {f"{name}: sweep / by hand, rows/s": target(found.costs[HAND].over(cost)["median"], ">=", 0.95)}
    if one.seconds < LONG:
        return claims
    rate = found.rate(SWEEP)
    ratios = {"ray with one actor / sweep, rows/s": one.rate / rate}
    ratios["the same with the start-up"] = one.rows / one.seconds / rate
    if one.cpu_rate is not None:
        ratios["ray with one actor / sweep, rows/CPU s"] = one.cpu_rate * median(cost.cpu) / cost.rows
    claims |= {f"{name}: {what}": target(ratio, ">=", 0.90) for what, ratio in ratios.items()}
    return claims | {f"{name}: two actors / one, rows/s": target(found.two / one.rate, ">=", 1.8)}


def plain(found: Found) -> Figures:
    """Return all figures of one set of scores as plain data."""
    return {
        "errors": found.errors,
        **{name: cost.figures() for name, cost in found.costs.items()},
        "sweep_over_hand": found.costs[HAND].over(found.costs[SWEEP]),
        "ray": [passage.figures() for passage in found.passages],
        "ray_over_sweep": round(found.one.rate / found.rate(SWEEP), 4),
        "two_actors_over_one": round(found.two / found.one.rate, 4),
    }


def show(name: str, found: Found) -> None:
    """Print the table of one set of scores."""
    sweeping, lines = found.rate(SWEEP), []
    for loop, cost in found.costs.items():
        rates = (f"{found.rate(loop):.1f}", f"{found.rate(loop) / sweeping:.2f}", f"{cost.rows / median(cost.cpu):.1f}")
        lines.append([loop, *rates, f"{sum(cost.wall):.1f}", ""])
    for one in found.passages:
        cpu = "" if one.cpu_rate is None else f"{one.cpu_rate:.1f}"
        rates = (f"{one.rate:.1f}", f"{one.rate / sweeping:.2f}", cpu)
        lines.append([f"ray, actors: {one.actors}", *rates, f"{one.seconds:.1f}", f"{one.start_up:.1f}"])
    headings = ("what", "rows/s", "of sweep", "rows/CPU s", "seconds", "start-up, s")
    print_table(headings, lines, name, "rows/s by the wall clock; the loops: medians over shards")
    print(f"errors: {', '.join(f'{what} {error:.1e}' for what, error in found.errors.items())}")


def material_of(options: Namespace, sizes: Sizes, name: str, folder: Path) -> Material:
    """Make the run, find out how many rows take as long as they should, and make these."""
    spec = SMALL if options.quick else MODEL
    if options.model is not None:
        spec = ModelConfig(path=options.model, max_length=MODEL.max_length)
    first, rows = varied_corpus(folder / "first", 256, shard_rows=sizes.shard_rows), sizes.rows
    run = write_noisy_checkpoints(folder / "run", spec, first, sizes.checkpoints)
    material = Material(first, run, spec.max_length)
    if rows is None:
        trial, cost = material.shard(0), Cost(sizes.shard_rows)
        for _ in range(2):
            cost.add(lambda: swept(trial, SETS[name]))
        shards = options.seconds * cost.rows / min(cost.wall) / sizes.shard_rows
        rows = max(4, round(shards)) * sizes.shard_rows
    return replace(material, corpus=varied_corpus(folder / "all", rows, 1, shard_rows=sizes.shard_rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print; return 1 if the numbers are wrong."""
    from raysample.execution.ray import session

    parser = Options(
        "What of a bare loop's speed is left in sweep, and in the pipeline on Ray with one and two actors."
    )
    sets = {"type": str, "choices": SETS, "nargs": "+", "metavar": "SET"}
    parser.size("--sets", list(SETS), ["gradients"], "of scores", **sets)
    parser.add_argument("--model", metavar="PATH", help="folder of a BERT; by default a random one")
    parser.add_argument("--seconds", type=float, default=1.15 * LONG, metavar="S", help="of one actor: %(default)s")
    options = parser.read(argv)
    sizes = QUICK if options.quick else FULL
    torch.set_num_threads(1)
    claims, figures, began = Figures(), Figures(), time.perf_counter()
    with session.cluster(EngineConfig(address="local", cpus=2)):
        joining = time.perf_counter() - began
        for name in options.sets:
            with tempfile.TemporaryDirectory(prefix="raysample-scoring-") as folder, quiet():
                found = study(material_of(options, sizes, name, Path(folder)), name, sizes, Path(folder))
            if max(found.errors.values()) > TOLERANCE:
                print(f"wrong numbers with {name}, so nothing is reported: {found.errors}", file=sys.stderr)
                return 1
            claims |= targets(name, found)
            figures[name] = plain(found)
            show(name, found)
    about = {"sizes": vars(sizes), "batch_tokens": BATCH_TOKENS, "ray_init_seconds": round(joining, 2)}
    finish("scoring", claims, {"found": figures, **about}, options, "ray")
    return 0


if __name__ == "__main__":
    sys.exit(main())
