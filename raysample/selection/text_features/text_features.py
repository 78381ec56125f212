"""Features of texts and of pairs of texts for the probe, with what has to be recorded of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raysample.core.config import ModelConfig
from raysample.models.sentence_vectors import SentenceEncoder
from raysample.selection.text_features.ngrams import DIMENSION, NgramProjection, fit_ngrams

Vectors = npt.NDArray[np.float16]
PAIR_DIMENSION = DIMENSION // 2
"""Dimension of the n-gram vector of each text of a pair, whose features are four times as wide."""


@dataclass(frozen=True)
class TextFeatures:
    """A function of texts (and pairs) to features, with its description.

    Attributes:
        vectors: maps texts to vectors of length 1, [N, D] float16.
        source: `ngrams`, or the encoder's folder or name.
        pooling: how a text's vector comes from its parts.
    """

    vectors: Callable[[Sequence[str]], Vectors]
    source: str
    pooling: str

    def __call__(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> Vectors:
        """Return the features of rows, [N, D] float16, or [N, 4 D] with pairs (`pair_features`)."""
        first = self.vectors(texts)
        if pairs is None:
            return first
        second = self.vectors(["" if pair is None else pair for pair in pairs])
        second[[pair is None for pair in pairs]] = 0
        return pair_features(first, second)


def pair_features(first: Vectors, second: Vectors) -> Vectors:
    """Return (u, v, |u − v|, √D · u ∘ v) of vectors [N, D], [N, 4 D] float16: all four parts have lengths near 1.

    Source: Conneau et al. 2017, arXiv 1705.02364, who do not scale the product: its length is near 1/√D, so a penalised
    regression would hardly use it.
    """
    u, v = first.astype(np.float32), second.astype(np.float32)
    parts = [u, v, np.abs(u - v), u * v * np.float32(np.sqrt(u.shape[1]))]
    return np.concatenate(parts, axis=1).astype(np.float16)


def ngram_features(texts: Sequence[str], pairs: Sequence[str | None] | None = None, seed: int = 0) -> TextFeatures:
    """Fit n-gram features on texts, and on their pairs if there are any. Raises CorpusError as `fit_ngrams`.

    >>> features = ngram_features(["play a song", "set an alarm", "play the song", "set the alarm"])
    >>> features(["play it", "stop the alarm"]).shape[0]
    2
    """
    return projected(fit_projection(texts, pairs, seed))


def fit_projection(texts: Sequence[str], pairs: Sequence[str | None] | None = None, seed: int = 0) -> NgramProjection:
    """Fit the projection of n-grams on texts and their pairs; of half the dimension if there are pairs."""
    every = [*texts, *(pair for pair in pairs or () if pair is not None)]
    return fit_ngrams(every, PAIR_DIMENSION if pairs is not None else DIMENSION, seed)


def projected(projection: NgramProjection) -> TextFeatures:
    """Return the features of a fitted projection."""
    return TextFeatures(projection.transform, "ngrams", f"singular vectors of tf-idf, {projection.dimension}")


def encoder_features(config: ModelConfig, device: str = "cpu") -> TextFeatures:
    """Return the features of a frozen encoder. Raises ModelError as `SentenceEncoder.load`."""
    return TextFeatures(SentenceEncoder.load(config, device).vectors, config.path, "mean of last hidden states")
