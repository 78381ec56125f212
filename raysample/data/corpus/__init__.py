"""Labelled texts: where they lie, what they are, which of them are usable. Described, never copied."""

from raysample.data.corpus.corpus import Corpus
from raysample.data.corpus.description import describe_source
from raysample.data.labels.levels import Levels
from raysample.data.schema import QUARANTINE, SCHEMA, Shard

__all__ = ["QUARANTINE", "SCHEMA", "Corpus", "Levels", "Shard", "describe_source"]
