"""The report's page: the context of its template, and writing it atomically."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import yaml

from raysample.core import storage
from raysample.core.redaction import redact, redacted
from raysample.core.statistics.rank_correlation import spearman_matrix
from raysample.data.score_table import ScoreTable
from raysample.evaluation import NAMES
from raysample.evaluation.comparison import Comparison
from raysample.influence.scores import describe_few_runs
from raysample.report import examples as chosen_examples
from raysample.report import figures, tables
from raysample.report.evaluation_section import section_of_test, tail_figures
from raysample.report.formatting import clean, duration, share
from raysample.report.headline import headline
from raysample.report.label_sections import label_sections
from raysample.report.rendering import render
from raysample.report.summaries import scoring_words, summary_tables
from raysample.report.table_sample import TableSample, collect_table_sample
from raysample.selection.lengths import MOSTLY

_TEMPLATE = "page.html.j2"
_SHOWN_ELSEWHERE = ("config", "simulated", "labels", "evaluation", "tokens")


def write_report(
    path: str,
    *,
    title: str,
    comparison: Comparison,
    table: ScoreTable,
    texts: Mapping[str, str] | None,
    provenance: Mapping[str, Any],
    examples: int = 8,
    looked: TableSample | None = None,
) -> str:
    """Render the report and write it to `path` atomically; return `path`.

    Raises:
        StorageError: the path cannot be written.
        ScoreError: the table's statistics are missing or belong to another table.
    """
    page = render_report(
        title=title,
        comparison=comparison,
        table=table,
        texts=texts,
        provenance=provenance,
        examples=examples,
        looked=looked,
    )
    storage.write_text(path, page)
    return path


def render_report(
    *,
    title: str,
    comparison: Comparison,
    table: ScoreTable,
    texts: Mapping[str, str] | None,
    provenance: Mapping[str, Any],
    examples: int = 8,
    looked: TableSample | None = None,
) -> str:
    """Return the report as one HTML page without scripts or external resources; equal input gives equal bytes.

    The page uses the table's statistics and a bounded sample of its parts, so memory does not grow with the rows.

    Args:
        title: the page's heading.
        comparison: the results of the arms.
        table: the scores that the arms used.
        texts: row id -> text of the example rows (`TableSample.places` lists them); None shows no corpus text.
        provenance: nested plain data. `config` is shown as YAML, a true `simulated` as a badge, `labels`, and
            `evaluation` with `tokens`, as sections (see `label_sections`, `section_of_test`); every other key
            (versions, corpus, fingerprints, durations, ...) becomes a table under its own name.
        examples: rows per list of examples.
        looked: the result of `collect_table_sample` with as many examples, if it was called before.
    """
    looked = collect_table_sample(table, examples) if looked is None else looked
    context = {
        "title": clean(title),
        "simulated": bool(provenance.get("simulated", False)),
        "headline": headline(comparison),
        "comparison": comparison,
        "objective": NAMES.get(comparison.objective, comparison.objective),
        "confidence": share(comparison.confidence),
        "results": _results(comparison),
        "levels": tables.level_table(comparison),
        "seeds": tables.seeds(comparison),
        "warnings": [clean(warning) for warning in comparison.warnings],
        "curves": _curves(comparison),
        "one_fraction": len(tables.fractions(comparison)) == 1,
        "shares": tables.share_tables(comparison),
        "shown_classes": len(tables.share_classes(comparison)),
        "recalls": tables.recall_tables(comparison),
        "untested": tables.untested_classes(comparison),
        "labels": label_sections(provenance.get("labels", {}), table),
        "tested": section_of_test(provenance, comparison.labels),
        "tails": tail_figures(comparison),
        "ridge_limit": figures.RIDGE_CLASSES,
        "directions": {clean(c): chosen_examples.is_harder_up(table, c) for c in table.columns},
        "columns": [clean(column) for column in table.columns],
        "has_text": texts is not None,
        "config": _yaml(provenance.get("config")),
        "made": _made(table, provenance),
        **_scores(table, looked, texts),
    }
    return render(_TEMPLATE, context)


def _results(comparison: Comparison) -> list[tuple[str, tuple[tables.ResultRow, ...]]]:
    """Return the tables of results with the test rows and the regime of each: those of the headline first."""
    regime, on_all = comparison.regime.replace("_", " "), tables.results(comparison)
    found = [(f"on all test rows, {regime}", on_all)]
    if comparison.new_texts is not None:
        found.insert(0, (f"{comparison.new_texts.scope}, {regime}", tables.results(comparison.headline())))
    return found + ([] if comparison.equal_steps is None else _results(comparison.equal_steps))


def _scores(table: ScoreTable, looked: TableSample | None, texts: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the template's context on scores and example rows."""
    if looked is None:
        return {"rows": 0, "scoring": [], "ridges": [], "summaries": [], "correlations": None, "groups": ()}
    known = looked.statistics
    return {
        "rows": known.rows,
        "scoring": [*scoring_words(table, known), *_few_runs(table)],
        "ridges": [figures.ridges(column, known, table.labels) for column in table.columns],
        "summaries": summary_tables(table, known),
        "groups": chosen_examples.groups(table, looked.examples, texts),
        **_correlations(table, looked),
    }


