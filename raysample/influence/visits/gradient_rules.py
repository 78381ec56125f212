"""The layer types with an exact gradient rule, and how their parameters act on their inputs.

A rule turns the record of a call (inputs A, output gradients G) into rows X [B, N, ...] and G [B, N, O] such that the
weight gradient of an example is a sum over its N rows, in one of three forms:

* matrix: Σ_n G_n ⊗ X_n (linear layers);
* table: Σ_n onehot(X_n) ⊗ G_n (embeddings);
* scale: Σ_n X_n ∘ G_n (the weight of a normalisation).

The gradient of a bias is Σ_n G_n for all of them. The rows of several calls of one module are concatenated along N,
since the gradient of a shared parameter is the sum over its calls. A module type without a rule is an error, never an
approximation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raysample.core.numerics.predictions import widened
from raysample.influence.visits import gradient_dots, gradient_norms


class GradientRule(ABC):
    """How the weight of one type of module acts: rows of a call, norms and dot products from rows."""

    @abstractmethod
    def rows(self, module: nn.Module, A: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and output gradients of one call as rows, [B, N, ...] and [B, N, O].

        In float32 at least; a matrix product that ran in lower precision (autocast) stays in that precision.
        """

    @abstractmethod
    def square(self, module: nn.Module, X: Tensor, G: Tensor) -> Tensor:
        """Return the squared norm of each example's weight gradient, [B]."""

    @abstractmethod
    def dot(self, X: Tensor, G: Tensor, W: Tensor) -> Tensor:
        """Return the dot products of each example's weight gradient with directions W [M, *weight shape], [B, M]."""


def _rows(values: Tensor, width: int) -> Tensor:
    """Return values [B, ..., width] as rows [B, N, width] in float32 at least."""
    return _flat(widened(values), width)


def _flat(values: Tensor, width: int) -> Tensor:
    """Return values [B, ..., width] as rows [B, N, width] in their own precision."""
    return values.reshape(values.shape[0], -1, width)


@dataclass(frozen=True)
class Matrix(GradientRule):
    """y = W x + b with W [O, I]; if `transposed`, W [I, O] as in the Conv1D of GPT-2."""

    transposed: bool = False

    def rows(self, module: nn.Module, A: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        """Return A [B, N, I] and G [B, N, O], both in the precision of the outputs.

        Under autocast that is the precision to which the multiplication itself cast the inputs.
        """
        del module
        return _flat(A.to(G.dtype), A.shape[-1]), _flat(G, G.shape[-1])

    def square(self, module: nn.Module, X: Tensor, G: Tensor) -> Tensor:
        """Return ‖XᵀG‖², [B]."""
        del module
        return gradient_norms.linear_norms(X, G)

    def dot(self, X: Tensor, G: Tensor, W: Tensor) -> Tensor:
        """Return ⟨GᵀX, W_m⟩, [B, M]."""
        return gradient_dots.linear_dots(G, X, W) if self.transposed else gradient_dots.linear_dots(X, G, W)


@dataclass(frozen=True)
class Table(GradientRule):
    """y = W[id] with W [V, D]; the row of `padding_idx` gets no gradient, as in torch."""

    def rows(self, module: nn.Module, A: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids [B, N] and G [B, N, D], zero in the rows of `padding_idx`."""
        ids, G = A.flatten(1), _rows(G, G.shape[-1])
        # torch gives the padding row no gradient, but the output at a padding token has one: it must not count.
        padding: Any = module.padding_idx
        return ids, G if padding is None else G * ids.ne(padding)[..., None]

    def square(self, module: nn.Module, X: Tensor, G: Tensor) -> Tensor:
        """Return ‖Σ onehot(id) ⊗ G‖², [B]."""
        entries: Any = module.num_embeddings
        return gradient_norms.embedding_norms(X, G, entries)

    def dot(self, X: Tensor, G: Tensor, W: Tensor) -> Tensor:
        """Return Σ ⟨G, W_m[id]⟩, [B, M]."""
        return gradient_dots.embedding_dots(X, G, W)


@dataclass(frozen=True)
class ScaleRule(GradientRule):
    """y = w ∘ x̂ + b over the last axes, with x̂ = `normalised(module, x)` of the shape of x."""

    normalised: Callable[[nn.Module, Tensor], Tensor]

    def rows(self, module: nn.Module, A: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        """Return x̂ and G, both [B, N, D]."""
        weight: Any = module.weight
        return _rows(self.normalised(module, A), weight.numel()), _rows(G, weight.numel())

    def square(self, module: nn.Module, X: Tensor, G: Tensor) -> Tensor:
        """Return ‖Σ x̂ ∘ G‖², [B]."""
        del module
        return gradient_norms.scale_norms(X, G)

    def dot(self, X: Tensor, G: Tensor, W: Tensor) -> Tensor:
        """Return ⟨Σ x̂ ∘ G, W_m⟩, [B, M]."""
        return gradient_dots.scale_dots(X, G, W.flatten(1))


def layer_normalised(module: nn.Module, X: Tensor) -> Tensor:
    """Return (x − mean) / √(variance + eps) over the axes that an nn.LayerNorm normalises."""
    assert isinstance(module, nn.LayerNorm)
    axes = tuple(range(-len(module.normalized_shape), 0))
    X = widened(X)
    # Computed again instead of recorded: torch keeps x̂ in its backward only.
    centred = X - X.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True) + module.eps).sqrt()


def root_mean_square_normalised(module: nn.Module, X: Tensor) -> Tensor:
    """Return x / √(mean x² + eps) as Llama's RMSNorm computes it: in float32, returned in the dtype of x."""
    eps: Any = module.variance_epsilon
    wide = X.to(torch.float32)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(X.dtype)


# Keyed by qualified name, so that transformers need not be imported. Only types with a known forward belong here.
RULES: dict[str, GradientRule] = {
    "torch.nn.modules.linear.Linear": Matrix(),
    "torch.nn.modules.sparse.Embedding": Table(),
    "torch.nn.modules.normalization.LayerNorm": ScaleRule(layer_normalised),
    "transformers.pytorch_utils.Conv1D": Matrix(transposed=True),
    **{
        f"transformers.models.{family}.modeling_{family}.{name}RMSNorm": ScaleRule(root_mean_square_normalised)
        for family, name in (
            ("llama", "Llama"),
            ("mistral", "Mistral"),
            ("qwen2", "Qwen2"),
            ("qwen3", "Qwen3"),
            ("phi3", "Phi3"),
            ("eurobert", "EuroBert"),
        )
    },
}


def qualified(module: nn.Module) -> str:
    """Return the qualified name of a module's type: `package.module.Class`."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def rule_for(module: nn.Module, counted: Collection[str]) -> GradientRule | None:
    """Return the rule for a module whose parameters `counted` are trainable, or None if no exact rule exists.

    The type must match exactly: a subclass may compute something else. No rule exists for an embedding that scales its
    gradient by frequency or renormalises its table, for a module with parameters other than weight and bias, and for a
    module whose `forward` was replaced.
    """
    # An instance attribute `forward` replaces the method of the class: its arithmetic is unknown.
    if not set(counted) <= {"weight", "bias"} or "forward" in vars(module):
        return None
    if isinstance(module, nn.Embedding) and (module.scale_grad_by_freq or module.max_norm is not None):
        return None
    return RULES.get(qualified(module))
