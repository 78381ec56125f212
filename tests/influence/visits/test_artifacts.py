"""One visit: embedding gradients against the loop of `autograd.grad`, what it costs, how it leaves the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from raysample.core.errors import ScoreError
from raysample.core.numerics.forward_hooks import classifier, embedding_module
from raysample.influence.visits.artifacts import Artifacts, Need, join_artifacts
from raysample.influence.visits.visit import collect
from raysample.testing import FAMILIES, Family, tiny_batch, tiny_model
from tests.helpers import oracles
from tests.helpers.encoders import batch_for, directions_for, encoder

EVERYTHING = Need.LOGITS | Need.FEATURES | Need.GRAD_NORMS | Need.EMBEDDING_GRADS
OBJECTIVES = ("logit", "probability", "loss")


SITES = [*((family, "logit") for family in FAMILIES), ("bert", "probability"), ("llama", "loss"), ("albert", "loss")]


@pytest.mark.parametrize(("family", "objective"), SITES)
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
    embedding_module(model).requires_grad_(False)
    fast = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    torch.testing.assert_close(fast, oracles.grad_norms(model, inputs, labels), rtol=1e-10, atol=0)
    # The last layer alone: ‖(p − y) [h, 1]ᵀ‖ = ‖p − y‖ √(1 + ‖h‖²).
    model.requires_grad_(False)
    classifier(model).requires_grad_(True)
    seen = collect(model, inputs, labels, Need.GRAD_NORMS | Need.FEATURES)
    assert seen.features is not None
    error = torch.from_numpy(oracles.el2n(seen.logits.numpy(), labels.numpy()))
    biased = classifier(model).bias is not None  # decoders have no bias: ‖p − y‖ ‖h‖
    torch.testing.assert_close(
        seen.grad_norms, error * (biased + seen.features.square().sum(1)).sqrt(), rtol=1e-12, atol=0
    )


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
        (Need.GRAD_DOTS, [], 1),
        (EVERYTHING | Need.GRAD_DOTS, ["logit", "loss"], 2),
    ],
)
def test_one_forward_and_at_most_two_backwards(
    monkeypatch: pytest.MonkeyPatch, needs: Need, objectives: list[str], backwards: int
) -> None:
    model, (inputs, labels) = tiny_model(), tiny_batch()
    directions = {"target": directions_for(model, 3)}
    collect(model, inputs, labels, Need.GRAD_NORMS)  # proves the model, once
    calls: list[str] = []
    grad = torch.autograd.grad
    model.register_forward_hook(lambda *_: calls.append("forward"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (calls.append("backward"), grad(*a, **k))[1])
    collect(model, inputs, labels, needs, frozenset(objectives), directions=directions)
    assert calls == ["forward"] + ["backward"] * backwards


def test_no_weight_gradient_is_formed() -> None:
    # A weight gradient needs a graph edge to its weight; the frozen model has none, however much is asked for.
    model, (inputs, labels) = tiny_model(), tiny_batch()
    trained: list[bool] = []
    model.register_forward_hook(lambda m, *_: trained.append(any(w.requires_grad for w in m.parameters())))
    collect(model, inputs, labels, EVERYTHING, frozenset(OBJECTIVES))
    assert trained == [False]


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_near_float32(family: Family) -> None:
    model, (inputs, labels) = tiny_model(family, hidden=32), batch_for(family, rows=16)
    directions, needs = {"target": directions_for(model, 2)}, EVERYTHING | Need.GRAD_DOTS
    exact = collect(model, inputs, labels, needs, frozenset({"logit"}), directions=directions)
    rough = collect(model, inputs, labels, needs, frozenset({"logit"}), directions=directions, autocast=torch.bfloat16)
    assert rough.grad_norms is not None
    dots = rough.grad_dots["target"]
    assert {x.dtype for x in (rough.grad_norms, rough.logits, dots, rough.embedding_grads["logit"])} == {torch.float32}
    assert not torch.equal(rough.logits, exact.logits)
    torch.testing.assert_close(rough.grad_norms, exact.grad_norms, rtol=0.1, atol=0)
    error = (dots - exact.grad_dots["target"]).abs() / exact.grad_norms[:, None]  # a direction's length is about 100
    assert error.max() < 1


def test_pieces_join_to_the_whole() -> None:
    model, (inputs, labels) = tiny_model().double(), tiny_batch()
    needs, directions = EVERYTHING | Need.GRAD_DOTS, {"a": directions_for(model, 2), "b": directions_for(model, 1, 1)}
    whole = collect(model, inputs, labels, needs, frozenset({"logit"}), directions=directions)
    pieces = [
        collect(
            model,
            {k: v[cut] for k, v in inputs.items()},
            labels[cut],
            needs,
            frozenset({"logit"}),
            directions=directions,
        )
        for cut in (slice(0, 2), slice(2, 6))
    ]
    known = {"priors": {"log_p": torch.zeros(3)}}
    joined: Artifacts = join_artifacts([replace(piece, reference=known, keys=piece.labels) for piece in pieces])
    assert joined.reference is known
    assert torch.equal(joined.keys, labels)
    assert set(joined.grad_dots) == {"a", "b"}
    for key, dots in whole.grad_dots.items():
        torch.testing.assert_close(joined.grad_dots[key], dots)
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


def test_a_model_is_proven_at_its_first_visit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (inputs, labels) = tiny_model(), tiny_batch()
    first = collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms
    monkeypatch.delattr("raysample.influence.visits.visit.ParameterUseGuard")
    assert torch.equal(first, collect(model, inputs, labels, Need.GRAD_NORMS).grad_norms)
