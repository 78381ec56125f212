"""Which layers own trainable parameters, what goes into and comes out of them in one forward, and each example's norm.

An exact norm per example needs more than a rule per layer type: the layer must be called once, its parameters must be
used nowhere else, and its first axis must be the examples. What cannot be shown to be so is an error, never a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from raysample.errors import UnsupportedModelError
from raysample.numerics.norms import Rule, rule_for


@dataclass(frozen=True)
class TrainableLayer:
    """A module with trainable parameters of its own (`parameters`, by name), and the rule for their norm."""

    name: str
    module: nn.Module
    parameters: frozenset[str]
    rule: Rule


def trainable_layers(model: nn.Module) -> list[TrainableLayer]:
    """List the modules that own parameters with `requires_grad`.

    Raises:
        UnsupportedModelError: one of them has no exact rule, a parameter belongs to two modules (ALBERT, tied
            embeddings), or nothing is trainable; the message names the module.
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
    """Return the error for a module whose per-example gradient norm cannot be computed exactly."""
    return UnsupportedModelError(
        f"per-example gradient norms: module {name or '(the model itself)'!r} {problem}",
        "freeze it (requires_grad_(False)) if its parameters should not count, leave out the scores that need gradient "
        "norms (such as `grand`), or use a BERT, RoBERTa, DistilBERT or ELECTRA encoder",
    )


class Recording:
    """What went into and came out of the trainable layers in one forward of `examples` examples."""

    def __init__(self, layers: Sequence[TrainableLayer], examples: int) -> None:
        self.layers = layers
        self.examples = examples
        self.inside: str | None = None  # the layer whose forward is running
        self._seen: dict[str, tuple[Tensor, int, Tensor]] = {}

    def attach(self) -> Iterator[RemovableHandle]:
        """Put a hook on every layer; the caller removes the hooks."""
        for layer in self.layers:
            yield layer.module.register_forward_pre_hook(self._enter(layer))
            yield layer.module.register_forward_hook(self._leave(layer), with_kwargs=True)

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Refuse, in the forward inside this context, a parameter used outside its layer, as in F.linear(x, e.weight).

        A model is watched once: from then on its visits cost nothing more.
        """
        names = frozenset(layer.name for layer in self.layers)
        if names <= _WATCHED.get(model, frozenset()):
            yield
            return
        with _Watch(self):
            yield
        _WATCHED[model] = names

    def outputs(self) -> list[Tensor]:
        """Return the outputs whose gradients `norms` needs, in the order of the layers."""
        for layer in self.layers:
            if layer.name not in self._seen:
                raise unsupported(layer.name, "is not called in the forward, though something else may use its weights")
        return [self._seen[layer.name][2] for layer in self.layers]

    def norms(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm of each example's gradient over all trainable parameters, [examples]."""
        squares = []
        for layer, gradient in zip(self.layers, gradients, strict=True):
            given, version, _ = self._seen[layer.name]
            if given._version != version:
                raise unsupported(layer.name, "has its input overwritten in place later in the forward")
            squares.append(layer.rule(layer.module, given, gradient, layer.parameters))
        return torch.stack(squares).sum(0).sqrt()

    def _enter(self, layer: TrainableLayer) -> Callable[..., None]:
        def enter(_module: nn.Module, _args: tuple[Any, ...]) -> None:
            self.inside = layer.name

        return enter

    def _leave(self, layer: TrainableLayer) -> Callable[..., Tensor]:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
            self.inside = None
            if layer.name in self._seen:
                raise unsupported(layer.name, "is called more than once in a forward")
            given: Tensor = args[0] if args else kwargs["input"]
            if isinstance(module, nn.Embedding) and given.dim() < 2:
                raise unsupported(layer.name, f"gets indices of shape {list(given.shape)}, not one row per example")
            given, output = self._per_example(given, layer).detach(), self._per_example(output, layer)
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)  # all below is frozen: the graph starts here
            self._seen[layer.name] = (given, given._version, output)
            return output

        return record

    def _per_example(self, values: Tensor, layer: TrainableLayer) -> Tensor:
        if values.dim() >= 2 and values.shape[0] == self.examples:
            return values
        if values.dim() >= 2 and values.shape[0] == 1:
            # Position embeddings come as one row for the whole mini-batch: their gradient would be a sum over examples.
            return values.expand(self.examples, *values.shape[1:])
        raise unsupported(layer.name, f"handles a tensor of shape {list(values.shape)}, not {self.examples} examples")


# Models whose forward was seen to use each parameter in its own layer only, and the layers that were watched.
_WATCHED: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


class _Watch(TorchFunctionMode):
    """Looks at the arguments of every torch function of one forward."""

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
