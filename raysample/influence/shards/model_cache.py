"""The models of checkpoints on a device: all of them, or as many as fit in memory while the others take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from torch import nn

from raysample import models
from raysample.core import storage
from raysample.core.config import ModelConfig
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet

ModelKey = tuple[str, int]


class ModelCache:
    """Holds at most `capacity` models at a time, over all runs; None holds every model that was loaded.

    The first `capacity` - 1 models stay for good; all other models share the last slot. A loop over more models than
    fit (checkpoint 0, 1, 2, ..., 0, 1, 2, ...) would miss on every access in a cache that keeps the newest models; here
    it hits on every resident one.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self._resident: dict[ModelKey, nn.Module] = {}
        self._shared: dict[ModelKey, nn.Module] = {}

    def get(self, key: ModelKey, load: Callable[[], nn.Module]) -> nn.Module:
        """Return a model, loaded if missing; the model that it replaces is released before the load."""
        for position in (self._resident, self._shared):
            if key in position:
                return position[key]
        stays = self.capacity is None or len(self._resident) < self.capacity - 1
        position = self._resident if stays else self._shared
        if not stays:
            self._shared.clear()
        position[key] = load()
        return position[key]


class Models(Sequence[nn.Module]):
    """The models of a run's checkpoints, each loaded on access and verified against its hashes on its first load.

    Checkpoints on an object store are copied to the local disk once.
    """

    def __init__(self, checkpoint_set: CheckpointSet, spec: ModelConfig, device: str, cache: ModelCache) -> None:
        self.checkpoint_set, self.spec, self.device, self.cache = checkpoint_set, spec, device, cache
        self._folders: dict[int, str] = {}

    @property
    def stay(self) -> bool:
        """Whether every model stays in memory once it is loaded."""
        return self.cache.capacity is None

    def __len__(self) -> int:
        return len(self.checkpoint_set.checkpoints)

    @overload
    def __getitem__(self, at: int) -> nn.Module: ...
    @overload
    def __getitem__(self, at: slice) -> list[nn.Module]: ...
    def __getitem__(self, at: int | slice) -> nn.Module | list[nn.Module]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        position = range(len(self))[at]
        return self.cache.get((self.checkpoint_set.uri, position), lambda: self._load(position))

    def _load(self, position: int) -> nn.Module:
        """Return the model of one checkpoint on the device; download and verify the checkpoint's folder once."""
        if position not in self._folders:
            checkpoint = self.checkpoint_set.checkpoints[position]
            folder = storage.localise(checkpoint.uri)
            checkpoint_set.verify_checkpoint(folder, checkpoint.files)
            self._folders[position] = folder
        spec = self.spec
        found = models.load_model(self._folders[position], trust_remote_code=spec.trust_remote_code, freeze=spec.freeze)
        return found.to(self.device)
