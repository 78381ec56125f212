"""Per-sample gradients from one forward and one backward: recorded layer calls, norms and dot products.

A linear layer's weight gradient for example b is Σ_t G_bt ⊗ A_bt, a function of its input A and its output gradient G
alone; similar forms hold for every layer type with a rule (`gradient_rules`). So hooks record the input and the output
of every trainable layer, autograd computes the gradients of the outputs only, and no weight gradient is ever formed.

A rule per layer type is not enough for an exact number per example. Three more conditions are checked:

* the parameters of a layer are used nowhere else (`trainable_layers`, `ParameterUseGuard`): a second use would add a
  gradient that no hook sees;
* the first axis of input and output is the examples (`Recording._per_example`): otherwise examples mix;
* input and output keep their values until the backward (`_Call.unchanged`): a rule reads them afterwards.

A model that fails a check raises an error that names the module; it never gets a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from raysample.core.errors import UnsupportedModelError
from raysample.core.numerics.forward_hooks import require_grad
from raysample.influence.visits import gradient_dots, gradient_norms
from raysample.influence.visits.gradient_rules import GradientRule, rule_for

Directions = Mapping[str, Mapping[str, Tensor]]
"""{reference: {parameter name as in `named_parameters()`: [M, *shape]}}."""


@dataclass(frozen=True)
class TrainableLayer:
    """A module with trainable parameters of its own: `parameters` are their local names, `rule` their gradient rule."""

    name: str
    module: nn.Module
    parameters: frozenset[str]
    rule: GradientRule

    def full(self, parameter: str) -> str:
        """Return the name of one of the parameters in `model.named_parameters()`."""
        return f"{self.name}.{parameter}" if self.name else parameter


def trainable_layers(model: nn.Module) -> list[TrainableLayer]:
    """List the modules that own parameters with `requires_grad`.

    Raises:
        UnsupportedModelError: a module has no exact rule, a parameter belongs to two modules (tied embeddings), or
            nothing is trainable; the message names the module.
    """
    layers: list[TrainableLayer] = []
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        own = {key: p for key, p in module.named_parameters(recurse=False) if p.requires_grad}
        for key, parameter in own.items():
            # Tied weights are one Parameter in two modules: neither rule alone sees its whole gradient.
            if id(parameter) in owners:
                raise unsupported(name, f"shares its {key} with {owners[id(parameter)]!r}")
            owners[id(parameter)] = f"{name}.{key}"
        if own:
            rule = rule_for(module, own)
            if rule is None:
                raise unsupported(name, f"({type(module).__name__} with {', '.join(own)}) has no exact gradient rule")
            layers.append(TrainableLayer(name, module, frozenset(own), rule))
    if not layers:
        raise unsupported("", "has no trainable parameter, so there is no gradient to measure")
    return layers


def unsupported(name: str, problem: str) -> UnsupportedModelError:
    """Return the error for a module whose per-example gradient cannot be measured exactly by a rule."""
    return UnsupportedModelError(
        f"per-example gradients: module {name or '(the model itself)'!r} {problem}",
        "set score.method: loop, or the option `method: loop` of the score (such as `grand`): one backward per "
        "example, slow but exact for any model; or freeze the module (model.freeze) if its parameters should not "
        "count, or leave out the scores that need gradients over all parameters",
    )


@dataclass(frozen=True)
class _Call:
    """One call of a layer: its input [B, ...], its output [B, ...], and their version counters after the call.

    Autograd increments a tensor's version with every in-place change.
    """

    input: Tensor
    versions: tuple[int, int]  # of input and output
    output: Tensor

    @property
    def unchanged(self) -> bool:
        """Whether neither input nor output was changed in place since the call."""
        return self.versions == (self.input._version, self.output._version)


class Recording:
    """The inputs and outputs of the trainable layers in one forward of `examples` examples.

    Use: `attach` hooks, run the forward, compute the gradients of `outputs()`, pass them to `measure` in the same
    order.
    """

    def __init__(self, layers: Sequence[TrainableLayer], examples: int) -> None:
        self.layers = layers
        self.examples = examples
        self.inside: str | None = None  # name of the layer whose forward is running, for `ParameterUseGuard`
        self._calls: dict[str, list[_Call]] = {layer.name: [] for layer in layers}

    def attach(self) -> Iterator[RemovableHandle]:
        """Register the hooks on every layer and yield their handles; the caller removes them.

        The output hook runs before all other hooks on the output, so it records the tensor that the layer itself
        returned.
        """
        for layer in self.layers:
            yield layer.module.register_forward_pre_hook(self._enter(layer))
            yield layer.module.register_forward_hook(self._leave(layer), prepend=True, with_kwargs=True)

    def outputs(self) -> list[Tensor]:
        """Return the outputs whose gradients `measure` needs: layer by layer, call by call.

        Raises:
            UnsupportedModelError: a layer was not called, so its parameters may be used without it.
        """
        for layer in self.layers:
            if not self._calls[layer.name]:
                raise unsupported(layer.name, "is not called in the forward, though something else may use its weights")
        return [call.output for layer in self.layers for call in self._calls[layer.name]]

    def measure(
        self, gradients: Sequence[Tensor], with_norms: bool, directions: Directions
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Return gradient norms and dot products per example, over all trainable parameters.

        Args:
            gradients: the gradients of `outputs()`, in the same order.
            with_norms: whether to compute norms.
            directions: reference -> parameter name -> [M, *shape].

        Returns:
            The norms √(Σ_layers ‖∇_layer‖²) [examples], or None; and reference -> Σ_layers ⟨∇_layer, direction⟩
            [examples, M].
        """
        # `gradients` has the order of `outputs()`: layer by layer, call by call. The squared norm over all parameters
        # is the sum over layers, since the layers own disjoint parameters (`trainable_layers` has checked that).
        rest = iter(gradients)
        squares: list[Tensor] = []
        products: dict[str, list[Tensor]] = {reference: [] for reference in directions}
        for layer in self.layers:
            X, G = self._rows(layer, [next(rest) for _ in self._calls[layer.name]])
            if with_norms:
                squares += _squares(layer, X, G)
            for reference, vectors in directions.items():
                products[reference] += _dots(layer, X, G, vectors)
        return (
            torch.stack(squares).sum(0).sqrt() if with_norms else None,
            {reference: torch.stack(sums).sum(0) for reference, sums in products.items()},
        )

    def _rows(self, layer: TrainableLayer, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the rows X [B, N, ...] and G [B, N, O] of all calls of a layer.

        The calls of a layer are concatenated along N: the gradient of a shared parameter is the sum over its calls,
        exactly as if the layer had processed one longer sequence.
        """
        pairs = []
        for call, gradient in zip(self._calls[layer.name], gradients, strict=True):
            # An in-place change after the call (x += y on the output) would make the recorded tensor another one than
            # the one that the gradient belongs to.
            if not call.unchanged:
                raise unsupported(layer.name, "has its input or output overwritten in place later in the forward")
            pairs.append(layer.rule.rows(layer.module, call.input, gradient))
        if len(pairs) == 1:
            return pairs[0]
        inputs, outputs = zip(*pairs, strict=True)
        return torch.cat(inputs, 1), torch.cat(outputs, 1)

    def _enter(self, layer: TrainableLayer) -> Callable[..., None]:
        """Return the pre-forward hook that marks `layer` as the running layer, for `ParameterUseGuard`."""

        def enter(_module: nn.Module, _args: tuple[Any, ...]) -> None:
            """Mark the layer as the running one."""
            self.inside = layer.name

        return enter

    def _leave(self, layer: TrainableLayer) -> Callable[..., Tensor]:
        """Return the forward hook that records a call of `layer` and makes its output part of the graph."""

        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
            """Record input and output of the call; return the output for the rest of the model."""
            self.inside = None
            # The input is read after the backward and needs no graph: it is detached.
            inputs: Tensor = args[0] if args else next(iter(kwargs.values()))
            if isinstance(module, nn.Embedding) and inputs.dim() < 2:
                raise unsupported(layer.name, f"gets indices of shape {list(inputs.shape)}, not one row per example")
            inputs, output = self._per_example(inputs, layer).detach(), self._per_example(output, layer)
            # The graph starts at the recorded output (weights are frozen); the model goes on with `passed`.
            output, passed = require_grad(output)
            self._calls[layer.name].append(_Call(inputs, (inputs._version, output._version), output))
            return passed

        return record

    def _per_example(self, values: Tensor, layer: TrainableLayer) -> Tensor:
        """Return the values with one row per example: [examples, ...] as they are, [1, ...] expanded.

        Raises:
            UnsupportedModelError: the first axis is neither.
        """
        if values.dim() >= 2 and values.shape[0] == self.examples:
            return values
        if values.dim() >= 2 and values.shape[0] == 1:
            # Position embeddings are one row for the whole mini-batch. The gradient of that row would be a sum over the
            # examples; expanding the row inside the graph gives each example a gradient of its own.
            return values.expand(self.examples, *values.shape[1:])
        shape = f"{list(values.shape)} for {self.examples} example(s)"
        raise unsupported(layer.name, f"handles a tensor of shape {shape}: its first axis is not the examples")


def _squares(layer: TrainableLayer, X: Tensor, G: Tensor) -> Iterator[Tensor]:
    """Yield the squared norms [B] of each example's weight and bias gradient, as far as they are trainable."""
    if "weight" in layer.parameters:
        yield layer.rule.square(layer.module, X, G)
    if "bias" in layer.parameters:
        yield gradient_norms.bias_norms(G)


def _dots(layer: TrainableLayer, X: Tensor, G: Tensor, vectors: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Yield the dot products [B, M] of each example's weight and bias gradient with the directions."""
    if "weight" in layer.parameters:
        yield layer.rule.dot(X, G, vectors[layer.full("weight")].to(G))
    if "bias" in layer.parameters:
        yield gradient_dots.bias_dots(G, vectors[layer.full("bias")].to(G).flatten(1))


class ParameterUseGuard(TorchFunctionMode):
    """Refuses a parameter that is used outside its layer's forward, as in `F.linear(x, embedding.weight)`.

    Inspects the arguments of every torch function during the forward. Functions that return no tensor (such as reading
    `weight.dtype` or `weight.shape`) do no arithmetic on the parameter and are allowed.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.owners = {
            id(getattr(layer.module, key)): (layer.name, key) for layer in recording.layers for key in layer.parameters
        }

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in (*args, *(kwargs or {}).values()) if isinstance(result, Tensor) else ():
            for item in value if isinstance(value, (list, tuple)) else (value,):
                # A tensor that is no parameter maps to the running layer itself and passes.
                name, key = self.owners.get(id(item), (self.recording.inside, ""))
                if name != self.recording.inside:
                    raise unsupported(str(name), f"has its {key} used outside of it")
        return result
