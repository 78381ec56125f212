"""Describe the corpora of a run from its configuration."""

from __future__ import annotations

from collections.abc import Sequence

from raysample.core import storage
from raysample.core.config import CorpusConfig
from raysample.core.map_fn import MapFn
from raysample.data.corpus import Corpus, describe_source
from raysample.data.corpus import overlap as overlaps
from raysample.data.simulated import simulated_sources, write_traffic
from raysample.workflow.layout import RunFolder


def describe_both(wanted: CorpusConfig, run_folder: RunFolder, known: Sequence[str] | None) -> None:
    """Describe the training corpus, and the test corpus with the classes and levels of training.

    Args:
        wanted: the sources; simulated traffic is written first.
        run_folder: the run folder.
        known: class names in a fixed order; None for those that occur.
    """
    train, test, rows = wanted.train, wanted.test, wanted.shard_rows
    if wanted.simulated is not None:
        storage.remove(run_folder.at("traffic"))
        write_traffic(wanted.simulated, run_folder.at("traffic"))
        train, test = simulated_sources(run_folder.at("traffic"))
    assert train is not None
    if test is not None:
        corpus = describe_source(train, run_folder.train, labels=known, shard_rows=rows)
        describe_source(test, run_folder.test, labels=corpus.labels, levels=corpus.levels, shard_rows=rows)
        return
    share = wanted.holdout
    corpus = describe_source(train, run_folder.train, labels=known, part="train", holdout=share, shard_rows=rows)
    classes, levels = corpus.labels, corpus.levels
    describe_source(
        train, run_folder.test, labels=classes, levels=levels, part="holdout", holdout=share, shard_rows=rows
    )


def find_overlap(run_folder: RunFolder, train: Corpus, test: Corpus, map_fn: MapFn) -> overlaps.Overlap:
    """Return the overlap of both corpora: the stored one, or a new one that is then stored."""
    result = overlaps.stored_overlap(run_folder.overlap, train, test)
    if result is None:
        result = overlaps.overlap(train, test, map_fn)
        storage.write_json(run_folder.overlap, result.to_dict())
    return result
