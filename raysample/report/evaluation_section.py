"""The report's section on the test of the scored model: metrics with intervals, classes, groups, truncated rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysample.evaluation import Bounds, Evaluation
from raysample.evaluation.arm_summary import TAIL_METRICS, ArmSummary, Gap
from raysample.evaluation.comparison import Comparison
from raysample.models import Truncation
from raysample.report.formatting import DASH, clean, format_interval, format_mean_std, percent, share, signed

SHOWN_CLASSES = 12
"""Classes or groups shown in a table."""
_METRICS = {
    "accuracy": "accuracy, %",
    "macro_f1": "macro-F1, %",
    "worst_class_recall": "worst class recall, %",
    "new_text_accuracy": "accuracy on new texts, %",
    "new_text_macro_f1": "macro-F1 on new texts, %",
    "rare_class_accuracy": "accuracy on rare classes, %",
    "rare_class_recall": "mean recall of rare classes, %",
    "rare_content_accuracy": "accuracy on texts seen once, %",
    "repeated_content_accuracy": "accuracy on texts seen again, %",
    "group_recall": "mean recall of groups, %",
    "worst_group_recall": "worst group recall, %",
    "calibration_error": "calibration error, points",
}
_TAILS = dict(zip(TAIL_METRICS, ("rare classes", "texts seen once"), strict=True))


@dataclass(frozen=True)
class Figures:
    """A plain table: caption, column heads, and rows of cells, the first of which is a name."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class EvaluationSection:
    """Sentences and tables on the test of one model."""

    sentences: tuple[str, ...]
    tables: tuple[Figures, ...]


def section_of_test(provenance: Mapping[str, Any], labels: Sequence[str]) -> EvaluationSection | None:
    """Return the section; None if the provenance has neither `evaluation` nor `tokens`.

    Args:
        provenance: `evaluation` as `Evaluation.to_dict` returns it, with the `seed` and training `rows` of the run;
            `tokens`: corpus -> what `Truncation.to_dict` returns.
        labels: class names.
    """
    recorded = provenance.get("evaluation")
    evaluation = None if recorded is None else Evaluation.from_dict(recorded)
    cuts = {name: Truncation.from_dict(data) for name, data in provenance.get("tokens", {}).items()}
    if evaluation is None and not cuts:
        return None
    sentences, tables = list[str](), list[Figures]()
    if evaluation is not None and recorded is not None:
        sentences += _sentences(evaluation, recorded)
        tables += [_metrics(evaluation), *_classes(evaluation, labels), *_groups(evaluation)]
    if cuts:
        tables += [_lengths(cuts), *_cut_classes(cuts, labels)]
    return EvaluationSection(tuple(sentences), tuple(tables))


def _sentences(evaluation: Evaluation, data: Mapping[str, Any]) -> list[str]:
    """Return sentences on the model, the intervals, rare rows and groups."""
    rows = evaluation.counts.get("rows")
    tested = f" on {rows:,} test rows" if rows is not None else ""
    sentences = [f"The model that was scored (all {data['rows']:,} training rows, seed {data['seed']}){tested}."]
    if evaluation.intervals:
        sentences.append(
            f"Intervals: {share(evaluation.confidence)}, by drawing test rows again; they tell nothing of other seeds."
        )
    if "rare_class_accuracy" in evaluation.metrics:
        classes, of = evaluation.counts["rare_classes"], evaluation.counts["rare_class_rows"]
        sentences.append(
            f"Rare classes: the {classes:,} smallest, with at most a tenth of the training rows ({of:,} test rows)."
        )
    if "rare_content_accuracy" in evaluation.metrics:
        of = evaluation.counts["rare_content_rows"]
        sentences.append(f"{of:,} test rows have a text that occurs once in training and test together.")
    if "new_text_accuracy" in evaluation.metrics:
        of = evaluation.counts["new_text_rows"]
        sentences.append(f"{of:,} test rows have a new text: no training or validation row has it, or nearly.")
    if evaluation.counts.get("groups", 0) > len(evaluation.groups):
        sentences.append(f"The {evaluation.counts['groups']:,} groups are too many to be told apart.")
    return sentences


def _metrics(evaluation: Evaluation) -> Figures:
    """Return the table of metrics with intervals."""
    rows = [
        (name, percent(evaluation.metrics[metric]), _interval(evaluation.intervals.get(metric)))
        for metric, name in _METRICS.items()
        if metric in evaluation.metrics
    ]
    low, high = evaluation.intervals.get("nll", (float("nan"), float("nan")))
    interval = DASH if low != low else f"{low:.4f} to {high:.4f}"
    rows.append(("log-loss, nats", f"{evaluation.metrics['nll']:.4f}", interval))
    return Figures("Test results", ("metric", "value", "interval"), tuple(rows))


