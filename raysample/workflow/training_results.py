"""Results of a fine-tuning for the tracker, the terminal and the report."""

from __future__ import annotations

from typing import Any

from raysample.core import storage
from raysample.data.checkpoint_set import CheckpointSet
from raysample.evaluation import tracked
from raysample.models import Truncation
from raysample.tracking import Tracker
from raysample.training import TrainingCurve
from raysample.training.fine_tuning import EVALUATION, Outcome, outcome_of

# Points of a tracked curve: each takes about ten milliseconds.
POINTS = 100
NOTABLE = 0.05
"""Share of truncated rows from which on truncation is reported."""


def load_outcome(checkpoint_set: CheckpointSet) -> Outcome:
    """Return the outcome stored beside the checkpoints; raises StorageError if it is missing."""
    return outcome_of(checkpoint_set.uri)


def figures(outcome: Outcome, tested: bool = True) -> dict[str, float]:
    """Return the metrics of an outcome under their MLflow names: test and validation results, truncation, model size.

    `tested`: whether to include the test results although there are validation results; without them they always are.
    """
    chosen, found = outcome.validation, dict[str, float]()
    if tested or chosen is None:
        found |= tracked(outcome.evaluation.metrics, outcome.evaluation.intervals)
    if chosen is not None:
        found |= tracked(chosen.metrics, chosen.intervals, "validation")
    for corpus, cut in _truncations(outcome).items():
        found |= {f"{corpus}_truncated_share": cut.share, f"{corpus}_tokens_lost_share": cut.share_lost}
    made = outcome.record.get("model", {})
    return found | {name: float(made[name]) for name in ("parameters", "trainable_parameters") if name in made}


def training_headline(outcome: Outcome) -> str:
    """Return the main results as text: on validation if there is one, since the test belongs to the comparison."""
    evaluation, corpus = outcome.before_test, _shown(outcome)
    return f"{corpus} accuracy {evaluation.describe('accuracy')}, macro-F1 {evaluation.describe('macro_f1')}"


def training_remarks(outcome: Outcome) -> list[str]:
    """Return lines on the results on rare rows and on truncated texts, if there are any."""
    evaluation, lines, corpus = outcome.before_test, list[str](), _shown(outcome)
    if "rare_class_accuracy" in evaluation.metrics:
        classes, rows = evaluation.counts["rare_classes"], evaluation.counts["rare_class_rows"]
        what = f"{classes:,} rare class{'' if classes == 1 else 'es'} ({rows:,} {corpus} rows)"
        lines.append(f"{what}: accuracy {evaluation.describe('rare_class_accuracy')}")
    if "rare_content_accuracy" in evaluation.metrics:
        rows = evaluation.counts["rare_content_rows"]
        accuracy = evaluation.describe("rare_content_accuracy")
        lines.append(f"texts seen once ({rows:,} {corpus} rows): accuracy {accuracy}")
    names = {"train": "training", "validation": "validation", "test": "test"}
    return lines + [cut.describe(names[at]) for at, cut in _truncations(outcome).items() if cut.share > NOTABLE]


def _shown(outcome: Outcome) -> str:
    """Return the name of the corpus of `Outcome.before_test`."""
    return "test" if outcome.validation is None else "validation"


def report_training(checkpoint_set: CheckpointSet) -> dict[str, Any]:
    """Return the report's data on a run: `evaluation`, `tokens`, `model`; empty for adopted runs."""
    if not storage.exists(storage.join(checkpoint_set.uri, EVALUATION)):
        return {}
    outcome = load_outcome(checkpoint_set)
    seed = {"seed": checkpoint_set.seed, "rows": outcome.rows}
    return {"evaluation": {**outcome.evaluation.to_dict(), **seed}, **outcome.record}


def _truncations(outcome: Outcome) -> dict[str, Truncation]:
    """Return the truncation statistics by corpus."""
    return {name: Truncation.from_dict(data) for name, data in outcome.record.get("tokens", {}).items()}


def tell_curve(run: Tracker, uri: str) -> None:
    """Track mean loss and learning rate of up to 100 intervals of a run."""
    for step, loss, rate in TrainingCurve.from_table(storage.read_parquet(uri)).means(POINTS):
        run.metrics({"train_loss": loss, "learning_rate": rate}, step=step)
