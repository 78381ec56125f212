"""The rows that a job trains and evaluates on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysample.core.config import ModelConfig
from raysample.core.errors import ProvenanceError, SelectionError
from raysample.data.corpus import Corpus
from raysample.selection import Selection
from raysample.training import Examples, TokenizedCorpus, load_tokenized
from raysample.training.early_stopping import split_held_out
from raysample.training.fine_tuning.job import Job
from raysample.training.losses import class_weights


def training_rows(job: Job, corpus: Corpus) -> tuple[Examples, Examples | None]:
    """Return the weighted training rows, and the held-out rows of early stopping or None."""
    data = load_examples(job.train, corpus.fingerprint, job.base, job.model).headed(job.config)
    data = data if job.selection is None else selected_rows(data, corpus, job.selection)
    stopping, wanted = job.config.early_stopping, job.config.class_weights
    data, held_out = (data, None) if stopping is None else split_held_out(data, stopping, job.config.seed)
    if wanted is not None:
        weights = class_weights(wanted, data.labels, corpus.labels)
        data = data.weighted(weights if data.weights is None else weights * data.weights)
    return data, held_out


def load_examples(uri: str, fingerprint: str, base: str, config: ModelConfig) -> Examples:
    """Read and tokenise a corpus; cached, since a worker trains many arms on the same rows."""
    return load_tokenized(uri, fingerprint, base, config).examples


def corpora_of(job: Job) -> dict[str, TokenizedCorpus]:
    """Return the full training (`train`) and test (`test`) corpus of a job."""
    named = {"train": Corpus.load(job.train), "test": Corpus.load(job.test)}
    return {name: load_tokenized(rows.uri, rows.fingerprint, job.base, job.model) for name, rows in named.items()}


def selected_rows(data: Examples, corpus: Corpus, uri: str) -> Examples:
    """Return the rows of a corpus that the selection at `uri` keeps, with its weights.

    Raises:
        ProvenanceError: the selection was made from another corpus.
        SelectionError: the selection keeps rows that the corpus does not have.
    """
    selection = Selection.load(uri)
    if selection.corpus != corpus.fingerprint:
        raise ProvenanceError(
            f"the selection {uri!r} was made from another corpus than {corpus.uri!r}",
            "score and sample this corpus, or train on the corpus that the selection names",
        )
    kept = selection.kept()
    rows = pd.Index(data.ids).get_indexer(kept["row_id"].to_numpy())
    if (rows < 0).any():
        raise SelectionError(
            f"{int((rows < 0).sum())} of the {len(rows)} rows that the selection {uri!r} keeps are not in the corpus",
            "sample again from the score table of this corpus",
        )
    order = np.argsort(rows)
    return data.take(rows[order]).weighted(kept["weight"].to_numpy()[order])
