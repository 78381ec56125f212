"""One visit: fast gradients against the loop of `autograd.grad`, per family, and errors where no rule is exact."""

from __future__ import annotations

from typing import Any

import oracles
import pytest
import torch
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertForSequenceClassification, MPNetConfig, MPNetForSequenceClassification

from raysample.artifacts import Artifacts, Need, classifier, collect, embedding_module, join
from raysample.errors import ScoreError, UnsupportedModelError
from raysample.testing import FAMILIES, Family, tiny_batch, tiny_model

EVERYTHING = Need.LOGITS | Need.FEATURES | Need.GRAD_NORMS | Need.EMBEDDING_GRADS
OBJECTIVES = ("logit", "probability", "loss")


def batch_for(family: Family, rows: int = 6, length: int = 9) -> tuple[dict[str, Tensor], Tensor]:
    """Return a ragged mini-batch with repeated tokens and, where the family knows them, two token types."""
    inputs, labels = tiny_batch(rows, length, vocabulary=12)
    if family in ("bert", "electra"):
        inputs["token_type_ids"] = (torch.arange(length) > 3).long() * inputs["attention_mask"]
    return inputs, labels


def encoder(family: Family, seed: int = 0) -> nn.Module:
    model = tiny_model(family, seed=seed).double()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):  # as after training: neither ones nor zeros
            nn.init.normal_(module.weight, 1.0, 0.2, generator=torch.Generator().manual_seed(1))
            nn.init.normal_(module.bias, 0.0, 0.2, generator=torch.Generator().manual_seed(2))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_norms_equal_the_loop(family: Family) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family)
    fast = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    torch.testing.assert_close(fast, oracles.grad_norms(model, inputs, labels), rtol=1e-10, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_norms_of_long_rows_equal_the_loop(family: Family) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family, rows=3, length=60)  # the product form of the rule
    fast = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    torch.testing.assert_close(fast, oracles.grad_norms(model, inputs, labels), rtol=1e-10, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_embedding_gradients_equal_the_loop(family: Family, objective: str) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family)
    seen = collect(model, inputs, labels, Need.EMBEDDING_GRADS, frozenset({objective}))
    slow = oracles.embedding_grads(model, embedding_module(model), inputs, labels, objective)
    for fast, expected in zip(seen.embedding_grads[objective], slow, strict=True):
        torch.testing.assert_close(fast[: len(expected)], expected, rtol=1e-9, atol=1e-12)
        assert not fast[len(expected) :].any()  # padding gets no gradient


@pytest.mark.parametrize("family", FAMILIES)
def test_all_needs_at_once_give_what_each_gives_alone(family: Family) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family)
    seen = collect(model, inputs, labels, EVERYTHING, frozenset(OBJECTIVES))
    alone = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    torch.testing.assert_close(seen.grad_norms, alone)
    for objective in OBJECTIVES:
        one = collect(model, inputs, labels, Need.EMBEDDING_GRADS, frozenset({objective}))
        torch.testing.assert_close(seen.embedding_grads[objective], one.embedding_grads[objective])
    logits = model(**inputs).logits
    torch.testing.assert_close(seen.logits, logits)
    assert torch.equal(seen.mask, inputs["attention_mask"].bool())
    assert seen.features is not None
    torch.testing.assert_close(classifier(model)(seen.features), logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_parameters_with_requires_grad_count(family: Family) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family)
    model.base_model.embeddings.requires_grad_(False)
    fast = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    torch.testing.assert_close(fast, oracles.grad_norms(model, inputs, labels), rtol=1e-10, atol=0)
    # The last layer alone: ‖(p − y) [h, 1]ᵀ‖ = ‖p − y‖ √(1 + ‖h‖²).
    model.requires_grad_(False)
    classifier(model).requires_grad_(True)
    seen = collect(model, inputs, labels, Need.GRAD_NORMS | Need.FEATURES)
    assert seen.features is not None
    error = torch.from_numpy(oracles.el2n(seen.logits.numpy(), labels.numpy()))
    torch.testing.assert_close(seen.grad_norms, error * (1 + seen.features.square().sum(1)).sqrt(), rtol=1e-12, atol=0)


