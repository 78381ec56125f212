"""How the scores agree with each other, with length and between seeds, and how well each finds wrong labels.

Each trial is fine-tuned with two seeds and scored by every score that needs no target. Wrong labels are injected
(redrawn uniformly, on real corpora) or known from annotators; the bars are those of a frozen encoder with a classifier,
where they were measured, and of a logistic regression on words, out of fold, in this run. Without `--data` the trials
are on simulated traffic.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from harness.label_errors import TRIALS, Trial, add_trial_options, detection, trials, word_baseline, written
from harness.outcome import Figures, Options, finish, print_table, quiet, target

import raysample
from raysample.core.config import FineTuneConfig, ModelConfig
from raysample.influence.scores import SCORES

USABLE = tuple(name for name, score in SCORES.items() if "target" not in score.example)


def scored(trial: Trial, options: Namespace, folder: Path) -> tuple[list[pd.DataFrame], list[float]]:
    """Fine-tune and score a trial with every seed; return the columns of each, and the test accuracies.

    The columns are the scores, turned so that high is hard, and the length in tokens, by row id.
    """
    rows = written(trial.rows, folder / "rows.parquet")
    train = rows if trial.more is None else written(pd.concat([trial.rows, trial.more]), folder / "train.parquet")
    test = written(trial.test, folder / "test.parquet")
    # A null model is trained on what the run was trained on: too slow for a quick run, and here more than is scored.
    prior = options.quick or trial.more is not None
    specs: list[Any] = [{"name": name, "null": "prior"} if prior and name == "pvi" else name for name in USABLE]
    small = options.quick and options.model == "tiny"
    model = ModelConfig(path=options.model, layers=options.layers, hidden_size=32 if small else 64)
    tables, accuracies = [], []
    for seed in range(options.seeds):
        recipe = FineTuneConfig(
            epochs=options.epochs,
            batch_size=32,
            learning_rate=options.learning_rate,
            head_learning_rate=max(options.learning_rate, 1e-3),
            checkpoints_per_epoch=options.checkpoints_per_epoch,
            group_by_length=True,
            seed=seed,
        )
        run = raysample.fine_tune(train, test, str(folder / f"seed-{seed}"), model=model, recipe=recipe)
        table = raysample.score(run, rows, specs, str(folder / f"scores-{seed}"), precision=options.precision)
        found = table.to_pandas().set_index("row_id")
        hard = {name: found[name] * (1 if SCORES[name].higher_is == "harder" else -1) for name in USABLE}
        tables.append(pd.DataFrame({**hard, "tokens": found["tokens"]}))
        accuracies.append(round(run.metrics["accuracy"], 4))
    return tables, accuracies


def agreement(tables: list[pd.DataFrame]) -> Figures:
    """Return the rank correlations between scores (mean over the seeds), with length, and between the seeds."""
    mean = sum(table.corr(method="spearman") for table in tables) / len(tables)
    length = mean.pop("tokens").drop("tokens")
    pairs = [(a, b.reindex(a.index)) for a, b in combinations(tables, 2)]
    between = {name: np.mean([a[name].corr(b[name], method="spearman") for a, b in pairs]) for name in USABLE if pairs}
    return {
        "between_scores": {name: plain(row) for name, row in mean.drop("tokens").iterrows()},
        "with_length": plain(length),
        "between_seeds": plain(between),
    }


def plain(values: Any) -> dict[str, float | None]:
    """Return numbers by name, rounded; None for a correlation of a score that is the same for all rows."""
    return {name: round(float(x), 4) if np.isfinite(x) else None for name, x in dict(values).items()}


def found_errors(trial: Trial, tables: list[pd.DataFrame]) -> Figures:
    """Return how well each score finds the wrong labels (mean over the seeds), and how well the words alone do."""
    wrong = trial.rows.set_index("id")["wrong"]
    scores = {}
    for name in USABLE:
        each = [detection(table[name].to_numpy(), wrong.loc[table.index].to_numpy()) for table in tables]
        scores[name] = plain(pd.DataFrame(each).mean())
    words = plain(detection(word_baseline(trial.rows), trial.rows["wrong"].to_numpy()))
    return {"rows": len(wrong), "wrong": int(wrong.sum()), "scores": scores, "baseline": words}


def examined(trial: Trial, options: Namespace) -> Figures:
    """Return everything about one trial."""
    with tempfile.TemporaryDirectory(prefix="raysample-agreement-") as folder, quiet():
        tables, accuracies = scored(trial, options, Path(folder))
        figures: Figures = {"rows": len(trial.rows), "accuracy": accuracies, **agreement(tables)}
        return {**figures, "detection": found_errors(trial, tables)} if "wrong" in trial.rows else figures


def targets(trial: Trial, figures: Figures) -> Figures:
    """Return the best score of a trial against its bars."""
    if "detection" not in figures:
        return {}
    found, name = figures["detection"], trial.name
    auroc, precision = (max(one[what] for one in found["scores"].values()) for what in ("auroc", "precision_at_k"))
    claims = {f"{name}: best AUROC, bar of words": target(auroc, ">=", found["baseline"]["auroc"])}
    if trial.bars is not None:
        claims[f"{name}: best AUROC, bar of a frozen encoder"] = target(auroc, ">=", trial.bars[0])
        claims[f"{name}: best precision at k, bar of a frozen encoder"] = target(precision, ">=", trial.bars[1])
    return claims


def show(trial: Trial, figures: Figures) -> None:
    """Print one line per score."""
    found, lines = figures.get("detection"), []
    for name in USABLE:
        row = figures["between_scores"][name]
        values = [figures["between_seeds"].get(name), figures["with_length"][name], row["vog"], row["el2n"]]
        values += found["scores"][name].values() if found else []
        lines.append([name, *("" if value is None else f"{value:.3f}" for value in values)])
    if found:
        lines.append(["words (baseline)", *[""] * 4, *(f"{value:.3f}" for value in found["baseline"].values())])
    title = f"{trial.name}: {figures['rows']:,} rows, test accuracy {figures['accuracy']}"
    headings = ("seeds", "length", "vog", "el2n", *(("AUROC", "AP", "precision@k") if found else ()))
    caption = f"{found['wrong']:,} wrong labels" if found else ""
    print_table(("score, high is hard", *headings), lines, title, caption)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score, compare, print."""
    parser = Options("How the scores agree, and how well each finds wrong labels.")
    add_trial_options(parser, TRIALS, quick_rows=400)
    parser.add_argument("--layers", type=int, metavar="N", help="keep the first N layers of the encoder")
    parser.add_argument("--noise", type=float, default=0.1, metavar="SHARE", help="of injected errors: %(default)s")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="%(default)s if not given")
    parser.size("--epochs", 5, 3)
    parser.size("--checkpoints-per-epoch", 2, 1)
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="1e-3 for tiny, else 5e-5 if not given")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of scoring")
    options = parser.read(argv)
    options.learning_rate = options.learning_rate or (1e-3 if options.model == "tiny" else 5e-5)
    claims, found = Figures(), Figures()
    for own in [False] if options.quick or options.data else [True, False]:
        for trial in trials(options, own, options.noise):
            found[trial.name] = examined(trial, options)
            claims |= targets(trial, found[trial.name])
            show(trial, found[trial.name])
    finish("agreement", claims, {"found": found}, options, "scikit-learn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
