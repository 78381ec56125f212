"""Fake but real-typed inputs of a report: a score table on disk and a comparison summarised from synthetic runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core import storage
from raysample.data.score_table import ScoreTable, table_schema
from raysample.evaluation import Predictions, estimates
from raysample.evaluation.arm_summary import RunResult, summarise
from raysample.evaluation.class_balance import class_warnings
from raysample.evaluation.comparison import Comparison
from raysample.influence.shards import write_statistics
from raysample.report import collect_table_sample

SCORES = {
    "vog": {"score": "vog", "higher_is": "harder", "checkpoints": [100, 200, 300]},
    "el2n": {"score": "el2n", "higher_is": "harder", "checkpoints": [100]},
    "forgetting": {"score": "forgetting", "higher_is": "harder", "checkpoints": [100, 200, 300]},
    "confidence": {"score": "confidence", "higher_is": "easier", "checkpoints": [100, 200, 300]},
}


def fake_labels(count: int) -> tuple[str, ...]:
    topics = (
        "Notifications",
        "HomeAutomation",
        "HealthAndFitness",
        "Video",
        "Weather",
        "Shopping",
        "音楽再生",
        "Calendar",
    )
    acts = ("set_reminder_for_a_later_point_in_time", "query", "cancel", "change_volume", "ask <b>&amp; $x_1$")
    return tuple(f"{topics[i % len(topics)]}.{acts[i % len(acts)]}" for i in range(count))


def fake_table(
    folder: Path,
    labels: tuple[str, ...],
    rows: int = 2_000,
    scores: dict[str, dict[str, Any]] = SCORES,
    parts: int = 2,
    grouped: bool = False,
) -> ScoreTable:
    """Write a table of `rows` rows: gamma-like VoG that falls with class size, EL2N, forgetting counts, confidence."""
    rng = np.random.default_rng(0)
    sizes = 1.0 / np.arange(1, len(labels) + 1)
    label = rng.choice(len(labels), size=rows, p=sizes / sizes.sum())
    hard = rng.gamma(1.5 + 2.0 * label / len(labels), 0.4, size=rows)
    tokens = 4 + rng.poisson(6 + 4 * hard)
    values = {
        "vog": hard**2 * 1e-3,
        "el2n": math.sqrt(2) * np.tanh(hard * rng.uniform(0.2, 1.0, size=rows)),
        "forgetting": rng.poisson(hard),
        "confidence": np.exp(-hard * rng.uniform(0.3, 1.0, size=rows)),
    }
    data: dict[str, Any] = {"row_id": [f"row-{i:06d}" for i in range(rows)], "label": label, "tokens": tokens}
    if grouped:
        names = np.array(["kitchen", "<b>den</b>", "hall"])[rng.integers(0, 3, rows)]
        data |= {"group": names, "group_code": np.zeros(rows, np.int64)}
    whole = pa.table({**data, **{name: values[str(scores[name]["score"])] for name in scores}}).cast(
        table_schema(tuple(scores), grouped)
    )
    names = tuple(f"part-{i:05d}.parquet" for i in range(parts))
    for i, name in enumerate(names):
        piece = whole.slice(i * rows // parts, (i + 1) * rows // parts - i * rows // parts)
        told = {"bad": "0" if i else "3", "seconds": "2.5"}
        storage.write_parquet(storage.join(str(folder), name), piece.replace_schema_metadata(told))
    reasons = ["ValueError while it was scored", "not finite: vog", "not finite: vog"]
    storage.write_parquet(storage.join(str(folder), "quarantine-00000.parquet"), pa.table({"reason": reasons}))
    table = ScoreTable(
        uri=str(folder),
        parts=names,
        scores=scores,
        labels=labels,
        corpus="c" * 64,
        checkpoints="k" * 64,
        counts={"in": rows + 3, "scored": rows, "quarantined": 3},
        made_by={"precision": "float32", "version": "0.1.0"},
        grouped=grouped,
    ).save()
    if parts:
        write_statistics(table)
    return table


def example_ids(table: ScoreTable, examples: int) -> list[str]:
    """Return the ids of the rows that the page shows, each once."""
    looked = collect_table_sample(table, examples)
    assert looked is not None
    return list(dict.fromkeys(row for rows in looked.examples for row in rows["row_id"].to_pylist()))


def fake_comparison(
    labels: tuple[str, ...],
    gaps: dict[str, float],
    fractions: tuple[float, ...] = (0.5,),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    noise: float = 0.003,
    untested: int | None = None,
    predicted: bool = True,
) -> Comparison:
    """Summarise synthetic runs in which each arm lies `gaps[arm]` above random (full: no loss by sampling).

    Every run is tested on the same 4,000 rows: right on the easiest of them, up to an accuracy that `noise` moves.
    """
    rng = np.random.default_rng(1)
    before = tuple(int(8_000 / (i + 1)) for i in range(len(labels)))
    base = np.clip(0.9 - 0.4 * np.arange(len(labels)) / len(labels), 0.05, 1.0)
    gold = rng.integers(0, len(labels), 4_000)
    hardness = (np.arange(4_000) + 0.5) / 4_000
    cells = [("full", 1.0), *[(arm, f) for f in fractions for arm in ("random", *gaps)]]
    runs, kept_counts, said = [], {}, {}
    for arm, fraction in cells:
        tilt = np.linspace(-1.0, 1.0, len(labels)) * 12 * gaps.get(arm, 0.0)
        kept = tuple(int(min(n, max(0, n * fraction * (1 + t)))) for n, t in zip(before, tilt, strict=True))
        if arm != "full":
            kept_counts[arm, fraction] = kept
        for seed in seeds:
            right = hardness < 0.88 - 0.06 * (1 - fraction) + gaps.get(arm, 0.0) + rng.normal(0, noise)
            run = Predictions(gold, np.where(right, gold, (gold + 1) % max(2, len(labels))))
            said[arm, fraction, seed] = run
            recall = np.clip(base * (0.8 + 0.2 * fraction) + 0.3 * tilt * rng.random(len(labels)), 0, 1)
            if untested is not None:
                recall[untested] = math.nan
            metrics = {name: float(estimates(name, [run]).values[0]) for name in ("accuracy", "macro_f1")}
            metrics |= {"worst_class_recall": float(np.nanmin(recall))}
            runs.append(RunResult(arm, fraction, seed, sum(kept), 100, metrics, tuple(recall.tolist())))
    plain = Comparison(
        labels=labels,
        class_counts=before,
        kept_counts=kept_counts,
        runs=tuple(runs),
        summaries=summarise(runs),
        confidence=0.95,
        regime="equal_epochs",
        warnings=class_warnings(labels, before, kept_counts),
    )
    return replace(plain, **plain.judged(said, "accuracy", 0.005)) if predicted else plain


PROVENANCE: dict[str, Any] = {
    "simulated": True,
    "config": {
        "name": "demo",
        "corpus": {"simulated": {"rows": 20000}},
        "tracking": {"uri": "https://me:secret@host/x"},
    },
    "versions": {"raysample": "0.1.0", "python": "3.11"},
    "corpus": {
        "train": {"in": 20010, "usable": 20000, "quarantined": 10, "quarantine": {"empty text": 7, "no label": 3}}
    },
    "fingerprints": {"corpus": "c" * 64, "checkpoints": "k" * 64},
    "durations": {"fine_tune": 312.4, "score": 48.123, "compare": 7_530.0, "sample": 0.42},
}


ARMS = {"stratified_random": 0.0, "hard(vog|class, proportional)": 0.012, "easy(el2n)": -0.05, "ccs(el2n)": 0.001}
