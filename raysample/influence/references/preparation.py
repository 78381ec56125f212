"""Prepare references: find the folder of each, build what is missing, write the manifest last."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from raysample.core import storage
from raysample.influence.references import features, gradients, inverse_hessian, null_model, priors
from raysample.influence.references.build_context import BuildContext, Builder, Notes
from raysample.influence.references.folder import (
    DIRECTIONS,
    REFERENCE_MANIFEST,
    Request,
    point,
    step_file,
    write_tensors,
)
from raysample.influence.scores.reference import Reference, ReferenceKind
from raysample.version import __version__

# Increased when a change of the numerics invalidates earlier references: they are then built again.
REFERENCE_NUMERICS = 1

BUILDERS: dict[ReferenceKind, Builder] = {
    "null_model": null_model.build_null_model,
    "priors": priors.build_priors,
    "target_gradient": gradients.build_target_gradients,
    "inverse_hessian": inverse_hessian.build_inverse_hessian,
    "features": features.build_features,
}


def _silent(_line: str) -> None:
    """Ignore a progress line."""
    return


def prepare_references(request: Request, wanted: Sequence[Reference], *, say: Callable[[str], None] = _silent) -> None:
    """Build the missing references below `request.folder`; complete ones are reused.

    Everything the numbers depend on is part of a folder's name: rows and classes of the corpora, contents of the
    checkpoints, the run's recipe, options, precision. An interrupted build has no manifest and is repeated.

    Args:
        request: the inputs.
        wanted: the references of all scores; duplicates are built once.
        say: receives progress, one line at a time.

    Raises:
        ScoreError: an unknown target or option, a solver that failed, a run without a recipe.
        ProvenanceError: corpora, classes and checkpoints do not match.
    """
    references = list(dict.fromkeys(wanted))
    if not references:
        return
    work = BuildContext.from_request(request, say)
    # All names first, so that a wrong target raises its error before anything is trained.
    names = {reference: _name(work, reference) for reference in references}
    for reference, name in names.items():
        if not storage.exists(storage.join(request.folder, name, REFERENCE_MANIFEST)):
            _build(work, reference, name)
        point(request, reference, name)


def _name(work: BuildContext, reference: Reference) -> str:
    """Return the folder name of a reference: its key and a hash of everything its numbers depend on."""
    target = str(reference.given.get("target"))
    spec = work.request.model
    of = [
        *(REFERENCE_NUMERICS, reference.kind, list(reference.options), work.request.precision),
        *(spec.max_length, spec.freeze, spec.trust_remote_code),
        spec.tokenising,
        *(work.corpus.fingerprint, work.run.fingerprint, work.run.corpus, work.run.config, work.run.seed),
        [[c.step, c.epoch, None if math.isnan(c.learning_rate) else c.learning_rate] for c in work.run.checkpoints],
        work.target(target).fingerprint if reference.kind in DIRECTIONS else None,
    ]
    return f"{reference.key}-{storage.fingerprint(of)[:12]}"


def _build(work: BuildContext, reference: Reference, name: str) -> None:
    """Build a reference into its folder, one file per checkpoint, the manifest last."""
    work.say(f"  preparing {reference.key}")
    place, began = storage.join(work.request.folder, name), time.perf_counter()
    notes: Notes = {}
    steps = []
    for step, tensors in BUILDERS[reference.kind](work, reference, notes):
        write_tensors(step_file(place, step), tensors)
        steps.append(step)
    seconds = round(time.perf_counter() - began, 3)
    manifest = {
        "noun": "Reference",
        "kind": reference.kind,
        "options": dict(reference.options),
        "corpus": work.corpus.fingerprint,
        "checkpoints": work.run.fingerprint,
        "steps": steps,
        "notes": notes,
        "seconds": seconds,
        "raysample": __version__,
    }
    storage.write_json(storage.join(place, REFERENCE_MANIFEST), manifest)
    work.say(f"  prepared {reference.key} in {seconds:.1f} s")
