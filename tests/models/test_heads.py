"""Heads of several levels and perceptron heads: built, saved, loaded here and by Hugging Face, scored exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.errors import ModelError
from raysample.data.corpus import Levels
from raysample.influence.verification.slow_twin import collect_slowly
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.visit import collect
from raysample.models import heads
from raysample.testing import Family, tiny_batch, tiny_model, tiny_tokenizer
from tests.helpers.oracles import grad_dots, grad_norms

LEVELS = Levels(("domain", "intent"), (("home", "music"), ("off", "on", "play")), 0)
SOME: tuple[Family, ...] = ("bert", "roberta", "distilbert", "gpt2")


def base(folder: Path, family: Family = "bert") -> str:
    models.save_model(tiny_model(family), tiny_tokenizer(family), folder)
    return str(folder)


def built(folder: Path, family: Family = "bert", levels: Levels | None = None, hidden: tuple[int, ...] = ()) -> Any:
    names = ("a", "b", "c") if levels is None else levels.classes[levels.label]
    config = ModelConfig(path=str(folder), head_hidden=list(hidden), dropout=0)
    network: Any = models.build_model(base(folder, family), config, names, seed=3, levels=levels)
    # Wider draws than usual, as in `tiny_model`, so that examples differ visibly.
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if not name.startswith(f"{network.base_model_prefix}."):
                weight.mul_(5)
    return network


def saved(network: nn.Module, folder: Path, family: Family = "bert") -> str:
    models.save_model(network, tiny_tokenizer(family), folder)
    return str(folder)


def logits(network: Any, **options: Any) -> torch.Tensor:
    inputs, _ = tiny_batch(**options)
    with torch.no_grad():
        found: torch.Tensor = network(**inputs).logits
    return found


@pytest.mark.parametrize("family", SOME)
@pytest.mark.parametrize("label", [0, 1])
def test_hugging_face_loads_the_scored_levels_classifier(label: int, family: Family, tmp_path: Path) -> None:
    levels = Levels(LEVELS.names, LEVELS.classes, label)
    network = built(tmp_path / "base", family, levels)
    everything = logits(network)
    assert everything.shape == (6, 5)
    folder = saved(network, tmp_path / "saved", family)
    foreign = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(logits(foreign), everything[:, levels.spans[label]], rtol=1e-6, atol=1e-6)
    assert tuple(foreign.config.id2label.values()) == levels.classes[label]
    ours: Any = models.load_model(folder)
    assert torch.equal(logits(ours), logits(foreign))
    assert type(models.heads.last_linear(ours)[1]) is nn.Linear


@pytest.mark.parametrize("hidden", [(), (7, 5)])
@pytest.mark.parametrize("family", SOME)
def test_all_levels_come_back(family: Family, hidden: tuple[int, ...], tmp_path: Path) -> None:
    network = built(tmp_path / "base", family, LEVELS, hidden)
    folder = saved(network, tmp_path / "saved", family)
    every: Any = models.load_model(folder, levels=True)
    torch.testing.assert_close(logits(every), logits(network), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(logits(models.load_model(folder)), logits(network)[:, :2], rtol=1e-6, atol=1e-6)
    again = saved(every, tmp_path / "again", family)
    for name in ("heads.safetensors", "model.safetensors"):
        ours, theirs = load_file(f"{folder}/{name}"), load_file(f"{again}/{name}")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert json.loads(Path(folder, "config.json").read_text()) == json.loads(Path(again, "config.json").read_text())


@pytest.mark.parametrize("family", SOME)
def test_a_perceptron_head_survives_and_hugging_face_refuses_to_guess_it(family: Family, tmp_path: Path) -> None:
    network = built(tmp_path / "base", family, hidden=(7, 5))
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)][-3:]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(16, 7), (7, 5), (5, 3)]
    folder = saved(network, tmp_path / "saved", family)
    torch.testing.assert_close(logits(models.load_model(folder)), logits(network), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForSequenceClassification.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder).eval()
    inputs, _ = tiny_batch()
    with torch.no_grad():
        assert torch.equal(encoder(**inputs)[0], network.base_model.eval()(**inputs)[0])


def test_a_perceptron_as_wide_as_the_encoder_is_refused_too(tmp_path: Path) -> None:
    """Its last layer has the shape that the plain classifier would have: only the stored zero tells them apart."""
    folder = saved(built(tmp_path / "base", hidden=(16,)), tmp_path / "saved")
    with pytest.raises(RuntimeError, match="mismatch"):
        AutoModelForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize("family", SOME)
def test_gradients_over_a_perceptron_head_are_exact(family: Family, tmp_path: Path) -> None:
    network = models.load_model(saved(built(tmp_path / "base", family, LEVELS, (7, 5)), tmp_path / "saved", family))
    inputs, labels = tiny_batch(labels=2)
    generator = torch.Generator().manual_seed(0)
    directions = {n: torch.randn(2, *w.shape, generator=generator) for n, w in network.named_parameters()}
    assert sum(name.endswith(".weight") for name in directions if "classifier" in name or "score" in name) >= 3
    needs = Need.LOGITS | Need.FEATURES | Need.GRAD_NORMS | Need.GRAD_DOTS | Need.EMBEDDING_GRADS
    seen = collect(network, inputs, labels, needs, frozenset({"logit"}), directions={"some": directions})
    torch.testing.assert_close(seen.grad_norms, grad_norms(network, inputs, labels), rtol=1e-4, atol=1e-5)
    dots = grad_dots(network, inputs, labels, directions)
    torch.testing.assert_close(seen.grad_dots["some"], dots, rtol=1e-3, atol=1e-4)
    assert seen.features is not None
    assert seen.features.shape == (6, 5)
    for row in range(6):
        length = int(inputs["attention_mask"][row].sum())
        single = {name: value[row : row + 1, :length] for name, value in inputs.items()}
        slow = collect_slowly(network, single, labels[row : row + 1], needs & ~Need.GRAD_DOTS, frozenset({"logit"}))
        assert slow.features is not None
        torch.testing.assert_close(seen.features[row], slow.features[0], rtol=1e-4, atol=1e-5)
        fast = seen.embedding_grads["logit"][row, :length]
        torch.testing.assert_close(fast, slow.embedding_grads["logit"].reshape(fast.shape), rtol=1e-3, atol=1e-5)


def test_the_scored_levels_gradients_are_those_of_a_plain_classifier(tmp_path: Path) -> None:
    """Same encoder, the head's rows of that level: the other levels leave no trace in what is scored."""
    network = built(tmp_path / "base", "bert", LEVELS)
    plain = tiny_model("bert", labels=2)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("classifier")}
    span = LEVELS.spans[0]
    head = {f"classifier.{kind}": getattr(network.classifier, kind)[span] for kind in ("weight", "bias")}
    plain.load_state_dict({**state, **head})
    loaded = models.load_model(saved(network, tmp_path / "saved"))
    inputs, labels = tiny_batch(labels=2)
    ours, theirs = (collect(m, inputs, labels, Need.LOGITS | Need.GRAD_NORMS) for m in (loaded, plain))
    assert ours.grad_norms is not None
    assert theirs.grad_norms is not None
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.grad_norms, theirs.grad_norms)


