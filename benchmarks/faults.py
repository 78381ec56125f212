"""What faults cost: a log is scored on a cluster while actors, workers, nodes and drivers are killed, again and again.

The same simulated log, with 1 % broken rows of thirteen kinds, is scored by the same very small model twice, without
faults and with them. Faults come at seeded moments (numbers of finished parts) and hit seeded victims: an actor in the
middle of a shard; a worker process that waits; three actors one after the other over one and the same shard; a node
with all its processes, replaced by a new one; the driver, which is started again.

Faults may lose, double or change nothing, to the last bit, and nothing that was finished may be done again. The time
that they cost is reported and not judged. Exit code 1 means wrong numbers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness.outcome import Figures, Options, finish, print_table, target

from raysample.data.score_table import ScoreTable
from tests.helpers.chaos import judging, ordeal
from tests.helpers.chaos.faults import planned
from tests.helpers.chaos.study import prepare

SHARES = {"actor": 0.55, "worker": 0.2, "shard": 0.05, "replaced node": 0.1, "driver": 0.1}
SEED = 0
PATIENCE = 3_600
"""Seconds for one scoring."""


def show(faults: Sequence[Mapping[str, Any]], toll: Mapping[str, int]) -> None:
    """Print how often each kind of fault happened, when, and how long it took to find its victims."""
    lines = []
    for kind, times in Counter(fault["kind"] for fault in faults).items():
        at = [fault["at"] for fault in faults if fault["kind"] == kind]
        took = [fault["to"] - fault["from"] for fault in faults if fault["kind"] == kind]
        lines.append([kind, times, f"{min(at)} to {max(at)}", f"{median(took):.1f}", f"{max(took):.1f}"])
    caption = "parts: finished when the fault was due; seconds: until it had happened"
    print_table(("kind", "times", "parts", "seconds: median", "most"), lines, "faults", caption)
    print(", ".join(f"{what}: {number}" for what, number in toll.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Score twice, compare, print; return 1 if anything was lost, doubled or changed."""
    parser = Options("What faults cost, and that they cost nothing but time.")
    parser.size("--shards", 160, 8, "a multiple of 8")
    parser.size("--faults", 100, 1)
    options = parser.read(argv)
    torch.set_num_threads(1)
    shards, rows, nodes = options.shards, options.shards * (400 if options.quick else 5_000), 1 if options.quick else 2
    shares = {"worker": 1.0} if options.quick else SHARES
    kinds = {kind: max(1, round(share * options.faults)) for kind, share in shares.items()}
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        folder = Path(place)
        study = prepare(folder / "study", rows, shards, SEED)
        print(f"{rows:,} rows in {shards} shards, {study.truth.num_rows:,} of them broken")

        def scored(name: str, faults: Sequence[Any]) -> tuple[ScoreTable, Figures]:
            """Score on a cluster of its own, with faults; return the table and what happened."""
            order = ordeal.plan(study, folder / name, faults, nodes=nodes, seed=SEED)
            report = ordeal.run(folder / f"{name}-cluster", order, patience=PATIENCE)
            return ScoreTable.load(str(folder / name)), report

        if options.quick:  # without faults in this process, which starts no cluster
            began = time.perf_counter()
            calm, seconds = study.score(folder / "calm"), time.perf_counter() - began
        else:
            calm, undisturbed = scored("calm", [])
            seconds = undisturbed["seconds"]
        print(f"without faults: {seconds:.0f} s")
        table, report = scored("disturbed", planned(kinds, shards, SEED))
        counts = judging.mistakes(study, calm, table, report)
        claims = {what: target(count, "<=", 0) for what, count in counts.items()}
    each = (report["seconds"] - seconds) / sum(kinds.values())
    print(f"with faults: {report['seconds']:.0f} s, {each:.1f} s a fault")
    toll = judging.losses(report)
    show(report["faults"], toll)
    sizes = {"rows": rows, "shards": shards, "nodes": 1 + nodes, "seed": SEED}
    times = {"seconds": {"without": seconds, "with": report["seconds"]}, "losses": toll, "faults": report["faults"]}
    finish("faults", claims, {**sizes, **times}, options, "ray")
    return int(not all(claim["met"] for claim in claims.values()))


if __name__ == "__main__":
    sys.exit(main())
