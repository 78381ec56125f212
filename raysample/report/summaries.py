"""The report's tables of scores by class and by group, and sentences on throughput and quarantined rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysample.core.statistics import MAX_GROUPS, TOKENS, Cells, Distribution, Statistics
from raysample.data.score_table import ScoreTable
from raysample.report.examples import is_harder_up, rules
from raysample.report.formatting import DASH, clean, duration, share

SHOWN_LINES = 20
_REASONS = 5


@dataclass(frozen=True)
class Line:
    """One class or group: its name, its rows, and (mean, median) of each column."""

    name: str
    rows: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Summary:
    """Classes or groups, the hardest by column `by` first; `left` counts those not shown."""

    of: str
    by: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    left: int


def summary_tables(table: ScoreTable, statistics: Statistics) -> list[Summary]:
    """Return the table of classes, and that of groups if the corpus has groups and not too many."""
    if not table.columns:
        return []
    names = {label: table.labels[int(label)] for label in statistics.classes.keys}
    result = [_summary(table, "class", statistics.classes, names)]
    if statistics.groups is not None and statistics.groups.keys:
        result.append(_summary(table, "group", statistics.groups, {key: str(key) for key in statistics.groups.keys}))
    return result


def _summary(table: ScoreTable, of: str, cells: Cells, names: Mapping[int | str, str]) -> Summary:
    """Return the table of the hardest classes or groups."""
    main = rules(table)[0].column
    sign = -1 if is_harder_up(table, main) else 1
    order = sorted(cells.keys, key=lambda key: (sign * cells.distribution(key, main).mean, names[key]))
    columns = (TOKENS, *table.columns)
    lines = [
        Line(
            clean(names[key], 80) or "(empty)",
            f"{cells.distribution(key, main).rows:,}",
            tuple(_cell(cells.distribution(key, name)) for name in columns),
        )
        for key in order[:SHOWN_LINES]
    ]
    return Summary(
        of, clean(main), tuple(clean(name) for name in columns), tuple(lines), max(0, len(order) - SHOWN_LINES)
    )


def _cell(rows: Distribution) -> tuple[str, str]:
    """Return mean and median of a distribution as text."""
    median = rows.quantile(0.5)
    return figure(rows.mean), f"{median:,.0f}".replace("-", "−") if rows.whole else figure(median)


def figure(value: float) -> str:
    """Return a number with three significant digits, or whole from 1,000 on; NaN as a dash."""
    if math.isnan(value):
        return DASH
    written = f"{value:,.0f}" if 1_000 <= abs(value) < 1e9 else f"{value:#.3g}".rstrip(".")
    return written.replace("-", "−")


def scoring_words(table: ScoreTable, statistics: Statistics) -> list[str]:
    """Return sentences on the time that scoring took, on quarantined rows, and on what is left out."""
    said = [_throughput(table, statistics)] if statistics.milliseconds else []
    said += _set_aside(statistics)
    if statistics.grouped and statistics.groups is None:
        said.append(f"The corpus has more than {MAX_GROUPS:,} groups, which are not told apart here.")
    return said


def _throughput(table: ScoreTable, statistics: Statistics) -> str:
    """Return the sentence on the time and throughput of scoring."""
    shards = f"{statistics.shards:,} shard{'' if statistics.shards == 1 else 's'}"
    took = f"{shards} took {duration(statistics.seconds)} of workers' time"
    said = f"{took}, {figure(statistics.rows_per_second)} rows per second and worker"
    prepared = table.cost.get("prepare_seconds", 0.0)
    said += f"; preparing took {duration(prepared)}" if prepared >= 0.05 else ""
    ratio = table.cost.get("share_of_training")
    return f"{said}; in all {share(ratio)} of one fine-tuning." if ratio is not None else f"{said}."


def _set_aside(statistics: Statistics) -> list[str]:
    """Return a sentence on quarantined rows and their reasons; empty if there are none."""
    if not statistics.quarantined:
        return []
    by_count = sorted(statistics.reasons.items(), key=lambda found: (-found[1], found[0]))
    listed = [f"{count:,} ({clean(reason, 100)})" for reason, count in by_count[:_REASONS]]
    rest = sum(count for _, count in by_count[_REASONS:])
    listed += [f"{rest:,} for other reasons"] if rest else []
    return [f"Set aside, and in no figure here: {_listed(listed)}."]


def _listed(items: Sequence[str]) -> str:
    """Return items joined with commas and "and"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
