"""The rows that a job trains and evaluates on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysample.core.arrays import IntArray
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import ProvenanceError, SelectionError, TrainingError
from raysample.data.corpus import Corpus
from raysample.selection import Selection
from raysample.selection.redraws import check_draws
from raysample.training import EpochRows, Examples, LossPrunedRows, TokenizedCorpus, load_tokenized
from raysample.training.early_stopping import split_held_out
from raysample.training.fine_tuning.job import Job
from raysample.training.losses import class_weights


def training_rows(job: Job, corpus: Corpus) -> tuple[Examples | EpochRows | LossPrunedRows, Examples | None]:
    """Return the weighted training rows, or those of each epoch, and the rows that early stopping evaluates or None.

    Early stopping goes by the validation corpus of the job; without one it holds training rows out.
    """
    data = load_examples(job.train, corpus.fingerprint, job.base, job.model).headed(job.config)
    if job.redraws:
        return redrawn_rows(job, data, corpus), None
    data = data if job.selection is None else selected_rows(data, corpus, job.selection)
    stopping, held_out = job.config.early_stopping, None
    if stopping is not None and job.validation is not None:
        chooses = Corpus.load(job.validation)
        held_out = load_examples(chooses.uri, chooses.fingerprint, job.base, job.model).headed(job.config)
    elif stopping is not None:
        data, held_out = split_held_out(data, stopping, job.config.seed)
    data, dynamic = _class_weighted(data, job.config, corpus), job.config.dynamic
    if dynamic is not None and dynamic.infobatch is not None:
        return LossPrunedRows(data, dynamic.infobatch, job.config.seed), None
    return data, held_out


def _class_weighted(data: Examples, config: FineTuneConfig, corpus: Corpus) -> Examples:
    """Return the rows with their weights multiplied by those of their classes."""
    if config.class_weights is None:
        return data
    weights = class_weights(config.class_weights, data.labels, corpus.labels)
    return data.weighted(weights if data.weights is None else weights * data.weights)


def redrawn_rows(job: Job, data: Examples, corpus: Corpus) -> EpochRows:
    """Return the rows of each epoch, weighted as those of a fixed selection are.

    Raises:
        SelectionError: the draws keep different numbers of rows, or a row that the corpus does not have.
        ProvenanceError: a draw was made from another corpus.
        TrainingError: early stopping or capture, which need the same rows in every epoch.
    """
    recipe = job.config
    if recipe.early_stopping is not None or (recipe.capture and job.folder is not None):
        raise TrainingError(
            f"fine_tune.{'capture' if recipe.capture else 'early_stopping'} needs the same rows in every epoch, and "
            f"this training draws them anew for each of {1 + len(job.redraws)} epochs",
            "turn one of the two off",
        )
    assert job.selection is not None
    uris = (job.selection, *job.redraws)
    check_draws([Selection.load(uri) for uri in uris])
    places, weights = list[IntArray](), list[NDArray[np.float32] | None]()
    for uri in uris:
        kept, by_draw = _kept_places(data, corpus, uri)
        places.append(kept)
        weights.append(_class_weighted(data.take(kept).weighted(by_draw), recipe, corpus).weights)
    return EpochRows(data, tuple(places), tuple(weights))


def load_examples(uri: str, fingerprint: str, base: str, config: ModelConfig) -> Examples:
    """Read and tokenise a corpus; cached, since a worker trains many arms on the same rows."""
    return load_tokenized(uri, fingerprint, base, config).examples


def corpora_of(job: Job) -> dict[str, TokenizedCorpus]:
    """Return the full training (`train`), test (`test`) and, if it has one, `validation` corpus of a job."""
    uris = {"train": job.train, "validation": job.validation, "test": job.test}
    named = {name: Corpus.load(uri) for name, uri in uris.items() if uri is not None}
    return {name: load_tokenized(rows.uri, rows.fingerprint, job.base, job.model) for name, rows in named.items()}


def selected_rows(data: Examples, corpus: Corpus, uri: str) -> Examples:
    """Return the rows of a corpus that the selection at `uri` keeps, with its weights.

    Raises:
        ProvenanceError: the selection was made from another corpus.
        SelectionError: the selection keeps rows that the corpus does not have.
    """
    places, weights = _kept_places(data, corpus, uri)
    return data.take(places).weighted(weights)


def _kept_places(data: Examples, corpus: Corpus, uri: str) -> tuple[IntArray, NDArray[np.float32]]:
    """Return the positions, ascending, and the weights of the rows that the selection at `uri` keeps, [n] each.

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
    return rows[order].astype(np.int64), kept["weight"].to_numpy()[order]