def _few_runs(table: ScoreTable) -> list[str]:
    """Return, as a sentence, which scores are averaged over fewer runs than in their sources; nothing where none is."""
    remark = describe_few_runs(table.scores, int(table.made_by.get("runs", 1)))
    return [clean(f"{remark[0].upper()}{remark[1:]}.")] if remark else []


def _curves(comparison: Comparison) -> list[Any]:
    """Return the figures of all metrics; none without arms."""
    if not tables.fractions(comparison):
        return []
    return [figures.curves(comparison, metric) for metric in figures.METRIC_TITLES]


def _correlations(table: ScoreTable, looked: TableSample) -> dict[str, Any]:
    """Return rank correlations between scores and with the token count, and the scores that mostly measure length."""
    data = looked.sample
    if data.num_rows < 3 or not table.columns:
        return {"correlations": None}
    names = [*table.columns, "tokens"]
    rho = spearman_matrix([data[name].to_numpy().astype(np.float64) for name in names])
    lengthy = [clean(n) for n, r in zip(table.columns, rho[-1], strict=False) if abs(r) >= MOSTLY]
    sampled = data.num_rows if data.num_rows < looked.statistics.rows else None
    return {"correlations": tables.correlation_table(names, rho), "lengthy": lengthy, "sampled": sampled}


def _made(table: ScoreTable, provenance: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return titled key-value tables: the provenance except the config, then the score table's manifest."""
    sections = {key: value for key, value in provenance.items() if key not in _SHOWN_ELSEWHERE}
    known = {
        "rows": dict(table.counts),
        "fingerprint": table.fingerprint,
        "of corpus": table.corpus,
        "of checkpoints": table.checkpoints,
        "made by": table.made_by,
        **table.scores,
    }
    named = [(clean(str(key).replace("_", " ")), list(_flat(value, (str(key),)))) for key, value in sections.items()]
    return [*named, ("score table", list(_flat(known, ("score table",))))]


def _flat(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (name, text) for every leaf of nested data."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*path, str(key)))
        return
    name = " · ".join(clean(part) for part in path[1:]) or clean(path[0])
    yield name, _shown(value, timed=any("duration" in part or part.endswith("seconds") for part in path))


def _shown(value: Any, *, timed: bool) -> str:
    """Return a leaf value as text; numbers under a duration key as durations."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float) and timed:
        return duration(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(inner, timed=timed) for inner in value) or "none"
    return "none" if isinstance(value, Mapping) else redact(clean(str(value)))


def _yaml(config: Any) -> str:
    """Return a configuration as YAML without credentials."""
    if config is None:
        return ""
    return str(yaml.safe_dump(redacted(config), sort_keys=False, allow_unicode=True, width=100))
