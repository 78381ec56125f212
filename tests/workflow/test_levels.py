"""A whole run on a hierarchical label: the example, smaller, in this process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from raysample import models
from raysample.cli import main
from raysample.core.config import ModelConfig, parse
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.execution.local import LocalExecutor
from raysample.influence.visits.artifacts import Need
from raysample.influence.visits.visit import collect
from raysample.testing import tiny_texts
from raysample.workflow import Pipeline, RunContext
from tests.helpers.paths import EXAMPLES

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "levels.yaml"
SMALL = [
    "corpus.simulated.rows=800",
    "corpus.simulated.test_rows=200",
    "corpus.simulated.days=1",
    "model.hidden_size=16",
    "model.head_hidden=[16]",
    "fine_tune.epochs=2",
    "score.scores=[grand, pvi]",
    "compare.seeds=[0]",
    "compare.arms=[{policy: hard, score: grand, cap_per_group: 40}]",
    "engine.kind=local",
    "tracking.enabled=false",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    assert main.main(["run", str(EXAMPLE), *SMALL, f"output={folder}"]) == 0
    return folder / "levels"


def test_every_level_is_evaluated_in_every_cell_and_reported(finished: Path) -> None:
    comparison = json.loads((finished / "comparison.json").read_text())
    assert comparison["levels"] == ["domain", "intent"]
    assert len(comparison["runs"]) == 4
    for run in comparison["runs"]:
        metrics = run["metrics"]
        assert metrics["domain_accuracy"] == metrics["accuracy"]
        assert 0 <= metrics["exact_match"] <= min(metrics["intent_accuracy"], metrics["domain_accuracy"])
        assert len(run["recall"]) == len(comparison["labels"]) < 10
    page = re.sub(r"<wbr>|\s+", " ", (finished / "report.html").read_text(encoding="utf-8"))
    assert "Test results at every level of the label" in page
    assert re.search(r"intent ?accuracy", page)
    assert re.search(r"exact ?match", page)


def test_scores_and_selections_go_by_the_domain(finished: Path) -> None:
    corpus, table = Corpus.load(str(finished / "corpus" / "train")), ScoreTable.load(str(finished / "scores"))
    assert corpus.levels is not None
    assert table.labels == corpus.labels == corpus.levels.classes[0]
    folder = next((finished / "selections").glob("hard-*"))
    selection: dict[str, Any] = json.loads((folder / "selection.json").read_text())
    assert len(selection["kept_class_counts"]) == len(corpus.labels)


def test_a_hold_out_has_the_levels_of_training(tmp_path: Path) -> None:
    texts, kinds = tiny_texts(80)
    table = {"text": texts, "kind": kinds, "still": [str(kind == 0) for kind in kinds]}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    columns = {"label": "still", "levels": ["still", "kind"]}
    corpus = {"train": {"path": str(tmp_path / "rows.parquet"), "columns": columns}, "holdout": 0.3}
    config = parse({"corpus": corpus, "output": str(tmp_path)})
    corpora = Pipeline(config, RunContext(LocalExecutor())).corpora()
    train, test = corpora.train, corpora.test
    assert train.rows + test.rows == 80
    assert test.levels == train.levels
    assert test.levels is not None
    assert test.levels.sizes == (2, 3)


def test_scores_are_those_of_the_domains_classifier(finished: Path) -> None:
    """GraNd of some rows, of the checkpoints as they are loaded for the domain, is what the table has."""
    trace = CheckpointSet.load(str(finished / "checkpoints" / "seed-0"))
    corpus, table = Corpus.load(str(finished / "corpus" / "train")), ScoreTable.load(str(finished / "scores"))
    rows = corpus.read(0).slice(0, 6)
    words = models.tokenizer(str(finished / "model"))
    encoded = models.encode(words, rows, ModelConfig(max_length=32))
    inputs = models.pad(encoded, range(6), int(words.pad_token_id))
    labels = torch.from_numpy(rows["label"].to_numpy().astype(np.int64))
    used = set(table.scores["grand"]["steps"])
    norms = [
        collect(models.load_model(found.uri), inputs, labels, Need.GRAD_NORMS).grad_norms
        for found in trace.checkpoints
        if found.step in used
    ]
    mean = torch.stack([norm for norm in norms if norm is not None]).mean(0).numpy()
    stored = table.to_pandas().set_index("row_id")["grand"]
    np.testing.assert_allclose(stored.loc[rows["row_id"].to_pylist()].to_numpy(), mean, rtol=1e-4)
    every: Any = models.load_model(trace.checkpoints[-1].uri, levels=True)
    with torch.no_grad():
        wide, plain = every(**inputs).logits, models.load_model(trace.checkpoints[-1].uri)(**inputs).logits
    assert corpus.levels is not None
    torch.testing.assert_close(wide[:, corpus.levels.spans[0]], plain, rtol=1e-6, atol=1e-6)
