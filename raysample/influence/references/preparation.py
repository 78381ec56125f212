"""Prepare references: which folder each belongs to, what is missing, build that, write its manifest last."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from raysample.core import storage
from raysample.influence.references import features, gradients, inverse_hessian, null_model, priors
from raysample.influence.references.build_context import Builder, Notes, Work
from raysample.influence.references.folder import DIRECTIONS, MANIFEST, Request, point, step_file, write_tensors
from raysample.influence.scores.reference import Kind, Reference
from raysample.version import __version__

# Raised when a change of the numerics makes earlier references wrong: they are then built again.
NUMERICS = 1

BUILDERS: dict[Kind, Builder] = {
    "null_model": null_model.build_null_model,
    "priors": priors.build_priors,
    "target_gradient": gradients.build_target_gradients,
    "inverse_hessian": inverse_hessian.build_inverse_hessian,
    "features": features.build_features,
}


def _silent(_line: str) -> None:
    return None


def prepare_references(request: Request, wanted: Sequence[Reference], *, say: Callable[[str], None] = _silent) -> None:
    """Build what is missing of the wanted references below `request.folder`; what is there and whole stays.

    Whatever the numbers depend on is part of a folder's name: the rows and classes of the corpora, the contents of the
    checkpoints, the run's recipe, options, precision. What a build was interrupted in has no manifest and is built
    again.

    Args:
        request: from what.
        wanted: the references of all scores; repeated ones are built once.
        say: told what is built, one line at a time.

    Raises:
        ScoreError: an unknown target or option, a solver that failed, a run without a recipe.
        ProvenanceError: corpora, classes and checkpoints do not belong together.
    """
    references = list(dict.fromkeys(wanted))
    if not references:
        return
    work = Work.from_request(request, say)
    # All names first: a wrong target is told before anything is trained.
    names = {reference: _name(work, reference) for reference in references}
    for reference, name in names.items():
        if not storage.exists(storage.join(request.folder, name, MANIFEST)):
            _build(work, reference, name)
        point(request, reference, name)


def _name(work: Work, reference: Reference) -> str:
    target = str(reference.given.get("target"))
    spec = work.request.model
    of = [
        *(NUMERICS, reference.kind, list(reference.options), work.request.precision),
        *(spec.max_length, spec.freeze, spec.trust_remote_code),
        *([spec.tokenising] if spec.tokenising else []),
        *(work.corpus.fingerprint, work.trace.fingerprint, work.trace.corpus, work.trace.config, work.trace.seed),
        [[c.step, c.epoch, None if math.isnan(c.learning_rate) else c.learning_rate] for c in work.trace.checkpoints],
        work.target(target).fingerprint if reference.kind in DIRECTIONS else None,
    ]
    return f"{reference.key}-{storage.fingerprint(of)[:12]}"


def _build(work: Work, reference: Reference, name: str) -> None:
    work.say(f"  preparing {reference.key}")
    place, began = storage.join(work.request.folder, name), time.perf_counter()
    notes: Notes = {}
    steps = []
    for step, tensors in BUILDERS[reference.kind](work, reference, notes):
        write_tensors(step_file(place, step), tensors)
        steps.append(step)
    seconds = round(time.perf_counter() - began, 3)
    told = {
        "noun": "Reference",
        "kind": reference.kind,
        "options": dict(reference.options),
        "corpus": work.corpus.fingerprint,
        "checkpoints": work.trace.fingerprint,
        "steps": steps,
        "notes": notes,
        "seconds": seconds,
        "raysample": __version__,
    }
    storage.write_json(storage.join(place, MANIFEST), told)
    work.say(f"  prepared {reference.key} in {seconds:.1f} s")
