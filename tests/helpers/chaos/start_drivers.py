"""A driver in a process of its own: `raysample fine-tune` on a small corpus, in a new output with a new database.

The process is forked from one that has imported everything: what is interrupted is the start itself, from the lock of
the folder and MLflow's sixty migrations to the checkpoints, and not the seconds that Python takes to load libraries.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raysample.cli import commands, main

Figures = dict[str, Any]
TRIES = 6
CONFIG = """
output: {output}
corpus: {{train: {{path: {folder}/train.jsonl}}, test: {{path: {folder}/test.jsonl}}}}
model: {{path: tiny, hidden_size: 8, layers: 1, vocabulary_size: 150, max_length: 12}}
fine_tune: {{epochs: 2, learning_rate: 1.0e-3, checkpoints: 2}}
score: {{scores: [el2n]}}
engine: {{kind: local}}
"""


def preload() -> None:
    """Import what a start needs, so that forked drivers have it."""
    commands.run_fine_tune  # noqa: B018 - looked up, its libraries are loaded
    from raysample.tracking.mlflow import schema, tracker

    del tracker
    schema._wanted()


def corpus(folder: Path) -> None:
    """Write 200 rows to train on and 40 to test on."""
    for name, rows in (("train", 200), ("test", 40)):
        lines = [{"text": f"w{i % 7} t{i}", "label": "ab"[i % 2]} for i in range(rows)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@dataclass
class Driver:
    """A run of the verb in a process of its own."""

    folder: Path
    output: Path
    name: str
    pid: int = 0

    @property
    def log(self) -> Path:
        """What it says."""
        return self.output.parent / f"{self.output.name}-{self.name}-{self.pid}.log"

    def start(self) -> Driver:
        """Start it."""
        config = self.folder / f"{self.output.name}.yaml"
        config.write_text(CONFIG.format(output=self.output, folder=self.folder))
        self.pid = os.fork()
        if self.pid == 0:
            self.pid, code = os.getpid(), 1
            try:
                self._inside(config)
            except BaseException as error:
                code = int(error.code or 0) if isinstance(error, SystemExit) else 1
            finally:
                os._exit(code)
        return self

    def _inside(self, config: Path) -> None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # the database of the output is what is made here
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        raise SystemExit(main.main(["fine-tune", str(config), f"name={self.name}"]))

    def interrupt(self, number: signal.Signals, after: float) -> int:
        """Send a signal after some seconds; return its exit code, or less than 0 for the signal that ended it."""
        time.sleep(after)
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Return its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def said(self) -> str:
        """Return what it said."""
        return self.log.read_text() if self.log.exists() else ""

    def weights(self) -> Sequence[str]:
        """Return hashes of the weights that it left, in order."""
        files = sorted((self.output / self.name).glob("checkpoints/seed-0/step-*/model.safetensors"))
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def runs(output: Path) -> list[tuple[str, str]]:
    """Return name and status of every run in an output's database."""
    with closing(sqlite3.connect(output / "mlflow.db")) as database:
        return [(name, status) for name, status in database.execute("select name, status from runs")]


def left_over(output: Path) -> list[str]:
    """Return what should not be there once all drivers have ended: drafts, half-made databases, locks of folders."""
    found = [one for pattern in ("*.draft-*", "*half-made*", "*/lock.json", "*/.lock") for one in output.glob(pattern)]
    return sorted(one.name for one in found)


def undisturbed(folder: Path) -> tuple[float, Sequence[str]]:
    """Run once; return the seconds that it took, and its weights."""
    began = time.perf_counter()
    driver = Driver(folder, folder / "undisturbed", "run").start()
    if driver.wait() != 0:
        raise RuntimeError(f"an undisturbed run failed: {driver.said()}")
    return time.perf_counter() - began, driver.weights()


def ended(what: str, drivers: Sequence[Driver], weights: Sequence[str], before: Sequence[int] = ()) -> Figures:
    """Wait for drivers of one output; return how they ended and what they left. `before`: former exit codes there."""
    output, codes = drivers[0].output, [driver.wait() for driver in drivers]
    return {
        "what": what,
        "codes": [*before, *codes],
        "finished": codes.count(0),
        "trained": sum("finished before" not in driver.said() for driver in drivers if driver.said()),
        "differing": sum(driver.weights() != weights for driver in drivers),
        "running": 0 if before and any(codes) else sum(status == "RUNNING" for _, status in runs(output)),
        "left over": left_over(output),
        "said": [driver.said()[-500:] for driver in drivers] if any(codes) else [],
    }


def at_once(folder: Path, output: Path, names: Sequence[str], weights: Sequence[str]) -> Figures:
    """Start drivers at once on a new output."""
    drivers = [Driver(folder, output, name).start() for name in names]
    return ended(f"{len(names)} at once, {len(set(names))} names", drivers, weights)


def interrupted(folder: Path, number: signal.Signals, after: float, which: int, weights: Sequence[str]) -> Figures:
    """End a first start, then run undisturbed. A start that was through before its signal is ended earlier, anew."""
    for attempt in range(TRIES):
        output = folder / f"{number.name}-{which}-{attempt}"
        code = Driver(folder, output, "run").start().interrupt(number, after)
        if code != 0:
            break
        after *= 0.7
    return ended(f"{number.name} after {after:.2f} s", [Driver(folder, output, "run").start()], weights, [code])


def main_of_test(folder: Path) -> None:
    """Write as JSON what becomes of two drivers of one folder, and of a start after one that was killed."""
    torch.set_num_threads(1)
    preload()
    corpus(folder)
    took, weights = undisturbed(folder)
    same = at_once(folder, folder / "same", ("a", "a"), weights)
    killed = interrupted(folder, signal.SIGKILL, took / 2, 0, weights)
    (folder / "result.json").write_text(json.dumps([same, killed]))


if __name__ == "__main__":
    main_of_test(Path(sys.argv[1]))
