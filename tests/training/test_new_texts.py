"""Which test rows are new: none that differs from a training or validation row in signs, case or numbers alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysample import models
from raysample.core.config import Columns, FineTuneConfig, ModelConfig, SourceConfig
from raysample.data.corpus import Corpus, describe_source
from raysample.evaluation.rarity import NEW_TEXT
from raysample.training.fine_tuning import Job, execute
from raysample.training.fine_tuning.rows import corpora_of

pytestmark = pytest.mark.slow

TRAIN = ["turn the light on", "set an alarm for 7", "¿Qué hora es?", "play Jazz", "!!", "call mom"]
VALIDATION = ["what is the weather", "stop it now"]
TEST = {
    "turn the light on": False,
    "Turn  the light, ON!": False,
    "turn the lights on": True,
    "set an alarm for 1045": False,
    "set an alarm for seven": True,
    "qué hora es": False,
    "que hora es": True,
    "play jazz...": False,
    "!!": False,
    "?": True,
    "mom call": True,
    "What is the weather?": False,
}


def corpus(folder: Path, name: str, texts: list[str]) -> Corpus:
    """Describe rows with these texts, of two classes in turn, three rows a shard."""
    pq.write_table(pa.table({"text": texts, "label": ["ab"[i % 2] for i in range(len(texts))]}), folder / f"{name}.pq")
    source = SourceConfig(path=str(folder / f"{name}.pq"), columns=Columns(), format="parquet")
    return describe_source(source, str(folder / name), labels=["a", "b"], shard_rows=3)


def test_rows_with_a_near_text_are_not_new(tmp_path: Path) -> None:
    train, chooses = corpus(tmp_path, "train", TRAIN), corpus(tmp_path, "validation", VALIDATION)
    test = corpus(tmp_path, "test", [*TEST])
    spec = ModelConfig(hidden_size=8, vocabulary_size=200, max_length=8, layers=1)
    base = models.prepare_base(spec, train, str(tmp_path / "base"))
    job = Job(train.uri, test.uri, base, spec, FineTuneConfig(epochs=1, checkpoints=1), validation=chooses.uri)
    found = execute(job)
    assert found.evaluation.predictions is not None
    new = dict(zip(TEST, found.evaluation.predictions.masks[NEW_TEXT].tolist(), strict=True))
    assert new == TEST
    assert found.evaluation.counts["new_text_rows"] == 5
    right = found.evaluation.predictions.gold == found.evaluation.predictions.predicted
    assert found.evaluation.metrics["new_text_accuracy"] == pytest.approx(right[[*TEST.values()]].mean())
    # Validation is apart from training by near text already: its rows are not told apart.
    assert found.validation is not None
    assert "new_text_rows" not in found.validation.counts
    rows = corpora_of(replace(job, validation=None))
    assert set(rows) == {"train", "test"}
    without = dict(zip(TEST, rows["test"].new_texts([rows["train"]]).tolist(), strict=True))
    assert without == {**TEST, "What is the weather?": True}
