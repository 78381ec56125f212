"""What faults cost: a log is scored on a cluster while actors, workers, nodes and drivers are killed, again and again.

The same simulated log, with 1 % broken rows of thirteen kinds, is scored by the same very small model twice, without
faults and with them. Faults come at seeded moments (numbers of finished parts) and hit seeded victims: an actor in the
middle of a shard; a worker process that waits; three actors one after the other over one and the same shard; a node
with all its processes, replaced by a new one; the driver, which is started again.

Nothing may be lost, doubled or changed by that, to the last bit, and nothing that was finished may be done again. What
it costs is time, which is told and not judged. Exit code 1 means wrong numbers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness.outcome import finish, machine, parser, print_table, target

from raysample.data.score_table import ScoreTable
from tests.helpers.chaos import judging, ordeal
from tests.helpers.chaos.faults import planned
from tests.helpers.chaos.study import Study, prepare

SHARES = {"actor": 0.55, "worker": 0.2, "shard": 0.05, "replaced node": 0.1, "driver": 0.1}
QUICK = {"worker": 1}


def judged(study: Study, undisturbed: ScoreTable, disturbed: ScoreTable, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the targets: everything that faults must not do."""
    found = judging.differences(undisturbed, disturbed)
    quarantine = judging.misjudged(study, Path(disturbed.uri))
    return {
        "faults that did not happen": target(len(told["missed"]), "<=", 0),
        "rows lost": target(found["lost"], "<=", 0),
        "rows doubled": target(found["doubled"], "<=", 0),
        "cells that differ": target(abs(found["differing"]), "<=", 0),
        "broken rows that the quarantine lacks": target(quarantine["missing"], "<=", 0),
        "rows wrongly in quarantine": target(quarantine["wrong"], "<=", 0),
        "shards redone needlessly": target(len(told["redone"]), "<=", 0),
    }


def losses(told: Mapping[str, Any]) -> dict[str, int]:
    """Return what was lost and what came instead."""
    lost = [fault["node"] for fault in told["faults"] if "node" in fault]
    joined = [fault["joined"] for fault in told["faults"] if "joined" in fault]
    return {
        "processes killed": sum(1 if "pid" in fault else len(fault.get("pids", ())) for fault in told["faults"]),
        "nodes lost": len(set(lost)),
        "nodes that joined": len(set(joined)),
        "of these seen scoring": len(set(joined) & set(told["scored"])),
        "of these lost again": len(set(joined) & set(lost)),
        "nodes that died by themselves": len(told["fallen"]),
        "drivers killed": sum(fault["kind"] == "driver" for fault in told["faults"]),
    }


def show(faults: Sequence[Mapping[str, Any]], toll: Mapping[str, int]) -> None:
    """Print how often each kind of fault happened, when, and how long it took to find its victims."""
    lines = []
    for kind, times in Counter(fault["kind"] for fault in faults).items():
        at = [fault["at"] for fault in faults if fault["kind"] == kind]
        took = [fault["to"] - fault["from"] for fault in faults if fault["kind"] == kind]
        lines.append([kind, str(times), f"{min(at)} to {max(at)}", f"{median(took):.1f}", f"{max(took):.1f}"])
    caption = "parts: finished when the fault was due; seconds: until it had happened"
    print_table(("kind", "times", "parts", "seconds: median", "most"), lines, "faults", caption)
    print(", ".join(f"{what}: {number}" for what, number in toll.items()))


def undisturbed(study: Study, folder: Path, given: argparse.Namespace) -> tuple[ScoreTable, float]:
    """Score without faults, on such a cluster or, in a hurry, in this process; return table and seconds."""
    output = folder / "undisturbed"
    if given.quick:
        began = time.perf_counter()
        return study.score(output), time.perf_counter() - began
    order = ordeal.plan(study, output, [], nodes=given.nodes, seed=given.seed)
    told = ordeal.run(folder / "calm", order, patience=given.patience)
    return ScoreTable.load(str(output)), told["seconds"]


def main(argv: Sequence[str] | None = None) -> int:
    """Score twice, compare, print; return 1 if anything was lost, doubled or changed."""
    given = arguments(argv)
    torch.set_num_threads(1)
    shards, rows = given.shards or (8 if given.quick else 160), given.rows or (400 if given.quick else 5_000)
    faults = given.faults or (None if given.quick else 100)
    kinds = QUICK if faults is None else {kind: max(1, round(share * faults)) for kind, share in SHARES.items()}
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        folder = Path(place)
        study = prepare(folder / "study", shards * rows, shards, given.seed)
        print(f"{shards * rows:,} rows in {shards} shards, {study.truth.num_rows:,} of them broken")
        calm, seconds = undisturbed(study, folder, given)
        print(f"without faults: {seconds:.0f} s")
        output = folder / "disturbed"
        order = ordeal.plan(study, output, planned(kinds, shards, given.seed), nodes=given.nodes, seed=given.seed)
        told = ordeal.run(folder / "ordeal", order, patience=given.patience)
        claims = judged(study, calm, ScoreTable.load(str(output)), told)
    each = (told["seconds"] - seconds) / sum(kinds.values())
    print(f"with faults: {told['seconds']:.0f} s, {told['seconds'] / seconds:.1f} times as long, {each:.1f} s a fault")
    toll = losses(told)
    show(told["faults"], toll)
    sizes = {"rows": shards * rows, "shards": shards, "nodes": 1 + given.nodes, "seed": given.seed}
    times = {"seconds": {"without": seconds, "with": told["seconds"]}, "losses": toll, "faults": told["faults"]}
    finish({"benchmark": "faults", "targets": claims, **sizes, **times, **machine("ray")}, given.json)
    return int(not all(claim["met"] for claim in claims.values()))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("What faults cost, and that they cost nothing but time.")
    made.add_argument("--shards", type=int, metavar="N", help="a multiple of 8; 160 if not given, with --quick 8")
    made.add_argument("--rows", type=int, metavar="N", help="of a shard: 5000 if not given, with --quick 400")
    made.add_argument("--faults", type=int, metavar="N", help="100 if not given, with --quick 2")
    made.add_argument("--nodes", type=int, metavar="N", help="beside the head: 2 if not given, with --quick 1")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="%(default)s if not given")
    made.add_argument("--patience", type=float, default=3_600, metavar="S", help="seconds: %(default)s if not given")
    given = made.parse_args(argv)
    given.nodes = given.nodes or (1 if given.quick else 2)
    return given


if __name__ == "__main__":
    sys.exit(main())
