"""The page of a decision: what `prune` chose, on which evidence, and what it does to the classes. No corpus text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from raysample.core import storage
from raysample.evaluation import NAMES
from raysample.report.formatting import DASH, clean, duration, share
from raysample.report.race_figure import draw_candidates
from raysample.report.rendering import render
from raysample.selection import Selection
from raysample.selection.race.decision import Decision
from raysample.selection.race.decision_card import decision_card

_TEMPLATE = "decision.html.j2"
_CLASSES = 40
"""Classes shown, at most: those whose share changes most."""


@dataclass(frozen=True)
class PlainTable:
    """A table of text: caption, heads and rows."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_decision_page(path: str, decision: Decision, selection: Selection, source: str, folder: str) -> str:
    """Write the page of a decision to `path` atomically; return `path`. Raises StorageError if that is impossible."""
    storage.write_text(path, render_decision(decision, selection, source, folder))
    return path


def render_decision(decision: Decision, selection: Selection, source: str, folder: str) -> str:
    """Return the page of a decision; equal input gives equal bytes.

    Args:
        decision: the decision. selection: its selection.
        source: name of the data. folder: folder of the files, for the summary.
    """
    race = decision.race
    classes = _classes(selection)
    context = {
        "title": clean(f"Pruning {source}"),
        "headline": [clean(line) for line in (decision.chosen(), decision.guarantee(), decision.all_data())],
        "warnings": [clean(warning) for warning in decision.warnings],
        "card": PlainTable(
            "", ("", ""), tuple((title, clean(line)) for title, line in decision_card(decision, source, folder))
        ),
        "level": f"{1 - race.confidence:.2g}",
        "confidence": share(race.confidence),
        "objective": NAMES.get(race.objective, "log-loss, its sign turned"),
        "figure": _figure(decision),
        "candidates": _candidates(decision),
        "pilot": _pilot(decision),
        "shares": _shares(decision),
        "tolerance": decision.amount(decision.tolerance).lstrip("+"),
        "classes": PlainTable(
            "Classes whose share changes most, first",
            ("class", "rows", "kept", "kept of the class"),
            classes[:_CLASSES],
        ),
        "classes_left": max(0, len(classes) - _CLASSES),
        "made": _made(decision),
    }
    return render(_TEMPLATE, context)


def _figure(decision: Decision) -> Markup | None:
    """Return the figure of the candidates; None without a race."""
    scale = 1.0 if decision.race.objective == "log_loss" else 100.0
    rows = []
    for entry in _ordered(decision):
        found = entry.differences.get(decision.race.objective)
        if found is not None:
            mean, low, high = (scale * value for value in found)
            rows.append((entry.name, mean, low, high, entry.status == "chosen"))
    unit = "nats of log-loss" if scale == 1.0 else f"points of {NAMES[decision.race.objective]}"
    return draw_candidates(rows, unit) if rows else None


def _ordered(decision: Decision) -> list[Any]:
    """Return the candidates, the best first; those without a result last."""
    objective = decision.race.objective

    def place(entry: Any) -> float:
        """Return the place of a candidate."""
        return -entry.differences[objective][0] if objective in entry.differences else float("inf")

    return sorted(decision.race.entries, key=place)


def _candidates(decision: Decision) -> PlainTable:
    """Return the table of the candidates."""
    known = [name for name in (*NAMES, "log_loss") if any(name in e.differences for e in decision.race.entries)]
    rows = []
    for entry in _ordered(decision):
        cells = []
        for name in known:
            found = entry.differences.get(name)
            cells.append(DASH if found is None else _interval(found, 1.0 if name == "log_loss" else 100.0))
        rows.append((clean(entry.name), clean(entry.status), *cells, f"{entry.p:.2g}"))
    heads = ("candidate", "outcome", *(NAMES.get(name, "log-loss (nats)") for name in known), "p, corrected")
    return PlainTable("Differences to stratified random sampling; higher is better", heads, tuple(rows))


def _interval(found: Sequence[float], scale: float) -> str:
    """Return a mean with its interval."""
    digits = 3 if scale == 1.0 else 2
    mean, low, high = (f"{scale * value:+.{digits}f}".replace("-", "−") for value in found)
    return f"{mean} [{low}, {high}]"


def _shares(decision: Decision) -> PlainTable | None:
    """Return the table of the shares that were tried; None if one share was asked for."""
    if not decision.shares:
        return None
    rows = tuple(
        (
            share(tried.share),
            f"{decision.number(tried.difference)} ± {decision.number(tried.error).lstrip('+')}",
            tried.outcome,
        )
        for tried in decision.shares
    )
    return PlainTable("Difference to all data", ("kept", "difference", "outcome"), rows)


def _pilot(decision: Decision) -> PlainTable | None:
    """Return the table of the pilot; None if no candidate was fine-tuned."""
    pilot = decision.pilot
    if pilot is None or not pilot.entries:
        return None
    rows = tuple(
        (
            clean(entry.name),
            clean(entry.status),
            f"{decision.number(entry.mean)} [{decision.number(entry.low)}, {decision.number(entry.high)}]",
            ", ".join(decision.number(each) for each in entry.rounds),
        )
        for entry in pilot.entries
    )
    heads = ("candidate", "outcome", "difference [bounds]", "round by round")
    return PlainTable("Fine-tuned differences to fine-tuned stratified random sampling", heads, rows)


def _classes(selection: Selection) -> tuple[tuple[str, ...], ...]:
    """Return rows on all classes, those with the largest change of their share first."""
    before, kept = selection.class_counts, selection.kept_class_counts
    fraction = sum(kept) / max(sum(before), 1)
    order = sorted(range(len(before)), key=lambda c: (-abs(kept[c] - fraction * before[c]), c))
    return tuple(
        (
            clean(selection.labels[c], 80),
            f"{before[c]:,}",
            f"{kept[c]:,}",
            share(kept[c] / before[c]) if before[c] else DASH,
        )
        for c in order
    )


def _pilot_sizes(decision: Decision) -> dict[str, str]:
    """Return the sizes of the pilot as text; empty without a pilot."""
    pilot = decision.pilot
    if pilot is None or not pilot.entries:
        return {}
    return {
        "rounds of the pilot": f"{pilot.rounds}",
        "rows of a round": f"{pilot.part:,}, and {pilot.judged:,} judged",
        "cost of the pilot": f"{pilot.spent:.2f} of a training on all rows (planned: {pilot.planned:.2f})",
    }


def _made(decision: Decision) -> list[PlainTable]:
    """Return tables of costs, features and fingerprints."""
    cost = tuple(
        (name, duration(step["seconds"]), duration(step["cpu_seconds"])) for name, step in decision.cost.items()
    )
    features = tuple((name, clean(str(value))) for name, value in decision.features.items())
    settings = {
        "objective": decision.race.objective,
        "confidence": share(decision.race.confidence),
        "seed": str(decision.race.seed),
        "rows judged": f"{decision.race.rows:,}",
        **_pilot_sizes(decision),
        **decision.fingerprints,
    }
    return [
        PlainTable("Cost of this call; steps that were resumed cost nothing", ("step", "time", "CPU"), cost),
        PlainTable("Features", ("", ""), features),
        PlainTable("Settings and fingerprints", ("", ""), tuple(settings.items())),
    ]
