"""Sentence vectors are the mean of the last hidden states, whatever else is in the mini-batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.models import sentence_vectors as module
from raysample.models.sentence_vectors import SentenceEncoder
from raysample.selection.text_features.text_features import encoder_features
from raysample.testing import Family
from tests.helpers.model_folders import saved

TEXTS = ["the pond", "a moon", "red the old moss a moon the pond", "moss"]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_vectors_are_the_mean_over_the_tokens_of_a_text_alone(tmp_path: Path, family: Family) -> None:
    folder = saved(tmp_path / "base", family)
    found = SentenceEncoder.load(ModelConfig(path=folder, max_length=24)).vectors(TEXTS, tokens=24)
    encoder, words = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.inference_mode():
            states = encoder(**words(text, return_tensors="pt")).last_hidden_state[0]
        expected = states.mean(0) / states.mean(0).norm()
        np.testing.assert_allclose(vector.astype(np.float32), expected.numpy(), atol=2e-3)


def test_layers_are_those_of_the_configuration_and_no_text_is_no_vector(tmp_path: Path) -> None:
    folder = saved(tmp_path / "base")
    configs = [ModelConfig(path=folder, max_length=24, layers=n) for n in (1, 2)]
    one, two = (SentenceEncoder.load(config).vectors(TEXTS) for config in configs)
    assert not np.allclose(one, two, atol=1e-2)
    assert SentenceEncoder.load(configs[0]).vectors([]).shape == (0, one.shape[1])


def test_pairs_of_texts_are_encoded_apart(tmp_path: Path) -> None:
    features = encoder_features(ModelConfig(path=saved(tmp_path / "base"), max_length=24))
    single, pairs = features(TEXTS), features(TEXTS, [*TEXTS[1:], None])
    width = single.shape[1]
    assert pairs.shape == (4, 4 * width)
    np.testing.assert_allclose(pairs[:3, width : 2 * width], single[1:], atol=2e-3)
    assert not pairs[3, width : 2 * width].any()


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflown(encoder: object, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.full((len(batch["input_ids"]), 16), torch.inf)

    monkeypatch.setattr(module, "_pooled", overflown)
    with pytest.raises(ModelError, match="gives 4 texts vectors that are not finite"):
        SentenceEncoder.load(ModelConfig(path=saved(tmp_path / "base"))).vectors(TEXTS)
