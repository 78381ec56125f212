"""Whether the pilot of `raysample prune` confirms what fine-tuning on all training rows confirms.

For each corpus: `raysample prune --pilot` on the training rows; then stratified random sampling and each candidate of
the pilot select from all training rows, the encoder is fine-tuned on each selection with several seeds by the product's
own recipe (a head of random weights), and all are tested on rows that took no part. `--data FOLDER` reads Parquet files
as `auto.py` does. Without `--encoder` a random tiny encoder stands in: then the figures only show that it runs.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from auto import Texts, corpora
from harness.outcome import Figures, Options, finish, print_table, quiet, target

import raysample
from raysample import models
from raysample.core.config import ArmConfig, Columns, FineTuneConfig, ModelConfig, SourceConfig
from raysample.data.corpus import Corpus, describe_source
from raysample.evaluation.differences import difference
from raysample.evaluation.objectives import estimates
from raysample.execution.local import LocalExecutor
from raysample.selection import write_selection
from raysample.selection.race.candidates import INCUMBENT
from raysample.selection.race.decision import DECISION_FILE, Decision
from raysample.testing import tiny_model, tiny_tokenizer
from raysample.training.fine_tuning import Job, execute
from raysample.workflow import RunContext
from raysample.workflow.choice import ChoiceSettings, Chooser


def pair_of(texts: Texts) -> str | None:
    """Return the column of the second texts; None if the rows are single texts."""
    return "text_pair" if texts.train["text_pair"].null_count < len(texts.train) else None


def decided(texts: Texts, folder: Path, share: float, model: ModelConfig, recipe: FineTuneConfig, budget: float) -> Any:
    """Prune the training rows with a pilot; return the decision."""
    place = str(folder / "pruned")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raysample.prune(
            texts.train,
            place,
            id="row_id",
            pair=pair_of(texts),
            keep=share,
            encoder=model,
            pilot=True,
            budget=budget,
            recipe=recipe,
        )
    return Decision.load(f"{place}/{DECISION_FILE}")


def tested(
    texts: Texts,
    folder: Path,
    arms: Sequence[ArmConfig],
    share: float,
    model: ModelConfig,
    recipe: FineTuneConfig,
    seeds: int,
) -> Iterator[tuple[float, float, float]]:
    """Yield each arm's difference in test accuracy to the first one, with its interval."""
    train = Corpus.load(str(folder / "pruned" / "work" / "corpus"))
    pq.write_table(texts.test, folder / "test.parquet")
    source = SourceConfig(
        path=str(folder / "test.parquet"),
        columns=Columns(id="row_id", text_pair=pair_of(texts)),
        unseen_labels="quarantine",
    )
    test = describe_source(source, str(folder / "test"), labels=train.labels)
    chooser = Chooser(train, str(folder / "pruned" / "work"), ChoiceSettings(model), RunContext(LocalExecutor()))
    base, found = models.prepare_base(model, train, str(folder / "base")), []
    for place, arm in enumerate(arms):
        table, runs = chooser.table(arm)[0], []
        for seed in range(seeds):
            chosen = write_selection(table, arm, str(folder / f"arm-{place}-{seed}"), fraction=share, seed=seed)
            job = Job(train.uri, test.uri, base, model, recipe.model_copy(update={"seed": seed}), chosen.uri)
            runs.append(execute(job).evaluation.predictions)
        found.append(estimates("accuracy", runs))
        if place:
            gap = difference(found[-1], found[0])
            low, high = gap.bounds(0.95)
            yield float(gap.mean), float(low), float(high)


