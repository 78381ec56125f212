"""How the scores agree with each other, with length and between seeds, and how well each finds wrong labels.

Each trial is fine-tuned with two seeds and scored by every score that needs no target. Wrong labels are injected
(redrawn uniformly, on real corpora) or known from annotators; the bars are those of a frozen encoder with a classifier,
where they were measured, and of a logistic regression on words, out of fold, in this run. Without `--data` the trials
are on simulated traffic.

Prints tables and, as the last line, JSON.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from harness.outcome import finish, machine, parser, print_table, target
from harness.quietness import quiet
from label_noise.detection import baseline, detection, ranks
from label_noise.trials import TRIALS, Trial, simulated, written

import raysample
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.core.errors import ScoreError
from raysample.data.checkpoint_set import CheckpointSet
from raysample.influence.scores import SCORES, create_score

Figures = dict[str, Any]


def specs(prior: bool) -> list[str | dict[str, Any]]:
    """Return what is scored; `prior`: PVI with the class shares in place of a fine-tuned null model."""
    return [{"name": name, "null": "prior"} if prior and name == "pvi" else name for name in usable()]


def usable() -> list[str]:
    """Return the scores that need no option, and so no target."""
    return [name for name in SCORES if _stands_alone(name)]


def _stands_alone(name: str) -> bool:
    try:
        create_score(name)
    except ScoreError:
        return False
    return True


def hardness(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of a table turned so that high is hard, and the length in tokens, by row id."""
    found = table.set_index("row_id")
    turned = {name: found[name] * (1 if SCORES[name].higher_is == "harder" else -1) for name in usable()}
    return pd.DataFrame({**turned, "tokens": found["tokens"]})


def scored(trial: Trial, given: argparse.Namespace, folder: Path) -> tuple[list[pd.DataFrame], list[float]]:
    """Fine-tune and score a trial with every seed; return the columns of each, and the test accuracies."""
    rows = written(trial.rows, folder / "rows.parquet")
    train = rows if trial.more is None else written(pd.concat([trial.rows, trial.more]), folder / "train.parquet")
    test = written(trial.test, folder / "test.parquet")
    # For a quick run; and a null model is trained on what the run was trained on, which here is more than is scored.
    prior = given.quick or trial.more is not None
    tables, accuracies = [], []
    for seed in range(given.seeds):
        trace = trained(train, test, given, seed, folder / f"seed-{seed}")
        table = raysample.score(trace, rows, specs(prior), str(folder / f"scores-{seed}"), precision=given.precision)
        tables.append(hardness(table.to_pandas()))
        accuracies.append(round(trace.metrics["accuracy"], 4))
    return tables, accuracies


def trained(train: Any, test: Any, given: argparse.Namespace, seed: int, folder: Path) -> CheckpointSet:
    """Fine-tune with one seed."""
    recipe = FineTuneConfig(
        epochs=given.epochs,
        batch_size=32,
        learning_rate=given.learning_rate,
        head_learning_rate=max(given.learning_rate, 1e-3),
        checkpoints_per_epoch=given.checkpoints_per_epoch,
        group_by_length=True,
        seed=seed,
    )
    small = given.quick and given.model == "tiny"
    model = ModelConfig(path=given.model, layers=given.layers, hidden_size=32 if small else 64)
    return raysample.fine_tune(train, test, str(folder), model=model, recipe=recipe)


def agreement(tables: list[pd.DataFrame]) -> Figures:
    """Return the rank correlations between scores (mean over the seeds), with length, and between the seeds."""
    mean = sum(ranks(table) for table in tables) / len(tables)
    length = mean.pop("tokens").drop("tokens")
    between = {}
    if len(tables) > 1:
        pairs = [(a, b) for i, a in enumerate(tables) for b in tables[i + 1 :]]
        between = {
            name: float(np.mean([a[name].corr(b[name].reindex(a.index), method="spearman") for a, b in pairs]))
            for name in usable()
        }
    return {
        "between_scores": {a: plain(row) for a, row in mean.drop("tokens").iterrows()},
        "with_length": plain(length),
        "between_seeds": plain(between),
    }


def plain(values: Any) -> dict[str, float | None]:
    """Return numbers by name, rounded; None where there is none (a score that is the same for all rows)."""
    return {name: round(float(x), 4) if np.isfinite(x) else None for name, x in dict(values).items()}


def found_errors(trial: Trial, tables: list[pd.DataFrame]) -> Figures:
    """Return how well each score finds the wrong labels: the mean over the seeds; and how a baseline does."""
    truth = trial.rows.set_index("id")["wrong"]
    told: Figures = {"rows": len(truth), "wrong": int(truth.sum()), "scores": {}}
    for name in usable():
        each = [detection(table[name].to_numpy(), truth.loc[table.index].to_numpy()) for table in tables]
        told["scores"][name] = {what: round(float(np.mean([one[what] for one in each])), 4) for what in each[0]}
    words = detection(baseline(trial.rows), trial.rows["wrong"].to_numpy())
    return {**told, "baseline": {what: round(value, 4) for what, value in words.items()}}


