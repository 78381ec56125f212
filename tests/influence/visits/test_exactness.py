"""Small modules of every awkward kind: exact, or an error that names the module, never a wrong number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raysample.core.errors import ScoreError, UnsupportedModelError
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.visit import collect
from raysample.testing import tiny_batch, tiny_model
from tests.helpers import oracles
from tests.helpers.encoders import directions_for


def refused(model: nn.Module, match: str, needs: Need = Need.GRAD_NORMS) -> None:
    inputs, labels = tiny_batch()
    with pytest.raises(UnsupportedModelError, match=match) as caught:
        collect(model, inputs, labels, needs, frozenset({"logit"}))
    assert "leave out the scores" in caught.value.advice
    assert ("method: loop" in caught.value.advice) is (needs == Need.GRAD_NORMS)
    assert not any(module._forward_hooks for module in model.modules())  # the failed visit cleaned up


class Bag(nn.Module):
    """A bag of words with one part too many; `extra` is called by each test's subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(100, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.pooled(self.table(input_ids), attention_mask))

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        return (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def test_tied_embeddings_share_a_parameter() -> None:
    model = Bag()
    model.back = nn.Linear(4, 100, bias=False)
    model.back.weight = model.table.weight
    refused(model, r"'back' shares its weight with 'table\.weight'")


def test_a_plain_module_is_exact_without_transformers() -> None:
    model, (inputs, labels) = Bag().double(), tiny_batch()
    fast = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    torch.testing.assert_close(fast, oracles.grad_norms(model, inputs, labels))
    refused(model, r"Bag has no module `base_model\.embeddings`", Need.EMBEDDING_GRADS)


class BareParameter(Bag):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.ParameterDict({"open": torch.ones(4)})

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        return super().pooled(words * self.gate["open"], mask)


class Functional(Bag):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pooled = self.pooled(self.table(input_ids), attention_mask)
        return nn.functional.linear(pooled, self.head.weight, self.head.bias)


class Unused(Bag):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.pooled(self.table(input_ids), attention_mask)


class Reused(Bag):
    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        return super().pooled(words, mask) + torch.stack([self.table.weight]).mean((0, 1))


class PositionsOfOneAxis(Bag):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(16, 4)

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        return super().pooled(words + self.places(torch.arange(words.shape[1])), mask)


class Flattened(Bag):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        return super().pooled(self.mix(words.flatten(0, 1)).view_as(words), mask)


class Overwritten(Bag):
    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        self.last = super().pooled(words, mask)
        return self.last

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = super().forward(input_ids, attention_mask)
        with torch.no_grad():
            self.last.zero_()
        return logits


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (BareParameter, r"'gate' \(ParameterDict with open\) has no exact gradient rule"),
        (Reused, "'table' has its weight used outside of it"),
        (Functional, "'head' has its weight used outside of it"),
        (Unused, "'head' is not called in the forward"),
        (PositionsOfOneAxis, r"'places' gets indices of shape \[9\]"),
        (Flattened, r"'mix' handles a tensor of shape \[9, 4\] for 1 example.*first axis is not the examples"),
        (Overwritten, "'head' has its input or output overwritten"),
    ],
)
def test_what_cannot_be_exact_is_an_error_that_names_the_module(kind: type[nn.Module], match: str) -> None:
    refused(kind(), match)


def test_a_wholly_frozen_model_has_no_norms() -> None:
    refused(tiny_model().requires_grad_(False), "no trainable parameter")


class RelativeBias(Bag):
    """Looks up relative positions [T, T] in a table that all examples share, as MPNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Embedding(40, 4)

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(words.shape[1])
        return super().pooled(words + self.bias(places[:, None] - places[None, :] + 20).mean(0), mask)


@pytest.mark.parametrize(("rows", "length"), [(6, 9), (9, 9), (4, 1)])
def test_an_axis_of_tokens_never_passes_for_examples(rows: int, length: int) -> None:
    inputs, labels = tiny_batch(rows, length)  # with 9 rows of 9 tokens B = T
    with pytest.raises(UnsupportedModelError, match=r"'bias' handles a tensor of shape \[\d, \d\] for 1 example"):
        collect(RelativeBias(), inputs, labels, Need.GRAD_NORMS)


class Twice(Bag):
    """Calls one layer on the words, then on their sum: inputs of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        return self.mix(super().pooled(self.mix(words).tanh(), mask))


