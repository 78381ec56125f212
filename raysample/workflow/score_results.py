"""Results of a scoring for the tracker and the terminal."""

from __future__ import annotations

from raysample.core import storage
from raysample.data.corpus import Corpus
from raysample.data.score_table import SCORES_MANIFEST, ScoreTable
from raysample.influence.label_origin import describe_label_origin
from raysample.influence.scores import describe_few_runs
from raysample.tracking import Tracker


def track_scores(run: Tracker, table: ScoreTable, corpus: Corpus, seconds: float) -> None:
    """Track the rows, costs and manifest of a score table of a corpus; `seconds`: duration of this scoring."""
    run.dataset("train", corpus.uri, corpus.fingerprint, "scoring")
    run.metrics({f"{name}_rows": table.counts[name] for name in ("scored", "quarantined")}, step=table.counts["in"])
    run.metrics({"score_seconds": seconds, **{f"cost_{name}": value for name, value in table.cost.items()}})
    run.artifact(storage.join(table.uri, SCORES_MANIFEST))


def score_lines(table: ScoreTable, corpus: Corpus, runs: int) -> list[str]:
    """Return lines on a table of a corpus, scored over `runs` runs: its size and cost, then warnings."""
    share = table.cost.get("share_of_training")
    cost = "" if share is None else f", at {share:.2f} of one fine-tuning"
    lines = [f"{table.counts['scored']:,} rows x {len(table.columns)} scores{cost} in {table.uri}"]
    few = describe_few_runs(table.scores, runs)
    if few:
        lines.append(f"warning: {few}")
    if corpus.origin != "gold":
        lines.append(describe_label_origin(corpus.origin, table.scores))
    return lines
