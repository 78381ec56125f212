"""Dot products with directions for each kind of weight, against the gradients themselves, in float64."""

from __future__ import annotations

import pytest
import torch

from raysample.influence.visits import gradient_dots

B, T, I, O = 5, 7, 4, 3  # noqa: E741 - the letters of the formulas


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("room", [1 << 24, 2 * I * O, 1])
def test_linear_weight(count: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_dots, "WORKSPACE", room)
    A, G, W = draw(B, T, I), draw(B, T, O), draw(count, O, I)
    torch.testing.assert_close(gradient_dots.linear_dots(A, G, W), torch.einsum("bto,bti,moi->bm", G, A, W))


def test_bias_and_scale() -> None:
    X, G, W = draw(B, T, O), draw(B, T, O), draw(2, O)
    torch.testing.assert_close(gradient_dots.bias_dots(G, W), torch.einsum("bto,mo->bm", G, W))
    torch.testing.assert_close(gradient_dots.scale_dots(X, G, W), torch.einsum("bto,bto,mo->bm", X, G, W))


def test_embedding_weight_with_repeated_tokens() -> None:
    ids, G, W = torch.randint(4, (B, T)), draw(B, T, O), draw(2, 4, O)
    onehot = torch.nn.functional.one_hot(ids, 4).double()
    torch.testing.assert_close(gradient_dots.embedding_dots(ids, G, W), torch.einsum("btv,bto,mvo->bm", onehot, G, W))
