"""States of a running fine-tuning on storage: written whole, checked before they are used, gone when it is finished.

A state is a folder `resume/step-000123/` below the run's: tensors (safetensors), the curve (Parquet), the rest as JSON,
and COMPLETE.json with the hashes of all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raysample.core import manifests, storage
from raysample.core.config import ResumeConfig
from raysample.core.errors import RaysampleError, StorageError, TrainingError
from raysample.data import checkpoint_set
from raysample.training.curve import TrainingCurve
from raysample.training.snapshot import Snapshot

FOLDER = "resume"
STARTS = "starts.json"
TENSORS, CURVE, PLAIN = "state.safetensors", "curve.parquet", "state.json"


@dataclass(frozen=True)
class Start:
    """One time that the run began or went on: which attempt, from which step, with how many workers."""

    attempt: str
    step: int
    workers: int


@dataclass
class StoredStates:
    """The states of one run.

    Attributes:
        run: the run's folder.
        key: identity of all that the trained weights depend on; states of another key do not count.
        config: how often states are kept, and how many.
        every: keep states only after multiples of so many steps.
        holds: raises RaysampleError unless the checkpoints up to a step are still there, whole.
        notes: what was wrong with states that could not be used.
    """

    run: str
    key: str
    config: ResumeConfig
    every: int = 1
    holds: Callable[[int], object] = bool
    notes: list[str] = field(default_factory=list)
    kept_at: float = field(default_factory=time.monotonic)
    starts: list[Start] = field(default_factory=list)

    @property
    def uri(self) -> str:
        """The folder of all states."""
        return storage.join(self.run, FOLDER)

    def due(self, step: int) -> bool:
        """Tell whether the configured number of steps or minutes has passed."""
        if step % self.every:
            return False
        late = time.monotonic() - self.kept_at >= 60 * self.config.minutes
        return late or (self.config.steps is not None and step % self.config.steps == 0)

    def keep(self, state: Snapshot) -> None:
        """Write a state, and delete those that are older than the newest `config.keep`."""
        with storage.whole_folder(self._folder(state.step), checkpoint_set.COMPLETE) as draft:
            _write(draft, state, self.key)
            checkpoint_set.seal_checkpoint(draft)
        for name in self._names()[: -self.config.keep]:
            storage.remove(storage.join(self.uri, name))
        self.kept_at = time.monotonic()

    def known(self) -> bool:
        """Tell whether there is a state of this run, whole or not."""
        return any(self._key(name) == self.key for name in self._names())

    def _names(self) -> list[str]:
        """Return the folders of states, the oldest first; not the drafts of writers that were killed."""
        return [name for name in storage.folders(self.uri) if name.startswith("step-")]

    def _key(self, name: str) -> str | None:
        try:
            return str(manifests.mapping(storage.join(self.uri, name, PLAIN), "key")["key"])
        except StorageError:
            return None

    def newest(self) -> Snapshot | None:
        """Return the newest state that is whole and whose checkpoints are; None to begin at the first step.

        What is wrong with newer ones is told in `notes`: training goes on from an older one and comes to the same.
        """
        for name in reversed(self._names()):
            uri = storage.join(self.uri, name)
            try:
                checkpoint_set.verify_checkpoint(uri, sealed=True)
                state, key = _read(Path(storage.localise(uri)))
                if key == self.key:
                    self.holds(state.step)
                    return state
            except (RaysampleError, SafetensorError, OSError, KeyError, ValueError) as error:
                problem = error.problem if isinstance(error, RaysampleError) else str(error)
                self.notes.append(f"the state {uri!r} cannot be used: {problem}")
        return None

    def read(self, step: int) -> Snapshot:
        """Return the state after `step` steps, which another worker has checked."""
        return _read(Path(storage.localise(self._folder(step))))[0]

    def begin(self, step: int, attempt: str, workers: int) -> None:
        """Note that the run starts at a step; drop states that lie after it, and drafts of killed writers.

        Raises:
            TrainingError: this attempt started there so often before that there is no hope.
        """
        place = storage.join(self.uri, STARTS)
        noted = _starts(place) if storage.exists(place) else []
        before = sum(start.attempt == attempt and start.step == step for start in noted)
        if before > self.config.failures:
            raise TrainingError(
                f"the fine-tuning ended {before} times between step {step} and the next state",
                "see why the workers died (memory is the usual cause: lower fine_tune.micro_batch_size), and run it "
                "again: it goes on from there",
            )
        self.starts = [*noted, Start(attempt, step, workers)]
        for name in self._names():
            if name > _name(step):
                storage.remove(storage.join(self.uri, name))
        for folder in (self.run, self.uri):
            for draft in storage.folders(folder):
                if draft.startswith(".step-"):
                    storage.remove(storage.join(folder, draft))
        storage.write_json(place, [asdict(start) for start in self.starts])

    def _folder(self, step: int) -> str:
        return storage.join(self.uri, _name(step))


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _write(folder: Path, state: Snapshot, key: str) -> None:
    save_file({name: value.contiguous() for name, value in state.tensors.items()}, folder / TENSORS)
    pq.write_table(state.curve.table(), folder / CURVE)
    plain = {"key": key, "step": state.step, "scaler": state.scaler, "history": state.history}
    storage.write_json(str(folder / PLAIN), plain)


def _starts(place: str) -> list[Start]:
    told = storage.read_json(place)
    with manifests.damaged(place):
        found: list[Start] = manifests.checked(list[Start], told)
        return found


def _read(folder: Path) -> tuple[Snapshot, str]:
    place = str(folder / PLAIN)
    plain = manifests.mapping(place, "step", "scaler", "history", "key")
    table = storage.read_parquet(str(folder / CURVE))
    with manifests.damaged(place):
        state = Snapshot(
            manifests.checked(int, plain["step"]),
            load_file(folder / TENSORS),
            plain["scaler"],
            TrainingCurve.from_table(table),
            plain["history"],
        )
    return state, str(plain["key"])
