"""Labelled texts: where they lie, what they are, which of them are usable. Described, never copied."""

from raysample.corpus.corpus import Corpus
from raysample.corpus.description import describe
from raysample.corpus.levels import Levels
from raysample.corpus.schema import QUARANTINE, SCHEMA, Shard

__all__ = ["QUARANTINE", "SCHEMA", "Corpus", "Levels", "Shard", "describe"]
