"""`priors`: the prediction of an ideal null model, in closed form."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from raysample.influence.references.build_context import BuildContext, Notes, reference_options
from raysample.influence.references.folder import Tensors
from raysample.influence.scores.reference import Reference


def build_priors(work: BuildContext, reference: Reference, notes: Notes) -> Iterator[tuple[int, Tensors]]:
    """Yield `log_p` [C]: ln(n_c / n) of the scored corpus, `-inf` for a class without rows; equal at every step.

    A null model without regularisation converges to it: of all predictions that ignore the input it has the smallest
    cross-entropy on these rows.
    """
    reference_options(reference, {})
    counts = torch.tensor(work.corpus.class_counts, dtype=torch.float64)
    notes["class_counts"] = list(work.corpus.class_counts)
    log_p = (counts / counts.sum()).log().float()
    for checkpoint in work.run.checkpoints:
        yield checkpoint.step, {"log_p": log_p}
