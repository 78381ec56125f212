"""Labelled texts: where they lie, what they are, which of them are usable. Described, never copied."""

from raysample.data.corpus.corpus import Corpus
from raysample.data.corpus.description import describe_source
from raysample.data.labels.levels import Levels
from raysample.data.schema import CORPUS_SCHEMA, QUARANTINE, Shard

__all__ = ["CORPUS_SCHEMA", "QUARANTINE", "Corpus", "Levels", "Shard", "describe_source"]
