"""Whether a model processes every row by itself: the same values alone and in a padded mini-batch, in any order, again.

Some models do not: XLNet reads a fixed position, FNet and similar models take no mask, CANINE works on blocks of
positions, BigBird switches for good between two kinds of attention by the length of its input. Their scores by rules
would depend on the rows that happen to be scored together. So a few rows are visited alone (unpadded, by plain
gradients) and as the scoring does (padded, in two orders), and everything that the scores need must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from raysample import models
from raysample.core.errors import ForwardError, UnsupportedModelError
from raysample.core.numerics.to_device import moved
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.influence.visits.visit import collect
from raysample.models import Encoded
from raysample.models.encoding import RowIndices

BOUND = 1e-3
"""Largest relative difference in float32, the same as for `raysample verify`."""
NOISE = 1e-4
"""Rounding noise relative to the largest value: logits that are equal in theory differ by it."""

Observed = Mapping[str, Tensor]
"""The values of one row in a visit: name -> values without padding."""


@dataclass(frozen=True)
class AgreementRequest:
    """What is compared: the needs of the scores, and how scoring computes them.

    Attributes:
        needs, objectives: the union over all scores whose window contains the checkpoint.
        loop: scoring visits each row alone; then only a state kept between rows can matter.
        by: how scoring computes gradients.
    """

    needs: Need
    objectives: frozenset[str] = frozenset()
    loop: bool = False
    by: Literal["rules", "loop"] = "rules"

    @staticmethod
    def from_needs(needs: Need, objectives: frozenset[str], loop: bool, by_loop: bool) -> AgreementRequest:
        """Return the request for the needs of scores.

        Gradient norms stand in for dot products, which have the same source.
        """
        wanted = needs | Need.LOGITS
        if Need.GRAD_DOTS in wanted:
            wanted = (wanted & ~Need.GRAD_DOTS) | Need.GRAD_NORMS
        return AgreementRequest(wanted, objectives, loop, "loop" if loop or by_loop else "rules")


@dataclass(frozen=True)
class Worst:
    """The largest difference between two visits: its value, relative to the scale that BOUND applies to, and when."""

    value: str = "logits"
    relative: float = 0.0
    when: str = ""


class NothingSeenError(UnsupportedModelError):
    """A model fails on every row that it was tried on."""


def compare_visits(
    network: nn.Module, rows: Encoded, pad_id: int, request: AgreementRequest, device: str, where: str
) -> Worst | None:
    """Return the largest difference between the values of rows alone, in mini-batches, and once more.

    None if the model returns no finite values for any row: there is nothing to compare.

    Args:
        network: in eval mode, in float32.
        rows: of different lengths, longest first.
        pad_id: padding id of the tokenizer.
        request: what to compare.
        device: the device of the model.
        where: the name of the checkpoint in errors.

    Raises:
        UnsupportedModelError: a difference exceeds BOUND, or (NothingSeenError) the model fails on every row.
    """
    visit = _visits(network, rows, pad_id, request, device)
    alone = _alone(visit, len(rows.ids), where)
    if not alone:
        return None
    worst = Worst()
    for when, them, seen in _again(visit, list(alone), request.loop):
        for row, found in zip(them, seen, strict=True):
            worst = max(worst, _difference(alone, row, found, when), key=lambda one: one.relative)
        if worst.relative > BOUND:
            raise _differs(network, worst, where, request.loop)
    return worst


def _visits(
    network: nn.Module, rows: Encoded, pad_id: int, request: AgreementRequest, device: str
) -> Callable[[RowIndices, bool], list[Observed]]:
    """Return the function that visits some rows in one mini-batch, plainly or as the scoring does."""
    # Not the row's own label: a model that is sure of it has a gradient of rounding noise. The least likely class has a
    # large gradient.
    gold: dict[int, int] = {}
    unpadded = replace(rows, multiple=1)

    def visit(them: RowIndices, plain: bool) -> list[Observed]:
        """Return what one mini-batch of rows sees, row by row."""
        batch = moved(models.pad(unpadded if plain else rows, them, pad_id), device)
        if plain and them[0] not in gold:
            logits = collect(network, batch, torch.zeros(1, dtype=torch.long, device=device), Need.LOGITS).logits
            gold[them[0]] = int(logits[0].argmin())
        labels = torch.tensor([gold[row] for row in them], device=device)
        by: Literal["rules", "loop"] = "loop" if plain else request.by
        return _rows_of(collect(network, batch, labels, request.needs, request.objectives, by=by))

    return visit


def _rows_of(seen: Artifacts) -> list[Observed]:
    """Split the artifacts of a mini-batch into rows, without padding, in float64 on the CPU."""
    found: list[Observed] = []
    for row in range(len(seen.labels)):
        values = {"logits": seen.logits[row]}
        if seen.features is not None:
            values["features"] = seen.features[row]
        if seen.grad_norms is not None:
            values["gradient norm"] = seen.grad_norms[row : row + 1]
        for objective, gradient in seen.embedding_grads.items():
            values[f"embedding gradient ({objective})"] = gradient[row][seen.mask[row]]
        found.append({name: value.double().cpu() for name, value in values.items()})
    return found


def _alone(visit: Callable[[RowIndices, bool], list[Observed]], count: int, where: str) -> dict[int, Observed]:
    """Visit each row alone by plain gradients.

    Leave out rows on which the model fails, unless it fails on all of them.
    """
    alone: dict[int, Observed] = {}
    failed: ForwardError | None = None
    for row in range(count):
        try:
            (seen,) = visit([row], True)
        except ForwardError as error:
            failed = error
            continue
        if all(bool(value.isfinite().all()) for value in seen.values()):
            alone[row] = seen
    if not alone and failed is not None:
        raise NothingSeenError(
            f"{where}: {failed.problem}, for each of {count} rows alone and without padding",
            "check that the model takes these inputs (length, vocabulary, token types); or use another model",
        ) from failed
    return alone


def _again(
    visit: Callable[[RowIndices, bool], list[Observed]], places: RowIndices, loop: bool
) -> Iterator[tuple[str, RowIndices, list[Observed]]]:
    """Yield (description, rows, values) of visits as the scoring does them, and of a repeated visit alone."""
    if not loop and len(places) > 1:
        yield "in a mini-batch with padding", places, visit(places, False)
        turned = places[:0:-1] if len(places) > 2 else places[::-1]
        yield "in a mini-batch with other rows, in another order", turned, visit(turned, False)
    elif not loop:
        for row in places:
            yield "by rules", [row], visit([row], False)
    for row in places if loop else places[:1]:
        yield "once more, after rows of other lengths", [row], visit([row], True)


def _difference(alone: Mapping[int, Observed], row: int, found: Observed, when: str) -> Worst:
    """Return the largest difference between the values of one row and its values alone, relative to `_scale`."""
    worst = Worst()
    for name, there in alone[row].items():
        here = found[name]
        if not bool(here.isfinite().all()):
            return Worst(name, float("inf"), when)
        kin = [seen[name] for seen in alone.values()]
        relative = float(_size(here - there, name) / max(_scale(there, kin, name), 1e-30))
        worst = max(worst, Worst(name, relative, when), key=lambda one: one.relative)
    return worst


def _size(value: Tensor, name: str) -> Tensor:
    """Return the size of a difference: the maximum for logits, the Euclidean norm for everything else."""
    return value.abs().max() if name == "logits" else value.norm()


def _scale(there: Tensor, kin: Sequence[Tensor], name: str) -> float:
    """Return the scale of a value.

    For logits the range over the rows (an untrained model has nearly equal logits for all rows), but not less than the
    rounding noise. For everything else its own norm, or a tenth of the median norm if its own is nearly zero.
    """
    if name == "logits":
        stacked = torch.stack(list(kin))
        apart = float((stacked.amax(0) - stacked.amin(0)).max())
        return max(apart, float(stacked.abs().max()) * NOISE / BOUND)
    usual = float(np.median([float(value.norm()) for value in kin]))
    return max(float(there.norm()), 0.1 * usual)


def _differs(network: nn.Module, worst: Worst, where: str, loop: bool) -> UnsupportedModelError:
    """Return the error for a model whose values depend on other rows."""
    problem = "not finite" if worst.relative == float("inf") else f"relative difference {worst.relative:.2g}"
    return UnsupportedModelError(
        f"{where}: the {worst.value} that {_bare_name(network)} gives for a row alone are others {worst.when} "
        f"({problem}; {BOUND:g} at most is rounding): its scores would depend on the rows that are scored together",
        _STATE if loop else _LOOP,
    )


_LOOP = (
    "set score.method: loop (in Python: raysample.score(..., method='loop')), which scores each row alone: slow, and "
    "exact where the model keeps no state from row to row; or use a model that masks its padding"
)
_STATE = (
    "the model keeps a state from row to row, or draws at random in eval mode, and no way of scoring helps: set what "
    "makes it do so in its config.json (BigBird: attention_type: original_full), or use another model"
)


def _bare_name(network: nn.Module) -> str:
    """Return the class name of a model, below its adapters."""
    inner: Any = getattr(network, "get_base_model", None)
    return type(inner() if callable(inner) else network).__name__
