"""The rules for each type of module, norms and dot products, against autograd one example at a time, in float64."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from raysample.influence.visits import gradient_dots, gradient_norms
from raysample.influence.visits.gradient_rules import RULES, rule_for

Shape = tuple[int, ...]
RMS_NORMS = sorted(name for name in RULES if name.endswith("RMSNorm"))


def by_autograd(module: nn.Module, A: Tensor, G: Tensor) -> list[dict[str, Tensor]]:
    weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    found = []
    for a, g in zip(A, G, strict=True):
        gradients = torch.autograd.grad((module(a[None]) * g[None]).sum(), list(weights.values()))
        found.append(dict(zip(weights, gradients, strict=True)))
    return found


def check(module: nn.Module, A: Tensor) -> None:
    module.double()
    G = torch.randn(module(A).shape, dtype=torch.float64)
    names = {name for name, weight in module.named_parameters() if weight.requires_grad}
    rule = rule_for(module, names)
    assert rule is not None
    slow = by_autograd(module, A, G)
    X, G = rule.rows(module, A, G)
    assert X.shape[:2] == G.shape[:2]
    square = rule.square(module, X, G) * ("weight" in names) + gradient_norms.bias_norms(G) * ("bias" in names)
    expected = torch.stack([sum(g.square().sum() for g in one.values()) for one in slow])
    torch.testing.assert_close(square, expected, rtol=1e-11, atol=1e-11)
    for name in names:
        W = torch.randn(3, *getattr(module, name).shape, dtype=torch.float64)
        found = rule.dot(X, G, W) if name == "weight" else gradient_dots.bias_dots(G, W.flatten(1))
        torch.testing.assert_close(found, torch.stack([(W * one[name]).flatten(1).sum(1) for one in slow]))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("tokens", [4, 80], ids=["gram", "product"])
@pytest.mark.parametrize("out", [1, 24], ids=["one output", "many outputs"])
def test_a_matrix_that_multiplied_in_bfloat16_is_measured_in_it(tokens: int, out: int) -> None:
    module, A = nn.Linear(16, out), torch.randn(5, tokens, 16)
    with torch.autocast("cpu", torch.bfloat16):
        G = torch.randn_like(module(A))
    rule, W = rule_for(module, {"weight", "bias"}), torch.randn(2, out, 16)
    assert rule is not None
    X, low = rule.rows(module, A, G)
    assert {X.dtype, low.dtype} == {torch.bfloat16}
    exact = X.double(), low.double()  # bfloat16 rounds to 8 bits; the products are added up in float32
    for found, expected in (
        (rule.square(module, X, low), rule.square(module, *exact)),
        (gradient_norms.bias_norms(low), gradient_norms.bias_norms(exact[1])),
        (rule.dot(X, low, W.bfloat16()), rule.dot(*exact, W.bfloat16().double())),
        (
            gradient_dots.bias_dots(low, W[..., 0].bfloat16()),
            gradient_dots.bias_dots(exact[1], W[..., 0].bfloat16().double()),
        ),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), rtol=2**-6, atol=2**-6 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("wide", "shape"),
    [(8, (3, 2, 8)), (8, (3, 40, 8)), (8, (3, 8)), (8, (3, 2, 5, 8))],
    ids=["gram", "product", "no tokens", "two axes"],
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(wide: int, shape: Shape, with_bias: bool) -> None:
    check(nn.Linear(wide, 6, bias=with_bias), torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("module", [nn.Linear(6, 6), nn.LayerNorm(6)], ids=["linear", "norm"])
def test_a_frozen_half_does_not_count(module: nn.Module, frozen: str) -> None:
    getattr(module, frozen).requires_grad_(False)
    check(module, torch.randn(3, 4, 6, dtype=torch.float64))
    getattr(module, frozen).requires_grad_(True)


@pytest.mark.parametrize("padding_idx", [None, 0])
@pytest.mark.parametrize("shape", [(3, 9), (3, 3), (3, 2, 2), (3, 3, 3)], ids=str)
def test_embedding_with_repeated_tokens(padding_idx: int | None, shape: Shape) -> None:
    check(nn.Embedding(4, 5, padding_idx=padding_idx), torch.randint(4, shape))


@pytest.mark.parametrize("normalised", [6, (4, 6)], ids=["last axis", "last two axes"])
def test_layer_norm(normalised: int | Shape) -> None:
    module = nn.LayerNorm(normalised, eps=1e-2)
    nn.init.normal_(module.weight)
    check(module, torch.randn(3, 4, 6, dtype=torch.float64))


def test_layer_norm_without_bias() -> None:
    module = nn.LayerNorm(6, bias=False)
    nn.init.normal_(module.weight)
    check(module, torch.randn(3, 4, 6, dtype=torch.float64))


def test_conv1d_is_a_transposed_linear_layer() -> None:
    check(Conv1D(5, 6), torch.randn(3, 4, 6, dtype=torch.float64))
    check(Conv1D(5, 6), torch.randn(3, 40, 6, dtype=torch.float64))


def found(name: str) -> Any:
    place, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(place), kind)


@pytest.mark.parametrize("name", RMS_NORMS)
@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 4, 2, 6)], ids=["tokens", "heads"])
def test_rms_norms(name: str, shape: Shape) -> None:
    module = found(name)(6, eps=1e-2)
    nn.init.normal_(module.weight)
    check(module, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_names_a_type_that_is_there(name: str) -> None:
    assert f"{found(name).__module__}.{found(name).__qualname__}" == name


def test_rms_norms_round_as_the_module_does() -> None:
    module = found(RMS_NORMS[0])(6, eps=1e-2).bfloat16()
    A = torch.randn(3, 4, 6).bfloat16()
    rule = rule_for(module, {"weight"})
    assert rule is not None
    X, _ = rule.rows(module, A, A)
    assert X.dtype == torch.float32
    assert torch.equal(X.bfloat16(), module(A))  # its weight is one


def test_only_exact_types_with_plain_parameters_have_rules() -> None:
    class Scaled(nn.Linear):
        pass

    assert rule_for(Scaled(2, 2), {"weight"}) is None
    assert rule_for(nn.Conv1d(2, 2, 1), {"weight"}) is None
    assert rule_for(nn.Linear(2, 2), {"weight", "extra"}) is None
    assert rule_for(nn.Embedding(2, 2, scale_grad_by_freq=True), {"weight"}) is None
    assert rule_for(nn.Embedding(2, 2, max_norm=1.0), {"weight"}) is None
    replaced = nn.Linear(2, 2)
    replaced.forward = lambda x: 2 * x  # type: ignore[method-assign]
    assert rule_for(replaced, {"weight"}) is None
