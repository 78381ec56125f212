"""The rules for each layer type, against autograd one example at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raysample.numerics.norms import RULES, rule_for

Shape = tuple[int, ...]


def by_autograd(module: nn.Module, A: Tensor, G: Tensor) -> Tensor:
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    found = []
    for a, g in zip(A, G, strict=True):
        gradients = torch.autograd.grad((module(a[None]) * g[None]).sum(), weights)
        found.append(sum(gradient.square().sum() for gradient in gradients))
    return torch.stack(found)


def check(module: nn.Module, A: Tensor) -> None:
    module.double()
    G = torch.randn(module(A).shape, dtype=torch.float64)
    names = {name for name, weight in module.named_parameters() if weight.requires_grad}
    rule = rule_for(module, names)
    assert rule is not None
    torch.testing.assert_close(rule(module, A, G, names), by_autograd(module, A, G), rtol=1e-11, atol=1e-11)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


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
def test_embedding_with_repeated_tokens(padding_idx: int | None) -> None:
    check(nn.Embedding(4, 5, padding_idx=padding_idx), torch.randint(4, (3, 9)))


@pytest.mark.parametrize("normalised", [6, (4, 6)], ids=["last axis", "last two axes"])
def test_layer_norm(normalised: int | Shape) -> None:
    module = nn.LayerNorm(normalised, eps=1e-2)
    nn.init.normal_(module.weight)
    check(module, torch.randn(3, 4, 6, dtype=torch.float64))


def test_only_exact_types_with_plain_parameters_have_rules() -> None:
    class Scaled(nn.Linear):
        pass

    assert set(RULES) == {nn.Linear, nn.Embedding, nn.LayerNorm}
    assert rule_for(Scaled(2, 2), {"weight"}) is None
    assert rule_for(nn.Conv1d(2, 2, 1), {"weight"}) is None
    assert rule_for(nn.Linear(2, 2), {"weight", "extra"}) is None
    assert rule_for(nn.Embedding(2, 2, scale_grad_by_freq=True), {"weight"}) is None
    assert rule_for(nn.Embedding(2, 2, max_norm=1.0), {"weight"}) is None