def test_a_visit_leaves_the_model_as_it_came() -> None:
    model, (inputs, labels) = tiny_model(), tiny_batch()
    model.train()
    model.bert.pooler.requires_grad_(False)
    before = [(name, weight.requires_grad, weight.clone()) for name, weight in model.named_parameters()]
    first = collect(model, inputs, labels, EVERYTHING, frozenset({"logit"}))
    assert model.training
    assert model.dropout.training
    for (name, trained, value), (_, weight) in zip(before, model.named_parameters(), strict=True):
        assert weight.requires_grad == trained, name
        assert weight.grad is None
        assert torch.equal(weight, value)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    again = collect(model, inputs, labels, EVERYTHING, frozenset({"logit"}))  # dropout off: the same once more
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.grad_norms, again.grad_norms)
    assert not first.logits.requires_grad


@pytest.mark.parametrize(
    ("needs", "objectives", "backwards"),
    [
        (Need.LOGITS | Need.FEATURES, [], 0),
        (Need.GRAD_NORMS, [], 1),
        (Need.EMBEDDING_GRADS, ["logit"], 1),
        (Need.GRAD_NORMS | Need.EMBEDDING_GRADS, ["loss"], 1),
        (EVERYTHING, ["logit"], 2),
        (EVERYTHING, ["logit", "loss"], 2),
    ],
)
def test_one_forward_and_at_most_two_backwards(
    monkeypatch: pytest.MonkeyPatch, needs: Need, objectives: list[str], backwards: int
) -> None:
    model, (inputs, labels) = tiny_model(), tiny_batch()
    calls: list[str] = []
    grad = torch.autograd.grad
    model.register_forward_hook(lambda *_: calls.append("forward"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (calls.append("backward"), grad(*a, **k))[1])
    collect(model, inputs, labels, needs, frozenset(objectives))
    assert calls == ["forward"] + ["backward"] * backwards


def test_no_weight_gradient_is_formed() -> None:
    # A weight gradient needs a graph edge to its weight; the frozen model has none, however much is asked for.
    model, (inputs, labels) = tiny_model(), tiny_batch()
    trained: list[bool] = []
    model.register_forward_hook(lambda m, *_: trained.append(any(w.requires_grad for w in m.parameters())))
    collect(model, inputs, labels, EVERYTHING, frozenset(OBJECTIVES))
    assert trained == [False]


def test_bfloat16_norms_are_near_those_of_float32() -> None:
    model, (inputs, labels) = tiny_model(hidden=32), tiny_batch(rows=16)
    exact = collect(model, inputs, labels, EVERYTHING, frozenset({"logit"}))
    rough = collect(model, inputs, labels, EVERYTHING, frozenset({"logit"}), autocast=torch.bfloat16)
    assert rough.grad_norms is not None
    assert {rough.grad_norms.dtype, rough.logits.dtype, rough.embedding_grads["logit"].dtype} == {torch.float32}
    assert not torch.equal(rough.logits, exact.logits)
    torch.testing.assert_close(rough.grad_norms, exact.grad_norms, rtol=0.1, atol=0)


def test_pieces_join_to_the_whole() -> None:
    model, (inputs, labels) = tiny_model().double(), tiny_batch()
    whole = collect(model, inputs, labels, EVERYTHING, frozenset({"logit"}))
    pieces = [
        collect(model, {k: v[cut] for k, v in inputs.items()}, labels[cut], EVERYTHING, frozenset({"logit"}))
        for cut in (slice(0, 2), slice(2, 6))
    ]
    joined: Artifacts = join(pieces)
    assert torch.equal(joined.labels, labels)
    assert torch.equal(joined.mask, whole.mask)
    for name in ("logits", "features", "grad_norms"):
        torch.testing.assert_close(getattr(joined, name), getattr(whole, name))
    torch.testing.assert_close(joined.embedding_grads["logit"], whole.embedding_grads["logit"])


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_outside_the_classes_are_refused(label: int) -> None:
    inputs, labels = tiny_batch()
    labels[2] = label
    with pytest.raises(ScoreError, match=r"classes 0 to 2[^$]*labels that the model was fine-tuned on"):
        collect(tiny_model(), inputs, labels, Need.LOGITS)


# What has no exact rule.


def small(**more: Any) -> dict[str, Any]:
    sizes = {"vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**sizes, "intermediate_size": 16, **more}


def refused(model: nn.Module, match: str, needs: Need = Need.GRAD_NORMS) -> None:
    inputs, labels = tiny_batch()
    with pytest.raises(UnsupportedModelError, match=match) as caught:
        collect(model, inputs, labels, needs, frozenset({"logit"}))
    assert "leave out the scores" in caught.value.advice
    assert not any(module._forward_hooks for module in model.modules())  # the failed visit cleaned up


def test_albert_repeats_its_layer() -> None:
    model = AlbertForSequenceClassification(AlbertConfig(**small(embedding_size=8)))
    refused(model, r"'albert\.encoder\.\S+' is called more than once")


def test_albert_embedding_gradients_are_exact_all_the_same() -> None:
    model = AlbertForSequenceClassification(AlbertConfig(**small(embedding_size=8, num_labels=3))).eval().double()
    inputs, labels = tiny_batch()
    seen = collect(model, inputs, labels, Need.EMBEDDING_GRADS, frozenset({"logit"}))
    slow = oracles.embedding_grads(model, embedding_module(model), inputs, labels, "logit")
    torch.testing.assert_close(seen.embedding_grads["logit"][0], slow[0])


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
    refused(model, "Bag has no module `base_model.embeddings`", Need.EMBEDDING_GRADS)


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
        (Flattened, r"'mix' handles a tensor of shape \[54, 4\], not 6 examples"),
        (Overwritten, "'head' has its input overwritten"),
    ],
)
def test_what_cannot_be_exact_is_an_error_that_names_the_module(kind: type[nn.Module], match: str) -> None:
    refused(kind(), match)


