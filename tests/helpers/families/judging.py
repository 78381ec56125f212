"""What becomes of the scores of one family of classifiers: right, refused by name, wrong, or failed without a name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import raysample
from raysample.core.errors import RaysampleError
from tests.helpers.families import making, truth

SCORES = ("el2n", "grand", "vog")
TOLERANCE = 1e-3
MAX_LENGTH = 96  # no row is cut, also if each word is three tokens
RIGHT, REFUSED, WRONG, BARE, NOT_BUILT = "right", "refused", "WRONG", "BARE", "not built"


def examined(case: str, folder: Path, count: int) -> dict[str, Any]:
    """Return what became of each score of a family, by rules and, if these are refused, by the loop."""
    family, _, side = case.partition(":")
    folder = folder / case.replace(":", "-")
    folder.mkdir()
    rows = making.rows(count)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            places = making.saved(family, folder, side or None)
            right = truth.loop(places, rows)
    except Exception as error:
        return {"family": case, "state": NOT_BUILT, "why": _first(error)}
    if not all(np.isfinite(column).all() for column in right.values()):
        return {"family": case, "state": NOT_BUILT, "why": "its values alone are not finite"}
    if np.unique(right["el2n"]).size <= count / 2:
        why = making.ALIKE.get(family, "its values do not tell rows apart")
        return {"family": case, "state": NOT_BUILT, "why": why}
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = raysample.describe(str(file), columns={"id": "id"}, labels=making.LABELS)
    found = dict[str, Any]()
    for method in ("rules", "loop"):
        found[method] = {name: _judged(places, corpus, name, method, right, rows) for name in SCORES}
        if _states(found[method]) == {RIGHT}:
            break
    overall = RIGHT if _states(found["rules"]) == {RIGHT} else REFUSED
    states = set().union(*map(_states, found.values()))
    return {"family": case, **found, "state": next((bad for bad in (WRONG, BARE) if bad in states), overall)}


def _states(found: dict[str, Any]) -> set[str]:
    return {one["state"] for one in found.values()}


def _judged(
    places: Sequence[str], corpus: Any, name: str, method: Any, right: dict[str, Any], rows: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Score one column and hold it against the loop."""
    spec = {"name": name, "checkpoints": "all" if name == "vog" else "last"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trace = raysample.adopt(list(places))
            # Without the check at the end: what is tried here is the proof before the first shard.
            table = raysample.score(trace, corpus, [spec], max_length=MAX_LENGTH, method=method, verify_rows=0)
    except RaysampleError as error:
        return {"state": REFUSED, "why": error.problem.partition("': ")[2] or error.problem}
    except Exception as error:
        return {"state": BARE, "why": _first(error)}
    if name not in right:
        return {"state": WRONG, "why": "scored, but the loop finds no such value"}
    values = table.to_pandas().set_index("row_id").loc[[row["id"] for row in rows], name].to_numpy(np.float64)
    scale = np.maximum(np.abs(right[name]), np.median(np.abs(right[name])))
    relative = float((np.abs(values - right[name]) / scale).max())
    return {"state": RIGHT if relative <= TOLERANCE else WRONG, "relative": relative}


def _first(error: Exception) -> str:
    """Return the first sentence of an error."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line.partition('. ')[0][:120]}"
