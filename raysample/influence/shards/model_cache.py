"""The models of checkpoints on a device: all of them, or as many as there is memory for, the others in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from torch import nn

from raysample import models
from raysample.core import storage
from raysample.core.config import ModelConfig
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet

Key = tuple[str, int]


class ModelCache:
    """Holds at most `room` models at a time, of all runs together; None: all that are asked for.

    The first ones to come stay for good; one place is left, for all others in turn. A loop over more models than there
    is room for finds more of them so than if the newest ones stayed.
    """

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self._kept: dict[Key, nn.Module] = {}
        self._guest: dict[Key, nn.Module] = {}

    def get(self, key: Key, load: Callable[[], nn.Module]) -> nn.Module:
        """Return a model, loaded if it is not there; the one whose place it takes is let go before."""
        for place in (self._kept, self._guest):
            if key in place:
                return place[key]
        stays = self.room is None or len(self._kept) < self.room - 1
        place = self._kept if stays else self._guest
        if not stays:
            self._guest.clear()
        place[key] = load()
        return place[key]


class Models(Sequence[nn.Module]):
    """The models of a run's checkpoints, each loaded when it is visited and checked when it is first loaded.

    Checkpoints on an object store are copied to the local disk once.
    """

    def __init__(self, trace: CheckpointSet, spec: ModelConfig, device: str, shelf: ModelCache) -> None:
        self.trace, self.spec, self.device, self.shelf = trace, spec, device, shelf
        self._folders: dict[int, str] = {}

    @property
    def stay(self) -> bool:
        """Whether every model stays once it is loaded."""
        return self.shelf.room is None

    def __len__(self) -> int:
        return len(self.trace.checkpoints)

    @overload
    def __getitem__(self, at: int) -> nn.Module: ...
    @overload
    def __getitem__(self, at: slice) -> list[nn.Module]: ...
    def __getitem__(self, at: int | slice) -> nn.Module | list[nn.Module]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        return self.shelf.get((self.trace.uri, place), lambda: self._load(place))

    def _load(self, place: int) -> nn.Module:
        if place not in self._folders:
            checkpoint = self.trace.checkpoints[place]
            folder = storage.localise(checkpoint.uri)
            checkpoint_set.verify_checkpoint(folder, checkpoint.files)
            self._folders[place] = folder
        spec = self.spec
        found = models.load_model(self._folders[place], trust_remote_code=spec.trust_remote_code, freeze=spec.freeze)
        return found.to(self.device)