def cells_of(texts: Texts, options: Namespace, model: ModelConfig, recipe: FineTuneConfig) -> Iterator[Figures]:
    """Yield a cell for each candidate of a corpus: what the pilot says, and what the test says."""
    with tempfile.TemporaryDirectory() as home:
        decision = decided(texts, Path(home), options.share, model, recipe, options.budget)
        pilot, race = decision.pilot, {entry.name: entry for entry in decision.race.entries}
        entries = [] if pilot is None else pilot.entries
        arms = [INCUMBENT, *(ArmConfig(**entry.arm) for entry in entries)]
        cell: Figures = {"corpus": texts.name, "rows": len(texts.train), "share": options.share}
        cell |= {"reason": decision.chosen(), "spent": 0.0 if pilot is None else pilot.spent}
        if not entries:
            yield {**cell, "candidate": "none", "status": "", "taken": False, "gap": 0.0, "low": 0.0, "high": 0.0}
            return
        gaps = tested(texts, Path(home), arms, options.share, model, recipe, options.seeds)
        for entry, (gap, low, high) in zip(entries, gaps, strict=True):
            said = {"candidate": entry.name, "status": entry.status, "taken": entry.name == decision.arm.name}
            said |= {"probe": race[entry.name].differences["accuracy"][0], "pilot": entry.mean}
            said |= {"pilot_low": entry.low, "pilot_high": entry.high, "gap": gap, "low": low, "high": high}
            yield {**cell, **said}


def line(c: Figures) -> list[str]:
    """Return a cell as a line of the table."""
    if not c["status"]:
        return [c["corpus"], c["candidate"], c["reason"], "", "", ""]
    probe, mean, low, high = (f"{100 * c[name]:+.2f}" for name in ("probe", "pilot", "pilot_low", "pilot_high"))
    gap, below, above = (f"{100 * c[name]:+.2f}" for name in ("gap", "low", "high"))
    return [c["corpus"], c["candidate"], c["status"], probe, f"{mean} [{low}, {high}]", f"{gap} [{below}, {above}]"]


def stand_in(folder: str) -> str:
    """Write a random tiny encoder into a folder; return the folder."""
    models.save_model(tiny_model(), tiny_tokenizer(), Path(folder))
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Prune, fine-tune, test, print."""
    parser = Options("Does the pilot confirm what fine-tuning confirms?")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="corpora; simulated traffic without it")
    parser.add_argument("--corpora", nargs="*", metavar="NAME", help="some of them (default all)")
    parser.add_argument("--noise", metavar="COLUMN", help="also with the labels of this column of FOLDER/noise")
    parser.add_argument("--encoder", type=Path, metavar="FOLDER", help="an encoder; a random one without it")
    parser.add_argument("--share", type=float, default=0.5, metavar="S", help="share kept (default 0.5)")
    parser.size("--layers", 3, 1, "of the encoder, from the first on")
    parser.size("--rows", 4_000, 900, "training rows of a corpus, at most")
    parser.size("--seeds", 3, 2, "trainings of each selection")
    parser.size("--epochs", 3, 1, "of each training")
    parser.size("--budget", 2.0, 8.0, "of the pilot, in trainings on all rows", type=float)
    options, cells = parser.read(argv), list[Figures]()
    recipe = FineTuneConfig(epochs=options.epochs, learning_rate=1e-4, head_learning_rate=1e-3, group_by_length=True)
    with quiet(), tempfile.TemporaryDirectory() as home:
        place = stand_in(home) if options.encoder is None else str(options.encoder)
        model = ModelConfig(path=place, layers=options.layers, max_length=64, dropout=0.0, freeze=["embeddings"])
        for texts in corpora(options):
            for cell in cells_of(texts, options, model, recipe):
                cells.append(cell)
                print("  {corpus}: {candidate} {status}, {gap:+.4f} on test".format(**cell), flush=True)
    print_table(
        ("corpus", "candidate", "pilot says", "gap in the race", "gap in the pilot [bounds]", "gap on test [95 %]"),
        map(line, cells),
        "points of accuracy over stratified random sampling; the last two by fine-tuning",
        left=3,
    )
    taken = {c["corpus"]: c["gap"] for c in cells if c["taken"]}
    gaps = [taken.get(name, 0.0) for name in dict.fromkeys(c["corpus"] for c in cells)]
    targets = {
        "candidates taken that lose on test": target(sum(c["taken"] and c["high"] < 0 for c in cells), "==", 0),
        "mean gap of what is taken, in points": target(100 * sum(gaps) / len(gaps), ">=", 0),
    }
    options.data, options.encoder = (path and path.name for path in (options.data, options.encoder))
    finish("pilot", targets, {"cells": cells}, options)
    return 0 if all(aim["met"] for aim in targets.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
