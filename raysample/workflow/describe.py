"""The corpora of a run, described from its configuration."""

from __future__ import annotations

from collections.abc import Sequence

from raysample.core import storage
from raysample.core.config import CorpusConfig
from raysample.core.map_fn import MapFn
from raysample.data.corpus import Corpus, describe_source
from raysample.data.corpus import overlap as overlaps
from raysample.data.simulated import simulated_sources, write_traffic
from raysample.workflow.layout import Workspace


def describe_both(wanted: CorpusConfig, space: Workspace, known: Sequence[str] | None) -> None:
    """Describe the training corpus and the test corpus, which has its classes and levels.

    Args:
        wanted: where they lie; simulated traffic is written first.
        space: of the run.
        known: class names in an order that is given; None for those that occur.
    """
    train, test, rows = wanted.train, wanted.test, wanted.shard_rows
    if wanted.simulated is not None:
        storage.remove(space.at("traffic"))
        write_traffic(wanted.simulated, space.at("traffic"))
        train, test = simulated_sources(space.at("traffic"))
    assert train is not None
    if test is not None:
        corpus = describe_source(train, space.train, labels=known, shard_rows=rows)
        describe_source(test, space.test, labels=corpus.labels, levels=corpus.levels, shard_rows=rows)
        return
    share = wanted.holdout
    corpus = describe_source(train, space.train, labels=known, part="train", holdout=share, shard_rows=rows)
    classes, levels = corpus.labels, corpus.levels
    describe_source(train, space.test, labels=classes, levels=levels, part="holdout", holdout=share, shard_rows=rows)


def find_overlap(space: Workspace, train: Corpus, test: Corpus, map_fn: MapFn) -> overlaps.Overlap:
    """Return which texts lie in both corpora; they are compared once."""
    found = overlaps.stored_overlap(space.overlap, train, test)
    if found is None:
        found = overlaps.overlap(train, test, map_fn)
        storage.write_json(space.overlap, found.to_dict())
    return found
