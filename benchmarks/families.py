"""Every sequence classifier of the installed transformers: right, refused by name, or (never) wrong.

Each family is built tiny from its configuration, with random weights that tell rows apart and two checkpoints; rows of
3 to 27 words are scored by `raysample.score` and by a bare loop over single rows (`tests/helpers/families/judging.py`).
`el2n` and `grand` are of the last checkpoint, `vog` is over both. What is refused by rules is scored with
`score.method: loop` as well. Some families are tried with padding on the other side, too (`FAMILY:left`).

`--page PATH` writes the table as a page of the documentation. Exit code 1: a wrong number, or a failure without a name.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from harness.outcome import Figures, Options, finish, print_table, target, version
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN

from tests.helpers.families.judging import BARE, NOT_BUILT, REFUSED, RIGHT, SCORES, WRONG, examined

QUICK = ("xlnet", "fnet", "canine", "nystromformer", "yoso", "big_bird")
QUICK += ("albert", "bart", "bert", "ctrl", "deberta-v2", "distilbert", "electra", "gpt2", "llama", "longformer")
QUICK += ("modernbert", "mpnet", "qwen2", "roberta")
LEFT = ("bert", "bloom", "deberta-v2", "distilbert", "gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3")
SIDES = (*(f"{family}:left" for family in LEFT), "xlnet:right")


def shown(one: Figures) -> list[str]:
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


def page(found: Sequence[Figures]) -> str:
    """Return the page of the documentation."""
    counts = Counter(one["state"] for one in found)
    families = len({one["family"].partition(":")[0] for one in found})
    first = (
        f"What becomes of every sequence classifier of transformers {version('transformers')}, built tiny from its "
        "configuration: `el2n`, `grand` and `vog`, held against a bare loop over single rows. "
        f"Of {len(found)} cases ({families} families, some padded on the other side, too: `:left`, `:right`) "
        f"{counts[RIGHT]} are right in all three columns, {counts[REFUSED]} are refused by "
        f"name in one or more, {counts[NOT_BUILT]} could not be built, {counts[WRONG]} are "
        f"wrong and {counts[BARE]} fail without a name. What is refused by rules may be right with "
        "[`score.method: loop`](configuration.md#what-is-proved-first), each row alone."
    )
    second = (
        "The page is written by `benchmarks/families.py --page docs/families.md` (see [benchmarks.md](benchmarks.md)). "
        "Weights are random: what is said of a family is said of its code, and every scoring proves it again for the "
        "checkpoints at hand. `vog` needs a module `embeddings`, `wte` or `embed_tokens` under the base model."
    )
    text = "\n\n".join(textwrap.fill(words, 100, break_on_hyphens=False) for words in (first, second))
    rows = [[cell.replace("|", "\\|") for cell in shown(one)] for one in found]
    lines = [f"| {' | '.join(cells)} |\n" for cells in (HEADINGS, *rows)]
    return f"# The families\n\n{text}\n\n" + "".join([lines[0], f"|{' --- |' * len(HEADINGS)}\n", *lines[1:]])


def main(argv: Sequence[str] | None = None) -> int:
    """Try, print; return 1 if a number is wrong or a failure has no name."""
    parser = Options("Every sequence classifier of transformers: right, refused by name, or wrong.")
    parser.add_argument("--only", action="append", metavar="FAMILY", help="this one, or FAMILY:left (more than once)")
    parser.size("--rows", 16, 8)
    parser.add_argument("--page", type=Path, metavar="PATH", help="also write the table as a page of the documentation")
    options = parser.read(argv)
    torch.set_num_threads(1)
    found = list[Figures]()
    with tempfile.TemporaryDirectory(prefix="families-") as folder:
        for family in options.only or (QUICK if options.quick else sorted((*KNOWN, *SIDES))):
            found.append(examined(family, Path(folder), options.rows))
            print(f"{family}: {found[-1]['state']}", file=sys.stderr)
    headings = [heading.replace("`", "") for heading in HEADINGS]
    print_table(headings, map(shown, found), f"{len(found)} cases", left=len(HEADINGS))
    if options.page is not None:
        options.page.write_text(page(found), encoding="utf-8")
    counts = Counter(one["state"] for one in found)
    claims = {"wrong": target(counts[WRONG], "==", 0), "bare": target(counts[BARE], "==", 0)}
    counted = {state: counts[state] for state in (RIGHT, REFUSED, NOT_BUILT)}
    finish("families", claims, {**counted, "found": found}, options)
    return 0 if all(aim["met"] for aim in claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
