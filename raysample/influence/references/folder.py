"""The storage of references: one folder per content, one safetensors file per checkpoint, the manifest last.

::

    FOLDER/null_model-3f2a90c41b7e/step-000040.safetensors ... manifest.json
    FOLDER/requests/8d01.../null_model.json        maps a request to one of the folders

The folder's name holds a hash of everything the numbers depend on. The small file under `requests` saves readers from
computing that hash again, which would mean hashing adopted checkpoints on every read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import Tensor

from raysample.core import manifests, storage
from raysample.core.config import ModelConfig
from raysample.core.errors import ScoreError, StorageError
from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores.reference import Reference

REFERENCE_MANIFEST = "manifest.json"
DIRECTIONS = ("target_gradient", "inverse_hessian")
"""The kinds whose tensors are directions among the parameters."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Request:
    """The inputs of references and their storage; picklable and small.

    Attributes:
        corpus: URI of the scored Corpus.
        checkpoints: URI of the CheckpointSet.
        targets: name -> URI of a Corpus described with the checkpoints' labels.
        model: as in fine-tuning; tokenising, `freeze` and `trust_remote_code` matter here.
        batch_tokens: token budget of a mini-batch; changes results by rounding only, so it is not part of their
            identity.
        precision: precision of forwards and backwards; training and Hessians use their own.
        folder: URI of the folder for all references.
    """

    corpus: str
    checkpoints: str
    targets: dict[str, str]
    model: ModelConfig
    batch_tokens: int
    precision: Literal["float32", "bfloat16"]
    folder: str

    @property
    def key(self) -> str:
        """Identity of the request itself (not of the content at its URIs)."""
        return storage.fingerprint({**asdict(self), "model": self.model.to_dict()})[:16]


@dataclass(frozen=True)
class Loaded:
    """The references of one checkpoint, on a device.

    Attributes:
        tensors: reference key -> its tensors by name; for the kinds that are no directions.
        directions: reference key -> parameter name -> [M, *shape of the parameter]; for the kinds in DIRECTIONS.
    """

    tensors: dict[str, Tensors] = field(default_factory=dict)
    directions: dict[str, Tensors] = field(default_factory=dict)


def load_reference(request: Request, wanted: Sequence[Reference], at: Checkpoint, device: str) -> Loaded:
    """Read what `prepare` made for one checkpoint.

    Args:
        request: the one that was prepared.
        wanted: references, all prepared.
        at: the checkpoint.
        device: the device of the tensors.

    Raises:
        ScoreError: a reference was not prepared, or not for this checkpoint (features and inverse-Hessian directions
            are made for the last one).
        StorageError: a file is damaged.
    """
    found = Loaded()
    for reference in wanted:
        place = located(request, reference)
        steps = manifests.mapping(storage.join(place, REFERENCE_MANIFEST), "steps")["steps"]
        if at.step not in steps:
            raise ScoreError(
                f"{reference.key!r} was prepared for step {', '.join(map(str, steps))}, not for step {at.step}",
                "let the score look at the last checkpoint only (checkpoints: last)",
            )
        side = found.directions if reference.kind in DIRECTIONS else found.tensors
        side[reference.key] = read_tensors(step_file(place, at.step), device)
    return found


def located(request: Request, reference: Reference) -> str:
    """Return the folder of a prepared reference; raises ScoreError if it was not prepared."""
    uri = _pointer(request, reference)
    if not storage.exists(uri):
        raise ScoreError(
            f"{reference.key!r} was not prepared in {request.folder!r}", "call references.prepare before the scoring"
        )
    return storage.join(request.folder, str(manifests.mapping(uri, "folder")["folder"]))


def point(request: Request, reference: Reference, name: str) -> None:
    """Record that a reference of a request is in the folder `name`."""
    uri = _pointer(request, reference)
    if not storage.exists(uri) or storage.read_json(uri) != {"folder": name}:
        storage.write_json(uri, {"folder": name})


def _pointer(request: Request, reference: Reference) -> str:
    """Return the URI of the file that maps a reference of a request to its folder."""
    return storage.join(request.folder, "requests", request.key, f"{reference.key}.json")


def step_file(place: str, step: int) -> str:
    """Return the URI of the tensors of one checkpoint."""
    return storage.join(place, f"step-{step:06d}.safetensors")


def write_tensors(uri: str, tensors: Tensors) -> None:
    """Write tensors atomically as safetensors."""
    data = pack({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})

    def write(stream: Any) -> None:
        """Write the serialised tensors into a stream."""
        stream.write(data)

    storage.write_file(uri, write)


def read_tensors(uri: str, device: str) -> Tensors:
    """Read the result of `write_tensors` onto a device; raises StorageError if missing or damaged."""
    fs, path = storage.filesystem(uri)
    try:
        with fs.open(path, "rb") as stream:
            found: Tensors = unpack(stream.read())
    except (FileNotFoundError, SafetensorError) as error:
        raise StorageError(
            f"the reference {uri!r} is missing or damaged: {error}", "delete its folder and score again"
        ) from error
    return {name: tensor.to(torch.device(device)) for name, tensor in found.items()}