def test_a_wholly_frozen_model_has_no_norms() -> None:
    refused(tiny_model().requires_grad_(False), "no trainable parameter")


@pytest.mark.parametrize("rows", [6, 9])
def test_an_axis_of_tokens_never_passes_for_examples(rows: int) -> None:
    # MPNet looks up relative positions [T, T] in a table that all examples share; with 9 rows of 9 tokens B = T.
    model = MPNetForSequenceClassification(MPNetConfig(**small(num_labels=3)))
    inputs, labels = tiny_batch(rows, 9)
    with pytest.raises(UnsupportedModelError, match=r"'mpnet.encoder.relative_attention_bias' handles .* \[9, 9\]"):
        collect(model, inputs, labels, Need.GRAD_NORMS)


def test_as_many_rows_as_tokens_are_exact() -> None:
    model, (inputs, labels) = encoder("bert"), batch_for("bert", rows=9, length=9)
    fast = collect(model, inputs, labels, EVERYTHING, frozenset({"logit"})).grad_norms
    torch.testing.assert_close(fast, oracles.grad_norms(model, inputs, labels), rtol=1e-10, atol=0)


def test_a_module_without_a_linear_layer_has_no_features() -> None:
    refused(nn.Embedding(100, 3), "no linear layer", Need.FEATURES)


def test_a_model_is_watched_at_its_first_visit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (inputs, labels) = tiny_model(), tiny_batch()
    first = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    monkeypatch.delattr("raysample.numerics.recording._Watch")
    assert torch.equal(first, collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms)
