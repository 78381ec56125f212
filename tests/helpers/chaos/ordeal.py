"""One scoring under faults, in a process of its own with a cluster of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.helpers import warm

if TYPE_CHECKING:
    from tests.helpers.chaos.cluster import Nodes
    from tests.helpers.chaos.faults import Fault
    from tests.helpers.chaos.study import Study

POLL_SECONDS = 0.02
TAIL = 4_000


def plan(study: Study, output: Path, faults: Sequence[Fault], *, nodes: int, seed: int) -> dict[str, Any]:
    """Return what is to be done, as `run` takes it; `nodes` beside the head, `seed` draws what the faults hit."""
    named = [asdict(fault) for fault in faults]
    return {"study": str(study.folder), "output": str(output), "faults": named, "nodes": nodes, "seed": seed}


def run(folder: Path, order: Mapping[str, Any], patience: float) -> dict[str, Any]:
    """Let a process score a study under faults; return what it tells.

    Args:
        folder: for what it writes beside the scores: the plan, what came of it, what drivers and cluster printed.
        order: what `plan` returned.
        patience: seconds after which it is given up.

    Raises:
        RuntimeError: it failed, or the time is up; with the end of what was printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(dict(order)))
    # Ray's sockets need a short path; and nobody else must find this cluster by its usual place.
    place = tempfile.mkdtemp(prefix="chaos-", dir="/tmp")
    here = [str(Path(__file__).parents[3]), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(here), "RAY_TMPDIR": place}
    # Without bytecode every worker that starts compiles its libraries anew, 4 seconds each.
    for name in ("RAY_ADDRESS", "TMPDIR", "PYTHONDONTWRITEBYTECODE"):
        env.pop(name, None)
    command = [*warm.python(), "-m", "tests.helpers.chaos.ordeal", str(folder), str(patience)]
    try:
        with (folder / "ordeal.log").open("wb") as log:
            code = subprocess.run(command, stdout=log, stderr=log, env=env, timeout=patience + 60).returncode
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if code:
        raise RuntimeError(f"the ordeal ended with code {code}:\n{_tail(folder / 'ordeal.log')}")
    return json.loads((folder / "result.json").read_text())


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-TAIL:] if log.exists() else ""


def suffer(folder: Path, patience: float) -> dict[str, Any]:
    """Score a study on a new cluster while the planned faults happen."""
    from tests.helpers.chaos.cluster import Nodes
    from tests.helpers.chaos.faults import Fault, Scene, Storm

    order = json.loads((folder / "plan.json").read_text())
    study, output, log = Path(order["study"]), Path(order["output"]), folder / "driver.log"
    with Nodes(order["nodes"]).running() as nodes:

        def start() -> None:
            nodes.start_driver(study, output, log)

        scene = Scene(nodes, output, np.random.default_rng(order["seed"]), start)
        storm = Storm([Fault(**fault) for fault in order["faults"]], scene)
        start()
        began, fallen = time.monotonic(), list[str]()
        while nodes.driver is None or nodes.driver.poll() is None:
            seconds = time.monotonic() - began
            storm.step(scene.look(), seconds)
            fallen += replaced(nodes)
            if seconds > patience:
                raise TimeoutError(f"{len(scene.first)} parts, {storm.told}, {storm.missed()}\n{_tail(log)}")
            time.sleep(POLL_SECONDS)
        seconds, code = time.monotonic() - began, nodes.driver.returncode
        if code:
            raise RuntimeError(f"the driver ended with code {code} after {storm.told}\n{_tail(log)}")
        now = scene.parts()
    return {
        "seconds": seconds,
        "faults": storm.told,
        "missed": storm.missed(),
        "parts": len(now),
        # Nodes that nobody took away: a machine that is too busy can keep a node from saying that it is alive.
        "fallen": fallen,
        "scored": sorted(scene.scored),
        "redone": sorted(name for name, stat in scene.first.items() if now.get(name) != stat),
    }


def replaced(nodes: Nodes) -> list[str]:
    """Bring a new node for each that died by itself; return their ids."""
    names = []
    for place in reversed(nodes.fallen()):
        names.append(str(nodes.removable()[place].node_id))
        nodes.remove(place)
        nodes.add()
    return names


def main(argv: Sequence[str]) -> None:
    """Suffer, and write what came of it."""
    folder = Path(argv[0])
    (folder / "result.json").write_text(json.dumps(suffer(folder, float(argv[1]))))


if __name__ == "__main__":
    main(sys.argv[1:])
