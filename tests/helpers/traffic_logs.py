"""Logs for tests: days of JSONL with repeats, groups, times, conflicting labels and broken rows, and what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysample.core.config import SourceConfig
from raysample.testing import LABELS

COLUMNS = {"text": "say", "label": "hypothesis", "id": "id", "group": "device", "timestamp": "at"}
WORDS = ("pond", "moon", "moss", "old", "the")
Row = dict[str, Any]


def day(number: int, rows: int = 60, labels: tuple[str, ...] = LABELS) -> list[Row]:
    """Make the rows of one day: few distinct texts, so that they repeat within and across days."""
    rng = np.random.default_rng([7, number])
    texts = [" ".join(rng.choice(WORDS, 2 + i % 2)) for i in range(rows)]
    return [
        {
            "id": f"{number}-{i}",
            "say": text,
            "hypothesis": labels[int(rng.integers(len(labels)))] if i % 9 == 0 else labels[len(text) % len(labels)],
            "device": None if i % 11 == 0 else f"d{rng.integers(3)}",
            "at": f"2026-01-{number:02d}T{rng.integers(24):02d}",
        }
        for i, text in enumerate(texts)
    ]


def write(folder: Path, number: int, rows: list[Row], broken: bool = True, cut: int = 1) -> None:
    """Write a day's rows as `cut` JSONL files of its partition; with a line that is no JSON and a row without text."""
    place = folder / f"date=2026-01-{number:02d}"
    place.mkdir(parents=True, exist_ok=True)
    for piece in range(cut):
        lines = [json.dumps(row) for row in rows[piece::cut]]
        if broken and piece == 0:
            lines[1:1] = ["{nonsense", json.dumps({**rows[0], "id": f"bad-{number}", "say": " "})]
        (place / f"part-{piece}.jsonl").write_text("\n".join(lines) + "\n")


def source(folder: Path, **more: Any) -> SourceConfig:
    """Return the log as a source."""
    return SourceConfig.model_validate({"path": str(folder), "columns": COLUMNS, **more})


def expected(rows: list[Row]) -> pd.DataFrame:
    """Return contents as pandas makes them, by text and label: the slow twin."""
    frame = pd.DataFrame(rows).rename(columns={"say": "text", "hypothesis": "label"})
    found = []
    for (text, label), copies in frame.groupby(["text", "label"]):
        same = frame[frame["text"] == text]
        sizes = copies["device"].value_counts()  # of those that have one
        none = int(copies["device"].isna().sum())
        best = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        group = best[0][0] if best and best[0][1] >= none else None
        found.append(
            {
                "text": text,
                "label": label,
                "count": len(copies),
                "first_seen": copies["at"].min(),
                "last_seen": copies["at"].max(),
                "group": group,
                "groups": len(sizes),
                "labels": same["label"].nunique(),
                "label_share": np.float32(len(copies) / len(same)),
            }
        )
    return pd.DataFrame(found).sort_values(["text", "label"]).reset_index(drop=True)
