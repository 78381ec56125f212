"""Whether a model sees every row for itself: the same alone and in a padded mini-batch, now and later, in any order.

Some models do not: XLNet reads a fixed place, FNet and its kin take no mask, CANINE works on blocks of places, BigBird
switches for good between two kinds of attention by the length of what comes. Their scores by rules would depend on what
rows happen to be scored together. So a few rows are visited alone, unpadded and by plain gradients, and padded, in two
orders, by what the scoring does; and what the scores need must be the same.
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
from raysample.influence.visits.artifacts import Artifacts, Need, collect
from raysample.models import Encoded

BOUND = 1e-3
"""Largest relative difference in float32, that of `raysample verify`."""
NOISE = 1e-4
"""What rounding alone may come to, relative to the largest value: logits that are all alike differ by it."""

Seen = Mapping[str, Tensor]
"""What a visit told of one row: name -> values, those of padding cut off."""
Rows = Sequence[int]


@dataclass(frozen=True)
class AgreementRequest:
    """What is compared: the needs of the scores, and how they will be met.

    Attributes:
        needs, objectives: of all scores that look at the checkpoint.
        loop: the scoring visits each row alone; then only the order can matter.
        by: how the scoring makes gradients.
    """

    needs: Need
    objectives: frozenset[str] = frozenset()
    loop: bool = False
    by: Literal["rules", "loop"] = "rules"

    @staticmethod
    def from_needs(needs: Need, objectives: frozenset[str], loop: bool, by_loop: bool) -> AgreementRequest:
        """Return what scores ask for; dot products come from the gradients whose norms are compared in their place."""
        wanted = needs | Need.LOGITS
        if Need.GRAD_DOTS in wanted:
            wanted = (wanted & ~Need.GRAD_DOTS) | Need.GRAD_NORMS
        return AgreementRequest(wanted, objectives, loop, "loop" if loop or by_loop else "rules")


@dataclass(frozen=True)
class Worst:
    """The largest difference between two visits: what differs, by which share of `BOUND`'s scale, and when."""

    value: str = "logits"
    relative: float = 0.0
    when: str = ""


class NothingSeenError(UnsupportedModelError):
    """A model fails for every row that it was tried on."""


def compare_visits(
    network: nn.Module, rows: Encoded, pad_id: int, asked: AgreementRequest, device: str, where: str
) -> Worst | None:
    """Return the largest difference between what a model says of rows alone, together, and once more.

    None where it gives no row finite values: there is nothing to compare.

    Args:
        network: in eval mode, in float32.
        rows: of different lengths, longest first.
        pad_id: of the tokenizer.
        asked: what to compare.
        device: where the model is.
        where: how the checkpoint is called in errors.

    Raises:
        UnsupportedModelError: something differs by more than its bound, or (NothingSeenError) the model fails for
            every row.
    """
    visit = _visits(network, rows, pad_id, asked, device)
    alone = _alone(visit, len(rows.ids), where)
    if not alone:
        return None
    worst = Worst()
    for when, them, seen in _again(visit, list(alone), asked.loop):
        for row, found in zip(them, seen, strict=True):
            worst = max(worst, _difference(alone, row, found, when), key=lambda one: one.relative)
        if worst.relative > BOUND:
            raise _differs(network, worst, where, asked.loop)
    return worst


def _visits(
    network: nn.Module, rows: Encoded, pad_id: int, asked: AgreementRequest, device: str
) -> Callable[[Rows, bool], list[Seen]]:
    """Return the function that visits some rows in one mini-batch, plainly or as the scoring does."""
    # No row's own label: where a model is sure of it the gradient is rounding. The least likely class has a large one.
    gold: dict[int, int] = {}
    unpadded = replace(rows, multiple=1)

    def visit(them: Rows, plain: bool) -> list[Seen]:
        batch = moved(models.pad(unpadded if plain else rows, them, pad_id), device)
        if plain and them[0] not in gold:
            logits = collect(network, batch, torch.zeros(1, dtype=torch.long, device=device), Need.LOGITS).logits
            gold[them[0]] = int(logits[0].argmin())
        labels = torch.tensor([gold[row] for row in them], device=device)
        by: Literal["rules", "loop"] = "loop" if plain else asked.by
        return _rows_of(collect(network, batch, labels, asked.needs, asked.objectives, by=by))

    return visit


def _rows_of(seen: Artifacts) -> list[Seen]:
    """Cut a visit into rows, without their padding."""
    found: list[Seen] = []
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


def _alone(visit: Callable[[Rows, bool], list[Seen]], count: int, where: str) -> dict[int, Seen]:
    """Visit each row alone by plain gradients; rows that the model fails for are left out, unless these are all."""
    alone: dict[int, Seen] = {}
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
    visit: Callable[[Rows, bool], list[Seen]], places: Rows, loop: bool
) -> Iterator[tuple[str, Rows, list[Seen]]]:
    """Visit the rows as the scoring will, and once more alone."""
    if not loop and len(places) > 1:
        yield "in a mini-batch with padding", places, visit(places, False)
        turned = places[:0:-1] if len(places) > 2 else places[::-1]
        yield "in a mini-batch with other rows, in another order", turned, visit(turned, False)
    elif not loop:
        for row in places:
            yield "by rules", [row], visit([row], False)
    for row in places if loop else places[:1]:
        yield "once more, after rows of other lengths", [row], visit([row], True)


def _difference(alone: Mapping[int, Seen], row: int, found: Seen, when: str) -> Worst:
    """Return the largest difference of one row, as a share of what the bound allows times the bound."""
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
    return value.abs().max() if name == "logits" else value.norm()


def _scale(there: Tensor, kin: Sequence[Tensor], name: str) -> float:
    """Return what a difference is measured by.

    Logits by how much they tell rows apart (they may be nearly the same for all, of a model that is not trained), but
    not below what rounding does. Everything else by its own size, or a tenth of the usual size, where it is next to
    nothing.
    """
    if name == "logits":
        stacked = torch.stack(list(kin))
        apart = float((stacked.amax(0) - stacked.amin(0)).max())
        return max(apart, float(stacked.abs().max()) * NOISE / BOUND)
    usual = float(np.median([float(value.norm()) for value in kin]))
    return max(float(there.norm()), 0.1 * usual)


def _differs(network: nn.Module, worst: Worst, where: str, loop: bool) -> UnsupportedModelError:
    told = "not finite" if worst.relative == float("inf") else f"relative difference {worst.relative:.2g}"
    return UnsupportedModelError(
        f"{where}: the {worst.value} that {_bare_name(network)} gives for a row alone are others {worst.when} ({told}; "
        f"{BOUND:g} at most is rounding): its scores would depend on the rows that are scored together",
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
    inner: Any = getattr(network, "get_base_model", None)
    return type(inner() if callable(inner) else network).__name__