def _interval(bounds: Bounds | None) -> str:
    """Return an interval in per cent as text; a dash if there is none."""
    return DASH if bounds is None or bounds[0] != bounds[0] else f"{percent(bounds[0])} to {percent(bounds[1])}"


def _classes(evaluation: Evaluation, labels: Sequence[str]) -> list[Figures]:
    """Return the table of the classes with the lowest recall."""
    if not evaluation.recall_bounds or not evaluation.class_rows:
        return []
    present = [c for c, rows in enumerate(evaluation.class_rows) if rows]
    worst = sorted(present, key=lambda c: (evaluation.recall[c], -evaluation.class_rows[c]))[:SHOWN_CLASSES]
    rare = set(evaluation.rare)
    rows = [
        (
            clean(labels[c], 80) + (" (rare)" if c in rare else ""),
            f"{evaluation.class_rows[c]:,}",
            percent(evaluation.recall[c], 1),
            _interval(evaluation.recall_bounds[c]),
        )
        for c in worst
    ]
    caption = "Recall by class, %" if len(worst) == len(labels) else f"The {len(worst)} classes of least recall, %"
    return [Figures(caption, ("class", "test rows", "recall", "interval"), tuple(rows))]


def _groups(evaluation: Evaluation) -> list[Figures]:
    """Return the table of the groups with the lowest recall."""
    if not evaluation.groups:
        return []
    worst = sorted(evaluation.groups, key=lambda group: (group.recall, -group.rows))[:SHOWN_CLASSES]
    rows = [(clean(g.name, 80) or "(empty)", f"{g.rows:,}", percent(g.recall, 1), _interval(g.bounds)) for g in worst]
    all_of = len(worst) == len(evaluation.groups)
    caption = (
        "Recall by group, %" if all_of else f"The {len(worst)} of {len(evaluation.groups):,} groups of least recall, %"
    )
    return [Figures(caption, ("group", "test rows", "recall", "interval"), tuple(rows))]


def _lengths(cuts: Mapping[str, Truncation]) -> Figures:
    """Return the table of token counts and truncated rows per corpus."""
    shares = ("0.5", "0.9", "0.95", "0.99", "1.0")
    heads = ("corpus", "rows cut", "of all", "tokens lost", "median", "90 %", "95 %", "99 %", "longest")
    rows = [
        (
            clean(name),
            f"{'≈ ' if cut.measured < cut.full else ''}{cut.cut:,}",
            share(cut.share),
            share(cut.share_lost),
            *(f"{cut.quantiles[at]:,}" for at in shares),
        )
        for name, cut in cuts.items()
    ]
    longest = next(iter(cuts.values())).max_length
    caption = f"Tokens per row before cutting to model.max_length {longest}"
    if any(cut.measured < cut.full for cut in cuts.values()):
        caption += "; ≈: estimated, and so are the lengths beyond it, from a sample of the rows that were cut"
    return Figures(caption, heads, tuple(rows))


def _cut_classes(cuts: Mapping[str, Truncation], labels: Sequence[str]) -> list[Figures]:
    """Return the table of the classes with the largest share of truncated training rows."""
    cut = cuts.get("train")
    if cut is None or not cut.cut:
        return []
    shares = np.array([np.nan if value is None else value for value in cut.by_class])
    worst = [int(c) for c in np.argsort(np.where(np.isnan(shares), 0.0, -shares), kind="stable") if shares[c] > 0]
    rows = [(clean(labels[c], 80), share(float(shares[c]))) for c in worst[:SHOWN_CLASSES]]
    return [Figures("Training rows cut, by class: those cut most", ("class", "rows cut"), tuple(rows))]


def tail_figures(comparison: Comparison) -> Figures | None:
    """Return the arms' accuracy on rare rows and its gap to random; None if no arm has such metrics."""
    names = [name for name in TAIL_METRICS if any(name in summary.tails for summary in comparison.summaries)]
    if not names:
        return None
    heads = ("arm", "kept", *(head for name in names for head in (_TAILS[name], "gap to random")))
    rows = tuple(_tails(summary, names) for summary in comparison.summaries)
    return Figures("Accuracy on what is rare, %, and its gap to random in points", heads, rows)


def _tails(summary: ArmSummary, names: Sequence[str]) -> tuple[str, ...]:
    """Return one row of the table of rare rows."""
    cells = [clean(summary.arm), share(summary.fraction)]
    for name in names:
        tail = summary.tails.get(name)
        cells += [DASH, DASH] if tail is None else [format_mean_std(tail.mean), _gap(tail.gap_to_random)]
    return tuple(cells)


def _gap(gap: Gap | None) -> str:
    """Return a gap with its interval as text; a dash if there is none."""
    return DASH if gap is None else f"{signed(gap.mean)} ({format_interval(gap)})"