def test_a_head_is_drawn_from_the_seed_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    place = base(tmp_path / "base")
    config = ModelConfig(path=place, head_hidden=[7])
    state = torch.random.get_rng_state()
    first, again, other = (models.build_model(place, config, ("a", "b"), seed) for seed in (1, 1, 2))
    folder = saved(first, tmp_path / "saved")
    models.load_model(folder)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(logits(first), logits(again))
    assert not torch.equal(logits(first), logits(other))
    dropouts = [module.p for module in first.get_submodule("classifier").modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [heads.DROPOUT]


def test_a_base_with_heads_of_another_task_gets_new_ones(tmp_path: Path) -> None:
    place = saved(built(tmp_path / "base", "bert", LEVELS, (7, 5)), tmp_path / "saved")
    fresh: Any = models.build_model(place, ModelConfig(path=place), ("a", "b", "c"), 0)
    assert logits(fresh).shape == (6, 3)
    folder = saved(fresh, tmp_path / "plain")
    assert heads.ENTRY not in json.loads(Path(folder, "config.json").read_text())
    assert not Path(folder, heads.HEADS_FILE).exists()
    assert logits(AutoModelForSequenceClassification.from_pretrained(folder).eval()).equal(logits(fresh))


def test_what_lacks_is_named(tmp_path: Path) -> None:
    folder = saved(built(tmp_path / "base", "bert", LEVELS, (7,)), tmp_path / "saved")
    Path(folder, heads.HEADS_FILE).unlink()
    with pytest.raises(ModelError, match=r"(?s)lacks 'hidden\.0\.weight'.*copy the whole folder"):
        models.load_model(folder)
    plain = saved(tiny_model(), tmp_path / "plain")
    with pytest.raises(ModelError, match="one head and no levels"):
        models.load_model(plain, levels=True)


def test_the_size_of_a_folder_counts_its_head(tmp_path: Path) -> None:
    network = built(tmp_path / "base", "bert", None, (7, 5))
    folder = saved(network, tmp_path / "saved")
    found = sum(weight.numel() for weight in network.parameters())
    assert found <= models.model_size(folder).parameters <= found + 1
