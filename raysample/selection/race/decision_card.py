"""The summary of a decision, for terminals and the page."""

from __future__ import annotations

from raysample.selection.race.decision import (
    KEPT_ROWS_FILE,
    MOST_SUSPECTS,
    REMOVED_ROWS_FILE,
    REPORT_FILE,
    SUSPECTS_FILE,
    Decision,
)

WEAK = 0.7
"""Share of labels that the probe predicts below which its suspects mean little."""


def decision_card(decision: Decision, source: str, folder: str) -> list[tuple[str, str]]:
    """Return the summary of a decision as ten titled lines, for the name of the data and the folder of the files."""
    counts = decision.counts
    seconds, cpu = (sum(step[unit] for step in decision.cost.values()) for unit in ("seconds", "cpu_seconds"))
    quarantined = f", {counts['quarantined']:,} in quarantine" if counts["quarantined"] else ""
    listed = f" ({MOST_SUSPECTS:,} listed)" if decision.suspects > MOST_SUSPECTS else ""
    asked = ", the smallest share equivalent to all data" if decision.keep == "auto" and decision.share < 1 else ""
    return [
        ("data", f"{source}: {counts['in']:,} rows{quarantined}"),
        ("kept", f"{counts['kept']:,} rows, {decision.share:.0%}{asked}: {folder}/{KEPT_ROWS_FILE}"),
        ("removed", f"{counts['removed']:,} rows, each with its reason: {folder}/{REMOVED_ROWS_FILE}"),
        ("chosen", decision.chosen()),
        ("gain", decision.gain()),
        ("guarantee", decision.guarantee()),
        ("all data", decision.all_data()),
        ("suspects", f"{decision.suspects:,} rows whose label the probe contradicts{listed}: {folder}/{SUSPECTS_FILE}"),
        ("judged by", _judge(decision)),
        ("cost", f"{seconds:,.0f} s, {cpu:,.0f} s of CPU{_paid(decision)}; evidence: {folder}/{REPORT_FILE}"),
    ]


def _paid(decision: Decision) -> str:
    """Return what choosing cost compared with a training; empty without an encoder."""
    paid = decision.paid
    if paid is None:
        return ""
    said = f"; choosing cost {paid.share:.2g} of a training of {paid.epochs} epochs on all rows"
    if decision.share == 1:
        return said
    times = paid.break_even(decision.share)
    return f"{said}, paid after {times} training{'' if times == 1 else 's'} on the kept rows"


def weak_probe(agreement: float) -> tuple[str, ...]:
    """Return a warning if the probe predicts the labels of too few rows for its suspects to mean much."""
    if agreement >= WEAK:
        return ()
    return (
        f"the probe predicts the labels of only {agreement:.0%} of the rows out of fold: most suspects are rows that "
        "it cannot tell, and fine-tuning may order the candidates otherwise (an encoder may tell more)",
    )


def _judge(decision: Decision) -> str:
    """Return what judged."""
    source = decision.features["source"]
    features = "word and character n-grams" if source == "ngrams" else f"vectors of {source}"
    pilot = decision.pilot
    tuned = "not by fine-tuning"
    if pilot is not None and not pilot.reason:
        tuned = f"{pilot.rounds} rounds of fine-tuning on {decision.share:.0%} of {pilot.part:,} rows"
    return (
        f"a linear probe on {features}, right on {decision.agreement:.0%} of the labels; {decision.race.rows:,} rows "
        f"out of fold; {tuned}"
    )