def examined(trial: Trial, given: argparse.Namespace) -> Figures:
    """Return everything about one trial."""
    with tempfile.TemporaryDirectory(prefix="raysample-agreement-") as folder, quiet():
        tables, accuracies = scored(trial, given, Path(folder))
        figures: Figures = {"rows": len(trial.rows), "accuracy": accuracies, **agreement(tables)}
        return {**figures, "detection": found_errors(trial, tables)} if "wrong" in trial.rows else figures


def targets(trial: Trial, figures: Figures) -> Figures:
    """Return the best score of a trial against its bars."""
    if "detection" not in figures:
        return {}
    found = figures["detection"]
    best = {what: max(one[what] for one in found["scores"].values()) for what in found["baseline"]}
    name, words = trial.name, found["baseline"]
    claims = {f"{name}: best AUROC, bar of words": target(best["auroc"], ">=", words["auroc"])}
    if trial.bars is not None:
        claims[f"{name}: best AUROC, bar of a frozen encoder"] = target(best["auroc"], ">=", trial.bars[0])
        key = f"{name}: best precision at k, bar of a frozen encoder"
        claims[key] = target(best["precision_at_k"], ">=", trial.bars[1])
    return claims


def show(trial: Trial, figures: Figures) -> None:
    """Print one line per score."""
    found, lines = figures.get("detection"), []
    for name in usable():
        row = figures["between_scores"][name]
        told = [figures["between_seeds"].get(name), figures["with_length"][name], row["vog"], row["el2n"]]
        told += list(found["scores"][name].values()) if found else []
        lines.append([name, *("" if value is None else f"{value:.3f}" for value in told)])
    if found:
        lines.append(["words (baseline)", *[""] * 4, *(f"{value:.3f}" for value in found["baseline"].values())])
    accuracy = ", ".join(f"{value:.3f}" for value in figures["accuracy"])
    title = f"{trial.name}: {figures['rows']:,} rows, test accuracy {accuracy}"
    headings = ("seeds", "length", "vog", "el2n", *(("AUROC", "AP", "precision@k") if found else ()))
    caption = f"{found['wrong']:,} wrong labels" if found else ""
    print_table(("score, high is hard", *headings), lines, title, caption)


def trials(given: argparse.Namespace, folder: Path) -> Iterator[Trial]:
    """Yield what to examine."""
    rows = given.rows or (400 if given.quick else None)
    if given.data is None:
        print("no --data folder: simulated traffic instead of real corpora")
        own, redrawn = simulated(folder, max(500, rows or 10_000), given.noise)
        yield from [redrawn] if given.quick else [own, redrawn]
        return
    for name in given.trials or (["clinc-noise", "hutto"] if given.quick else TRIALS):
        yield TRIALS[name](given.data, rows, given.noise)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score, compare, print."""
    given = arguments(argv)
    if given.threads:
        torch.set_num_threads(given.threads)
    claims, found = dict[str, Any](), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="raysample-traffic-") as folder:
        for trial in trials(given, Path(folder)):
            found[trial.name] = examined(trial, given)
            claims |= targets(trial, found[trial.name])
            show(trial, found[trial.name])
    how = ("epochs", "seeds", "checkpoints_per_epoch", "learning_rate", "layers", "noise", "precision")
    told = {**{name: getattr(given, name) for name in how}, "encoder": Path(given.model).name}
    finish({"benchmark": "agreement", "targets": claims, "found": found, **told, **machine("scikit-learn")}, given.json)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    made = parser("How the scores agree, and how well each finds wrong labels.")
    made.add_argument("--data", type=Path, metavar="FOLDER", help="of the real corpora; else simulated traffic")
    made.add_argument("--model", default="tiny", metavar="FOLDER", help="an encoder's folder, or tiny")
    made.add_argument("--layers", type=int, metavar="N", help="keep the first N layers of the encoder")
    made.add_argument("--trials", choices=TRIALS, nargs="+", help="all if not given; with --quick two")
    made.add_argument("--rows", type=int, metavar="N", help="at most, of a trial; all if not given, with --quick 400")
    made.add_argument("--noise", type=float, default=0.1, metavar="SHARE", help="of injected errors: %(default)s")
    made.add_argument("--seeds", type=int, default=2, metavar="N", help="%(default)s if not given")
    made.add_argument("--epochs", type=int, metavar="N", help="5 if not given, with --quick 3")
    made.add_argument("--checkpoints-per-epoch", type=int, metavar="N", help="2 if not given, with --quick 1")
    made.add_argument("--learning-rate", type=float, metavar="RATE", help="1e-3 for tiny, else 5e-5 if not given")
    made.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of scoring: %(default)s")
    made.add_argument("--threads", type=int, metavar="N", help="of torch: its own choice if not given")
    given = made.parse_args(argv)
    given.epochs = given.epochs or (3 if given.quick else 5)
    given.checkpoints_per_epoch = given.checkpoints_per_epoch or (1 if given.quick else 2)
    given.learning_rate = given.learning_rate or (1e-3 if given.model == "tiny" else 5e-5)
    return given


if __name__ == "__main__":
    sys.exit(main())
