"""Resume states of a running fine-tuning on storage.

Written atomically, verified before use, deleted when it is finished.

A state is a folder `resume/step-000000123/` in the run's folder: tensors (safetensors), the curve (Parquet), the rest
as JSON, and COMPLETE.json with the hashes of all files.

Invariants:

* A state is used only if its files match their hashes, its key equals the key of the current job, and all checkpoints
  up to its step are intact. Anything else is a note and the next older state is tried: an older state leads to the same
  weights, only later.
* States after the step that a run starts from are deleted before it starts. Otherwise a later restart could pick a
  state of an abandoned branch.
* A state never holds a random state: the random numbers of a step depend on seed, step and rank alone
  (`training.step`).
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

STATES_FOLDER = "resume"
STARTS_FILE = "starts.json"
STATE_TENSORS, CURVE_FILE, STATE_FILE = "state.safetensors", "curve.parquet", "state.json"


@dataclass(frozen=True)
class Start:
    """One start of the run: `attempt` (the call of the driver), the step it starts from, and the number of workers."""

    attempt: str
    step: int
    workers: int


@dataclass
class StoredStates:
    """The resume states of one run.

    Attributes:
        run: the run's folder.
        key: identity of everything the trained weights depend on; states with another key are ignored.
        config: how often states are written, and how many are kept.
        every: write states only after multiples of this number of steps.
        holds: raises RaysampleError unless the checkpoints up to a step are intact.
        notes: why states could not be used, for the user.
        kept_at: monotonic time of the last state, in seconds.
        starts: the starts of the run so far, with the current one, once `begin` was called.
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
        return storage.join(self.run, STATES_FOLDER)

    def due(self, step: int) -> bool:
        """Return whether a state is due after `step` steps: the configured steps or minutes have passed."""
        if step % self.every:
            return False
        late = time.monotonic() - self.kept_at >= 60 * self.config.minutes
        return late or (self.config.steps is not None and step % self.config.steps == 0)

    def keep(self, state: Snapshot) -> None:
        """Write a state, then delete all but the newest `config.keep` states."""
        with storage.whole_folder(self._folder(state.step), checkpoint_set.COMPLETE) as draft:
            _write(draft, state, self.key)
            checkpoint_set.seal_checkpoint(draft)
        for name in self._names()[: -self.config.keep]:
            storage.remove(storage.join(self.uri, name))
        self.kept_at = time.monotonic()

    def known(self) -> bool:
        """Return whether a state of this run exists, intact or not."""
        return any(self._key(name) == self.key for name in self._names())

    def _names(self) -> list[str]:
        """Return the folder names of states, oldest first, without the drafts of writers that were killed."""
        return [name for name in storage.folders(self.uri) if name.startswith("step-")]

    def _key(self, name: str) -> str | None:
        """Return the key of a state, or None if its JSON is missing or damaged."""
        try:
            return str(manifests.mapping(storage.join(self.uri, name, STATE_FILE), "key")["key"])
        except StorageError:
            return None

    def newest(self) -> Snapshot | None:
        """Return the newest usable state, or None to start from the first step.

        `notes` tell why newer states are not usable.

        A damaged state is never fatal: training repeats the lost steps from an older state and reaches the same
        weights.
        """
        # Newest first. Every kind of damage is a note, never an error: an older state costs time only.
        for name in reversed(self._names()):
            uri = storage.join(self.uri, name)
            try:
                checkpoint_set.verify_checkpoint(uri, sealed=True)
                state, key = _read(Path(storage.localise(uri)))
                # Another key is a state of another recipe or data: not a problem to report.
                if key == self.key:
                    self.holds(state.step)
                    return state
            except (RaysampleError, SafetensorError, OSError, KeyError, ValueError) as error:
                problem = error.problem if isinstance(error, RaysampleError) else str(error)
                self.notes.append(f"the state {uri!r} cannot be used: {problem}")
        return None

    def read(self, step: int) -> Snapshot:
        """Return the state after `step` steps without verification; rank 0 has verified it by `newest`."""
        return _read(Path(storage.localise(self._folder(step))))[0]

    def begin(self, step: int, attempt: str, workers: int) -> None:
        """Record that the run starts from a step; delete later states and the drafts of killed writers.

        Raises:
            TrainingError: this attempt has started from this step too often without reaching the next state.
        """
        place = storage.join(self.uri, STARTS_FILE)
        noted = _starts(place) if storage.exists(place) else []
        # Counted per attempt: a user who calls again after a fix gets all tries again.
        before = sum(start.attempt == attempt and start.step == step for start in noted)
        if before > self.config.failures:
            raise TrainingError(
                f"the fine-tuning ended {before} times between step {step} and the next state",
                "see why the workers died (memory is the usual cause: lower fine_tune.micro_batch_size), and run it "
                "again: it goes on from there",
            )
        self.starts = [*noted, Start(attempt, step, workers)]
        # Later states are of a branch that this start abandons (they were unusable): a restart must not pick them.
        for name in self._names():
            if name > _name(step):
                storage.remove(storage.join(self.uri, name))
        # `whole_folder` writes into hidden drafts beside the final folder; a killed writer leaves its draft.
        for folder in (self.run, self.uri):
            for draft in storage.folders(folder):
                if draft.startswith(".step-"):
                    storage.remove(storage.join(folder, draft))
        storage.write_json(place, [asdict(start) for start in self.starts])

    def _folder(self, step: int) -> str:
        """Return the folder of the state after `step` steps."""
        return storage.join(self.uri, _name(step))


def _name(step: int) -> str:
    """Return the folder name of a state; zero-padded, so that names sort by step."""
    return f"step-{step:09d}"


def _write(folder: Path, state: Snapshot, key: str) -> None:
    """Write the files of a state into a draft folder."""
    save_file({name: value.contiguous() for name, value in state.tensors.items()}, folder / STATE_TENSORS)
    pq.write_table(state.curve.table(), folder / CURVE_FILE)
    plain = {"key": key, "step": state.step, "scaler": state.scaler, "history": state.history}
    storage.write_json(str(folder / STATE_FILE), plain)


def _starts(place: str) -> list[Start]:
    """Read the recorded starts; raises StorageError if the file is damaged."""
    data = storage.read_json(place)
    with manifests.damaged(place):
        starts: list[Start] = manifests.checked(list[Start], data)
        return starts


def _read(folder: Path) -> tuple[Snapshot, str]:
    """Read a state and its key; raises StorageError or an error of the file formats if the state is damaged."""
    place = str(folder / STATE_FILE)
    plain = manifests.mapping(place, "step", "scaler", "history", "key")
    table = storage.read_parquet(str(folder / CURVE_FILE))
    with manifests.damaged(place):
        state = Snapshot(
            manifests.checked(int, plain["step"]),
            load_file(folder / STATE_TENSORS),
            plain["scaler"],
            TrainingCurve.from_table(table),
            plain["history"],
        )
    return state, str(plain["key"])
