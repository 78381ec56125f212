"""Which layers own trainable parameters, what goes into and comes out of them in one forward, and what that measures.

An exact number per example needs more than a rule per layer type: a layer's parameters must be used nowhere else, and
its first axis must be the examples. What cannot be shown to be so is an error, never a number.
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
"""{reference: {parameter as in `named_parameters()`: [M, *its shape]}}."""


@dataclass(frozen=True)
class TrainableLayer:
    """A module with trainable parameters of its own (`parameters`, by name), and the rule for their gradient."""

    name: str
    module: nn.Module
    parameters: frozenset[str]
    rule: GradientRule

    def full(self, parameter: str) -> str:
        """Return the name that the whole model has for one of the parameters."""
        return f"{self.name}.{parameter}" if self.name else parameter


def trainable_layers(model: nn.Module) -> list[TrainableLayer]:
    """List the modules that own parameters with `requires_grad`.

    Raises:
        UnsupportedModelError: one of them has no exact rule, a parameter belongs to two modules (tied embeddings), or
            nothing is trainable; the message names the module.
    """
    found: list[TrainableLayer] = []
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        own = {key: p for key, p in module.named_parameters(recurse=False) if p.requires_grad}
        for key, parameter in own.items():
            if id(parameter) in owners:
                raise unsupported(name, f"shares its {key} with {owners[id(parameter)]!r}")
            owners[id(parameter)] = f"{name}.{key}"
        if own:
            rule = rule_for(module, own)
            if rule is None:
                raise unsupported(name, f"({type(module).__name__} with {', '.join(own)}) has no exact gradient rule")
            found.append(TrainableLayer(name, module, frozenset(own), rule))
    if not found:
        raise unsupported("", "has no trainable parameter, so there is no gradient to measure")
    return found


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
    """One call of a layer: its input, the version of input and output as autograd counts them, and its output."""

    given: Tensor
    versions: tuple[int, int]
    output: Tensor

    @property
    def untouched(self) -> bool:
        return self.versions == (self.given._version, self.output._version)


class Recording:
    """What went into and came out of the trainable layers in one forward of `examples` examples."""

    def __init__(self, layers: Sequence[TrainableLayer], examples: int) -> None:
        self.layers = layers
        self.examples = examples
        self.inside: str | None = None  # the layer whose forward is running
        self._calls: dict[str, list[_Call]] = {layer.name: [] for layer in layers}

    def attach(self) -> Iterator[RemovableHandle]:
        """Put hooks on every layer, before any other hook on its output; the caller removes them."""
        for layer in self.layers:
            yield layer.module.register_forward_pre_hook(self._enter(layer))
            yield layer.module.register_forward_hook(self._leave(layer), prepend=True, with_kwargs=True)

    def outputs(self) -> list[Tensor]:
        """Return the outputs whose gradients `measure` needs: layer by layer, call by call."""
        for layer in self.layers:
            if not self._calls[layer.name]:
                raise unsupported(layer.name, "is not called in the forward, though something else may use its weights")
        return [call.output for layer in self.layers for call in self._calls[layer.name]]

    def measure(
        self, gradients: Sequence[Tensor], with_norms: bool, directions: Directions
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Return what the gradients at the outputs say about the gradient over all trainable parameters.

        Its norm for each example, [examples], if wanted; per reference its dot products with the directions,
        [examples, M].
        """
        rest = iter(gradients)
        squares: list[Tensor] = []
        products: dict[str, list[Tensor]] = {reference: [] for reference in directions}
        for layer in self.layers:
            X, G = self._rows(layer, [next(rest) for _ in self._calls[layer.name]])
            if with_norms:
                squares += _squares(layer, X, G)
            for reference, given in directions.items():
                products[reference] += _dots(layer, X, G, given)
        return (
            torch.stack(squares).sum(0).sqrt() if with_norms else None,
            {reference: torch.stack(found).sum(0) for reference, found in products.items()},
        )

    def _rows(self, layer: TrainableLayer, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the rows of all calls of a layer: its gradients add up, as if it had seen one longer sequence."""
        found = []
        for call, gradient in zip(self._calls[layer.name], gradients, strict=True):
            if not call.untouched:
                raise unsupported(layer.name, "has its input or output overwritten in place later in the forward")
            found.append(layer.rule.rows(layer.module, call.given, gradient))
        if len(found) == 1:
            return found[0]
        inputs, outputs = zip(*found, strict=True)
        return torch.cat(inputs, 1), torch.cat(outputs, 1)

    def _enter(self, layer: TrainableLayer) -> Callable[..., None]:
        def enter(_module: nn.Module, _args: tuple[Any, ...]) -> None:
            self.inside = layer.name

        return enter

    def _leave(self, layer: TrainableLayer) -> Callable[..., Tensor]:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
            self.inside = None
            given: Tensor = args[0] if args else next(iter(kwargs.values()))
            if isinstance(module, nn.Embedding) and given.dim() < 2:
                raise unsupported(layer.name, f"gets indices of shape {list(given.shape)}, not one row per example")
            given, output = self._per_example(given, layer).detach(), self._per_example(output, layer)
            output, passed = require_grad(output)
            self._calls[layer.name].append(_Call(given, (given._version, output._version), output))
            return passed

        return record

    def _per_example(self, values: Tensor, layer: TrainableLayer) -> Tensor:
        if values.dim() >= 2 and values.shape[0] == self.examples:
            return values
        if values.dim() >= 2 and values.shape[0] == 1:
            # Position embeddings come as one row for the whole mini-batch: their gradient would be a sum over examples.
            return values.expand(self.examples, *values.shape[1:])
        shape = f"{list(values.shape)} for {self.examples} example(s)"
        raise unsupported(layer.name, f"handles a tensor of shape {shape}: its first axis is not the examples")


def _squares(layer: TrainableLayer, X: Tensor, G: Tensor) -> Iterator[Tensor]:
    if "weight" in layer.parameters:
        yield layer.rule.square(layer.module, X, G)
    if "bias" in layer.parameters:
        yield gradient_norms.bias_norms(G)


def _dots(layer: TrainableLayer, X: Tensor, G: Tensor, given: Mapping[str, Tensor]) -> Iterator[Tensor]:
    if "weight" in layer.parameters:
        yield layer.rule.dot(X, G, given[layer.full("weight")].to(G))
    if "bias" in layer.parameters:
        yield gradient_dots.bias_dots(G, given[layer.full("bias")].to(G).flatten(1))


class ParameterUseGuard(TorchFunctionMode):
    """Refuses a parameter used outside its layer, as in F.linear(x, e.weight): looks at every torch function."""

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
                name, key = self.owners.get(id(item), (self.recording.inside, ""))
                if name != self.recording.inside:
                    raise unsupported(str(name), f"has its {key} used outside of it")
        return result
