"""Describe the corpora of a run from its configuration: training, validation if it has one, and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from raysample.core import storage
from raysample.core.config import CorpusConfig
from raysample.core.map_fn import MapFn
from raysample.data.corpus import Corpus, describe_source
from raysample.data.corpus import overlap as overlaps
from raysample.data.simulated import simulated_sources, write_traffic
from raysample.influence.label_origin import test_warnings
from raysample.workflow.checks import corpus_line, corpus_remarks
from raysample.workflow.context import RunContext
from raysample.workflow.layout import RunFolder


@dataclass(frozen=True)
class RunCorpora:
    """The corpora of a run: `train` trains, `validation` (None without `corpus.validation`) chooses, `test` judges."""

    train: Corpus
    test: Corpus
    validation: Corpus | None = None

    @staticmethod
    def load(run_folder: RunFolder, wanted: CorpusConfig) -> RunCorpora:
        """Read the corpora that `describe_corpora` wrote into a run folder."""
        validation = None if wanted.validation is None else Corpus.load(run_folder.validation)
        return RunCorpora(Corpus.load(run_folder.train), Corpus.load(run_folder.test), validation)

    def named(self) -> dict[str, Corpus]:
        """Return the corpora by name, in the order train, validation, test."""
        middle = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **middle, "test": self.test}

    def known(self) -> list[Corpus]:
        """Return the corpora that train or choose: a test row with a text of theirs is not new."""
        return [corpus for corpus in (self.train, self.validation) if corpus is not None]


def describe_corpora(wanted: CorpusConfig, run_folder: RunFolder, known: Sequence[str] | None) -> None:
    """Describe the training corpus, and the others with the classes and levels of training.

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
    side = partial(describe_source, train, shard_rows=rows, holdout=wanted.holdout, validation=wanted.validation)
    whole = wanted.holdout is None and wanted.validation is None
    corpus = side(run_folder.train, labels=known, part="all" if whole else "train")
    classes, levels = corpus.labels, corpus.levels
    if wanted.validation is not None:
        side(run_folder.validation, labels=classes, levels=levels, part="validation")
    if test is None:
        side(run_folder.test, labels=classes, levels=levels, part="holdout")
    else:
        describe_source(test, run_folder.test, labels=classes, levels=levels, shard_rows=rows)


def report_corpora(corpora: RunCorpora, run_folder: RunFolder, context: RunContext) -> None:
    """Report rows, classes and remarks of every corpus, and the texts that the test shares with the others."""
    for name, corpus in corpora.named().items():
        context.reporter.say(f"  {name}: {corpus_line(corpus)}")
        for remark in corpus_remarks(corpus):
            context.reporter.say(f"    {remark}")
    found = _overlap(run_folder, corpora, context.executor.map)
    if found.near_test_rows:
        context.reporter.say(f"  {overlaps.describe_overlap(found, corpora.test.rows)}")


def corpus_notes(corpora: RunCorpora, run_folder: RunFolder) -> tuple[str, ...]:
    """Return warnings about the corpora for readers of the comparison."""
    found = overlaps.stored_overlap(run_folder.overlap, corpora.known(), corpora.test)
    shared = found is not None and found.near_test_rows > 0
    repeats = (overlaps.describe_overlap(found, corpora.test.rows),) if found is not None and shared else ()
    return (*test_warnings(corpora.test), *repeats)


def _overlap(run_folder: RunFolder, corpora: RunCorpora, map_fn: MapFn) -> overlaps.Overlap:
    """Return what the test shares with training and validation: the stored one, or a new one that is then stored."""
    result = overlaps.stored_overlap(run_folder.overlap, corpora.known(), corpora.test)
    if result is None:
        result = overlaps.overlap(corpora.known(), corpora.test, map_fn)
        storage.write_json(run_folder.overlap, result.to_dict())
    return result