def test_a_layer_called_twice_is_exact() -> None:
    model, (inputs, labels) = Twice().double(), tiny_batch()
    directions = directions_for(model, 3)
    needs = Need.GRAD_NORMS | Need.GRAD_DOTS
    seen = collect(model, inputs, labels, needs, directions={"target": directions})
    torch.testing.assert_close(seen.grad_norms, oracles.grad_norms(model, inputs, labels))
    torch.testing.assert_close(seen.grad_dots["target"], oracles.grad_dots(model, inputs, labels, directions))


def test_what_no_rule_can_do_the_loop_does() -> None:
    model, (inputs, labels) = BareParameter().double(), tiny_batch()
    model.gate.train()
    directions = directions_for(model, 2)
    needs = Need.GRAD_NORMS | Need.GRAD_DOTS | Need.FEATURES
    refused(model, "'gate'")
    seen = collect(model, inputs, labels, needs, directions={"target": directions}, by="loop")
    torch.testing.assert_close(seen.grad_norms, oracles.grad_norms(model, inputs, labels), rtol=1e-12, atol=0)
    torch.testing.assert_close(seen.grad_dots["target"], oracles.grad_dots(model, inputs, labels, directions))
    assert seen.features is not None
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    only = collect(model, inputs, labels, Need.GRAD_DOTS, directions={"target": directions}, by="loop")
    assert only.grad_norms is None
    model.requires_grad_(False)
    with pytest.raises(UnsupportedModelError, match="no trainable parameter"):
        collect(model, inputs, labels, needs, by="loop")


def test_directions_that_do_not_fit_are_refused_by_name() -> None:
    model, (inputs, labels) = Bag(), tiny_batch()
    whole = directions_for(model, 2)

    def asked(directions: dict[str, Tensor]) -> None:
        collect(model, inputs, labels, Need.GRAD_DOTS, directions={"target_gradient-1": directions})

    lacking = {name: value for name, value in whole.items() if name != "head.bias"}
    with pytest.raises(ScoreError, match=r"'target_gradient-1' do not fit.*lacks 'head\.bias'"):
        asked(lacking)
    with pytest.raises(ScoreError, match=r"'head\.weight' of shape \[2, 4, 3\], not \[2, 3, 4\]"):
        asked({**whole, "head.weight": whole["head.weight"].mT})
    with pytest.raises(ScoreError, match=r"'head\.bias' of shape \[1, 3\], not \[2, 3\]"):
        asked({**whole, "head.bias": whole["head.bias"][:1]})
    with pytest.raises(ScoreError, match=r"has 'tail', which the model has not"):
        asked({**whole, "tail": whole["head.bias"]})
    model.head.bias.requires_grad_(False)
    asked(lacking)
    asked(whole)
    assert collect(model, inputs, labels, Need.GRAD_NORMS, directions={"wrong": {}}).grad_dots == {}


class Tokenwise(Bag):
    """Classifies every token, and takes the logits of one by its own rule."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.table(input_ids) * attention_mask[..., None])[:, self.place]


def test_features_are_those_that_the_logits_came_from_or_refused() -> None:
    inputs, labels = tiny_batch()
    model = Tokenwise(-1)
    seen = collect(model, inputs, labels, Need.FEATURES)
    words = model.table(inputs["input_ids"]) * inputs["attention_mask"][..., None]
    torch.testing.assert_close(seen.features, words[:, -1])
    refused(Tokenwise(1), "logits of Tokenwise are not the output of its last linear layer", Need.FEATURES)
    refused(Functional(), "last linear layer of Functional is not called", Need.FEATURES)


def test_a_module_without_a_linear_layer_has_no_features() -> None:
    refused(nn.Embedding(100, 3), "no linear layer", Need.FEATURES)
