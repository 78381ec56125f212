"""The context of a reference builder: the opened artifacts of a request, its models and target corpora on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raysample import models
from raysample.core import storage
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.core.numerics import precision
from raysample.core.progress import Say
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.references.folder import Request, Tensors
from raysample.influence.scores.reference import Reference

Notes = dict[str, Any]


@dataclass(frozen=True)
class BuildContext:
    """A request with its opened corpus and checkpoint set, the device, and a callback `say` for progress lines."""

    request: Request
    corpus: Corpus
    run: CheckpointSet
    device: str
    say: Say

    @staticmethod
    def from_request(request: Request, say: Say) -> BuildContext:
        """Open the artifacts of a request; raises ProvenanceError if corpus and checkpoints have different classes."""
        corpus, run = Corpus.load(request.corpus), CheckpointSet.load(request.checkpoints)
        _check_labels(corpus, run, "the scored corpus")
        return BuildContext(request, corpus, run, precision.device(), say)

    def model(self, at: Checkpoint) -> nn.Module:
        """Return the model of a checkpoint on the device, in eval mode.

        Parameters that the user froze require no gradient.
        """
        spec, folder = self.request.model, storage.localise(at.uri)
        checkpoint_set.verify_checkpoint(folder, at.files)
        found = models.load_model(folder, trust_remote_code=spec.trust_remote_code, freeze=spec.freeze)
        return found.to(self.device)

    def tokenizer(self) -> Any:
        """Return the tokenizer of the run."""
        place = storage.localise(self.run.tokenizer)
        return models.tokenizer(place, trust_remote_code=self.request.model.trust_remote_code)

    def autocast(self, network: nn.Module) -> torch.dtype | None:
        """Return the lower precision of the request, or None for float32."""
        return precision.resolve(self.request.precision, network, self.device)

    def target(self, name: str) -> Corpus:
        """Return a target corpus by name.

        Raises ScoreError or ProvenanceError if it is missing, empty or of other classes.
        """
        known = self.request.targets
        if name not in known:
            raise ScoreError(
                f"there is no target {name!r}; score.targets has {', '.join(sorted(known)) or 'none'}",
                "name a corpus in score.targets, as corpus.test is described, and let the score point to it",
            )
        corpus = Corpus.load(known[name])
        _check_labels(corpus, self.run, f"the target {name!r}")
        if corpus.rows == 0:
            raise ScoreError(f"the target {name!r} has no row", "widen its `where`, or point to another corpus")
        return corpus


Builder = Callable[[BuildContext, Reference, Notes], Iterator[tuple[int, Tensors]]]
"""Builds a reference: yields (step, tensors) and fills its last argument with notes for the manifest."""


def _check_labels(corpus: Corpus, run: CheckpointSet, what: str) -> None:
    """Raise ProvenanceError unless corpus and checkpoints have the same classes in the same order."""
    if corpus.labels != run.labels:
        raise ProvenanceError(
            f"{what} has the classes {_listed(corpus.labels)}, the checkpoints know {_listed(run.labels)}",
            "describe it with the labels of the checkpoints",
        )


def _listed(labels: tuple[str, ...]) -> str:
    """Return class names for an error message, eight at most."""
    return ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")


def reference_options(reference: Reference, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference's options merged over the defaults; raises ScoreError for an unknown option."""
    unknown = sorted(set(reference.given) - set(defaults))
    if unknown:
        raise ScoreError(
            f"a reference of kind {reference.kind!r} has no option {unknown[0]!r}", f"choose of {', '.join(defaults)}"
        )
    return {**defaults, **reference.given}


def among(reference: Reference, name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ScoreError unless an option's value is one of the allowed ones."""
    if value not in allowed:
        raise ScoreError(
            f"{reference.kind!r}: option {name!r} is {value!r}", f"choose {' or '.join(map(repr, allowed))}"
        )
