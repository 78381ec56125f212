"""Faults: each waits for its moment in the scoring, which is a number of finished parts and not a time, and kills."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raysample.core.errors import StorageError
from raysample.core.storage import read_json
from raysample.influence.shards.crash_counter import MAX_DEATHS
from tests.helpers.chaos.cluster import Nodes, alive, kill, parent

Told = dict[str, Any]
Course = Generator[None, None, Told]
LAST = 0.8
"""Faults begin before this share of the parts is finished, so that there is always something to hit."""


@dataclass(frozen=True)
class Fault:
    """What is done, and after how many finished parts."""

    kind: str
    after: int


@dataclass
class Scene:
    """What faults see and touch: the cluster, the folder that is written, the driver's way back."""

    nodes: Nodes
    output: Path
    rng: np.random.Generator
    restart: Callable[[], None]
    first: dict[str, tuple[int, int]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    scored: set[str] = field(default_factory=set)

    def parts(self) -> dict[str, tuple[int, int]]:
        """Return inode and time of change of every finished part, by the name of its shard."""
        found = {}
        for path in self.output.glob("parts-*/part-*.parquet"):
            with contextlib.suppress(FileNotFoundError):
                found[path.stem.removeprefix("part-")] = (path.stat().st_ino, path.stat().st_mtime_ns)
        return found

    def look(self) -> int:
        """Note the parts that are new, and which nodes are at work then; return how many there are."""
        before = len(self.first)
        for name, stat in self.parts().items():
            self.first.setdefault(name, stat)
        if len(self.first) > before:
            self.at_work()
        return len(self.first)

    def at_work(self) -> list[int]:
        """Return the places of the nodes that score just now."""
        above = {parent(pid) for pid in self.busy().values()}
        there = {place: one for place, one in enumerate(self.nodes.removable()) if above & set(self.nodes.raylets(one))}
        self.scored |= {str(one.node_id) for one in there.values()}
        return list(there)

    def busy(self) -> dict[str, int]:
        """Return who is at work now: name of the shard -> process, workers of this cluster alone."""
        raylets, found = self.nodes.raylets(), {}
        for path in self.output.glob("parts-*/attempts/*.json"):
            with contextlib.suppress(StorageError):
                pid = read_json(str(path))["pid"]
                if parent(pid) in raylets:
                    found[path.stem] = pid
        return found

    def attempts(self, name: str) -> int:
        """Return how many attempts at a shard its marker counts; 0 without one."""
        for path in self.output.glob(f"parts-*/attempts/{name}.json"):
            with contextlib.suppress(StorageError):
                return int(read_json(str(path))["attempts"])
        return 0


def actor(scene: Scene) -> Course:
    """Kill an actor while it scores a shard."""
    while not (busy := {name: pid for name, pid in scene.busy().items() if name not in scene.kept}):
        yield
    name = str(scene.rng.choice(sorted(busy)))
    kill(busy[name])
    while alive(busy[name]):
        yield
    return {"pid": busy[name], "shard": name}


def worker(scene: Scene) -> Course:
    """Kill a worker process that scores nothing just now: one that waits, or an actor of Ray Data itself."""
    while not (idle := sorted(set(scene.nodes.workers()) - set(scene.busy().values()))):
        yield
    pid = int(scene.rng.choice(idle))
    words = scene.nodes.workers().get(pid, "")
    kill(pid)
    while alive(pid):
        yield
    return {"pid": pid, "was": words}


def shard(scene: Scene) -> Course:
    """Kill whoever scores one and the same shard, until it has cost as many workers as a poisoned one may."""
    name, killed = "", list[int]()
    while len(killed) < MAX_DEATHS:
        busy = scene.busy()
        if (not name or name in scene.parts()) and busy:
            scene.kept.discard(name)
            name, killed = str(scene.rng.choice(sorted(busy))), []
            scene.kept.add(name)
        if name in busy and busy[name] not in killed:
            kill(busy[name])
            killed.append(busy[name])
        yield
    while (most := scene.attempts(name)) <= MAX_DEATHS and name not in scene.parts():
        yield
    return {"pids": killed, "shard": name, "attempts": most}


def node(scene: Scene) -> Course:
    """Take away a node that has work, for good."""
    while not (there := scene.at_work()):
        yield
    place = int(scene.rng.choice(there))
    name = str(scene.nodes.removable()[place].node_id)
    pids = scene.nodes.remove(place)
    while any(map(alive, pids)):
        yield
    return {"pids": pids, "node": name, "nodes_left": 1 + len(scene.nodes.cluster.worker_nodes)}


def replaced(scene: Scene) -> Course:
    """Take away a node that has work, and add a new one."""
    told = yield from node(scene)
    return {**told, "joined": scene.nodes.add()}


def driver(scene: Scene) -> Course:
    """Kill the driver and start it again."""
    while not scene.busy():
        yield
    code = scene.nodes.kill_driver()
    scene.restart()
    return {"exit": code}


KINDS: Mapping[str, Callable[[Scene], Course]] = {
    "actor": actor,
    "worker": worker,
    "shard": shard,
    "node": node,
    "replaced node": replaced,
    "driver": driver,
}


def planned(counts: Mapping[str, int], shards: int, seed: int) -> list[Fault]:
    """Return that many faults of each kind, at seeded moments between the first part and LAST of them, in order."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation([kind for kind, count in counts.items() for _ in range(count)])
    moments = np.sort(rng.integers(1, int(LAST * shards), len(kinds)))
    return [Fault(str(kind), int(after)) for kind, after in zip(kinds, moments, strict=True)]


class Storm:
    """Faults that begin at their moments and run beside each other until each has told what it did."""

    def __init__(self, faults: Sequence[Fault], scene: Scene) -> None:
        self.waiting, self.scene = list(faults), scene
        self.running: list[tuple[Told, Course]] = []
        self.told: list[Told] = []

    def step(self, parts: int, seconds: float) -> None:
        """Begin what is due, and go on with what has begun; `parts` are finished, `seconds` have gone by."""
        while self.waiting and self.waiting[0].after <= parts:
            fault = self.waiting.pop(0)
            begun = {**asdict(fault), "at": parts, "from": round(seconds, 1)}
            self.running.append((begun, KINDS[fault.kind](self.scene)))
        for begun, course in list(self.running):
            try:
                next(course)
            except StopIteration as end:
                self.running.remove((begun, course))
                self.told.append({**begun, "to": round(seconds, 1), **end.value})

    def missed(self) -> list[Told]:
        """Return the faults that have not happened, or not to their end."""
        return [*map(asdict, self.waiting), *(begun for begun, _ in self.running)]
