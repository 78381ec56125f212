"""Every sequence classifier of the installed transformers: right, refused by name, or (never) wrong.

Each family is built tiny from its configuration, with random weights that tell rows apart and two checkpoints; rows of
3 to 27 words are scored by `raysample.score` and by a bare loop over single rows (`kinds/truth.py`). `el2n` and `grand`
are of the last checkpoint, `vog` is over both. What is refused by rules is scored with `score.method: loop` as well.
Some families are tried with padding on the other side, too (`FAMILY:left`, `FAMILY:right`).

Prints a table and, as the last line, JSON. `--page PATH` writes the table as a page of the documentation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import textwrap
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness.outcome import finish, machine, parser, print_table, target
from harness.quietness import quiet
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN

import raysample
from raysample.core.errors import RaysampleError
from tests.helpers.families import making, truth

SCORES = ("el2n", "grand", "vog")
TOLERANCE = 1e-3
ROOM = 96  # no row is cut, also where each word is three tokens
QUICK = ("xlnet", "fnet", "canine", "nystromformer", "yoso", "big_bird")
QUICK += ("albert", "bart", "bert", "ctrl", "deberta-v2", "distilbert", "electra", "gpt2", "llama", "longformer")
QUICK += ("modernbert", "mpnet", "qwen2", "roberta")
LEFT = ("bert", "bloom", "deberta-v2", "distilbert", "gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3")
SIDES = (*(f"{family}:left" for family in LEFT), "xlnet:right")
RIGHT, REFUSED, WRONG, BARE, NOT_BUILT = "right", "refused", "WRONG", "BARE", "not built"


def examined(case: str, folder: Path, count: int) -> dict[str, Any]:
    """Return what became of each score of a family, by rules and, where these are refused, by the loop."""
    told: dict[str, Any] = {"family": case}
    family, _, side = case.partition(":")
    folder = folder / case.replace(":", "-")
    folder.mkdir()
    found = making.rows(count)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            places = making.saved(family, folder, side or None)
            right = truth.loop(places, found)
    except Exception as error:  # noqa: BLE001 - whatever a family raises is why it is not here
        return {**told, "state": NOT_BUILT, "why": _first(error)}
    if not all(np.isfinite(column).all() for column in right.values()):
        return {**told, "state": NOT_BUILT, "why": "its values alone are not finite"}
    if np.unique(right["el2n"]).size <= count / 2:
        return {**told, "state": NOT_BUILT, "why": making.ALIKE.get(family, "its values do not tell rows apart")}
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in found))
    corpus = raysample.describe(str(file), columns={"id": "id"}, labels=making.LABELS)
    for method in ("rules", "loop"):
        told[method] = {name: _judged(places, corpus, name, method, right, found) for name in SCORES}
        if all(one["state"] == RIGHT for one in told[method].values()):
            break
    states = {one["state"] for one in told["rules"].values()} | {s["state"] for s in told.get("loop", {}).values()}
    told["state"] = next((bad for bad in (WRONG, BARE) if bad in states), _overall(told["rules"]))
    return told


def _overall(found: dict[str, dict[str, Any]]) -> str:
    return RIGHT if all(one["state"] == RIGHT for one in found.values()) else REFUSED


def _judged(
    places: Sequence[str], corpus: Any, name: str, method: Any, right: dict[str, Any], rows: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Score one column and hold it against the loop."""
    spec = {"name": name, "checkpoints": "all" if name == "vog" else "last"}
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trace = raysample.adopt(list(places))
            # Without the check at the end: what is tried here is the proof before the first shard.
            table = raysample.score(trace, corpus, [spec], max_length=ROOM, method=method, verify_rows=0)
    except RaysampleError as error:
        return {"state": REFUSED, "why": error.problem.partition("': ")[2] or error.problem}
    except Exception as error:  # noqa: BLE001 - what this looks for
        return {"state": BARE, "why": _first(error)}
    if name not in right:
        return {"state": WRONG, "why": "scored, but the loop finds no such value"}
    values = table.to_pandas().set_index("row_id").loc[[row["id"] for row in rows], name].to_numpy(np.float64)
    scale = np.maximum(np.abs(right[name]), np.median(np.abs(right[name])))
    relative = float((np.abs(values - right[name]) / scale).max())
    return {"state": RIGHT if relative <= TOLERANCE else WRONG, "relative": relative}


def _first(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line.partition('. ')[0][:120]}"


def shown(one: dict[str, Any]) -> list[str]:
    """Return a family as the cells of a table."""
    if one["state"] == NOT_BUILT:
        return [one["family"], *[NOT_BUILT] * len(SCORES), "", one["why"]]
    rules = [one["rules"][name]["state"] for name in SCORES]
    loop = ", ".join(name for name in SCORES if one.get("loop", {}).get(name, {}).get("state") == RIGHT)
    reasons = dict.fromkeys(_short(found["why"]) for found in one["rules"].values() if "why" in found)
    return [one["family"], *rules, loop, "; ".join(reasons)]


def _short(reason: str) -> str:
    """Return the part of a refusal that tells families apart."""
    if "for a row alone are others" in reason:
        return "a row alone is another " + reason.partition("are others ")[2].partition(" (")[0]
    return reason.removeprefix("per-example gradients: ").removeprefix("embedding gradients: ")[:110]


HEADINGS = ("family", *SCORES, "right with `method: loop`", "why")


def page(told: Sequence[dict[str, Any]], versions: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    counts = Counter(one["state"] for one in told)
    families = len({one["family"].partition(":")[0] for one in told})
    lines = [" | ".join(cell.replace("|", "\\|") for cell in shown(one)) for one in told]
    first = (
        f"What becomes of every sequence classifier of transformers {versions['transformers']}, built tiny from its "
        "configuration: `el2n`, `grand` and `vog`, held against a bare loop over single rows. "
        f"Of {len(told)} cases ({families} families, some padded on the other side, too: `:left`, `:right`) "
        f"{counts[RIGHT]} are right in all three columns, {counts[REFUSED]} are refused by "
        f"name in one or more, {counts[NOT_BUILT]} could not be built, {counts[WRONG]} are "
        f"wrong and {counts[BARE]} fail without a name. What is refused by rules may be right with "
        "[`score.method: loop`](configuration.md#what-is-proved-first), each row alone."
    )
    second = (
        "The page is written by `benchmarks/families.py --page docs/families.md` (see [benchmarks.md](benchmarks.md)). "
        "Weights are random: what is told of a family is told of its code, and every scoring proves it again for the "
        "checkpoints at hand. `vog` needs a module `embeddings`, `wte` or `embed_tokens` under the base model."
    )
    text = "\n\n".join(textwrap.fill(words, 140, break_on_hyphens=False) for words in (first, second))
    head = f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}\n"
    return f"# The families\n\n{text}\n\n{head}" + "".join(f"| {line} |\n" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Try, print; return 1 where a number is wrong or a failure has no name."""
    given = arguments(argv)
    torch.set_num_threads(1)
    families = given.only or (QUICK if given.quick else sorted((*KNOWN, *SIDES)))
    told = []
    with tempfile.TemporaryDirectory(prefix="families-") as folder:
        for family in families:
            told.append(examined(family, Path(folder), given.rows or (8 if given.quick else 16)))
            print(f"{family}: {told[-1]['state']}", file=sys.stderr)
    headings = [heading.replace("`", "") for heading in HEADINGS]
    print_table(headings, [shown(one) for one in told], f"{len(told)} cases", left=len(HEADINGS))
    counts = Counter(one["state"] for one in told)
    claims = {"wrong": target(counts[WRONG], "==", 0), "bare": target(counts[BARE], "==", 0)}
    about = machine()
    if given.page is not None:
        given.page.write_text(page(told, about["versions"]), encoding="utf-8")
    counted = {state: counts[state] for state in (RIGHT, REFUSED, NOT_BUILT)}
    finish({"benchmark": "families", "targets": claims, **counted, "found": told, **about}, given.json)
    return 0 if all(aim["met"] for aim in claims.values()) else 1


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("Every sequence classifier of transformers: right, refused by name, or wrong.")
    made.add_argument("--only", action="append", metavar="FAMILY", help="this one, or FAMILY:left (may be given again)")
    made.add_argument("--rows", type=int, metavar="N", help="16 if not given, with --quick 8")
    made.add_argument("--page", type=Path, metavar="PATH", help="also write the table as a page of the documentation")
    return made.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
