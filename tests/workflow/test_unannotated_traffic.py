"""Runs whose labels nobody annotated: the example, what is told and tracked, and a test against hypotheses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from raysample.cli import main
from raysample.core.config import load, parse
from raysample.core.progress import SilentReporter
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.execution.local import LocalExecutor
from raysample.influence.label_origin import describe_label_origin, origins, relative
from raysample.influence.scores import create_scores
from raysample.tracking import MemoryTracker
from raysample.workflow import Pipeline, RunContext
from tests.helpers.paths import EXAMPLES

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "traffic.yaml"
SMALL = [
    "corpus.simulated.rows=1500",
    "corpus.simulated.test_rows=300",
    "corpus.simulated.days=2",
    "model.hidden_size=16",
    "compare.seeds=[0]",
    "engine.kind=local",
    "tracking.enabled=false",
]
AGREEMENT = "accuracy against them measures agreement with it, not correctness"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the example, smaller, in this process."""
    folder = tmp_path_factory.mktemp("traffic")
    assert main.main(["run", str(EXAMPLE), *SMALL, f"output={folder}"]) == 0
    return folder / "traffic"


def test_the_example_learns_from_a_log_and_is_tested_on_annotation(finished: Path) -> None:
    train, test = (Corpus.load(str(finished / "corpus" / part)) for part in ("train", "test"))
    assert (train.origin, test.origin) == ("feedback", "gold")
    assert train.source.columns.label == "hypothesis"
    assert set(train.filtered) == {"no feedback", "feedback that gives no label", "confidence below min_confidence"}
    assert train.counts["in"] == 1500 == train.rows + sum(train.filtered.values())
    assert 500 < train.rows < 1000
    accepted, thumbs, corrected = train.annotations["feedback"][:3]
    assert accepted["usable"] > thumbs["usable"] > 0 < corrected["usable"] == corrected["rows"]
    assert train.annotations["confidence"]["deciles"][0] >= 0.5
    assert test.annotations == {"origin": "gold"}
    assert not test.filtered


def test_the_table_and_the_report_say_what_the_scores_are_relative_to(finished: Path) -> None:
    table = ScoreTable.load(str(finished / "scores"))
    assert table.made_by["label_origin"] == "feedback"
    page = re.sub(r"<wbr>|\s+", " ", (finished / "report.html").read_text(encoding="utf-8"))
    labels = page.partition("<h2>Labels</h2>")[2].partition("</section>")[0]
    assert "Training labels are the production model&#39;s hypotheses as far as user feedback accepts" in labels
    assert "Rows whose hypothesis has a confidence below 0.5 were left out." in labels
    assert "vog and el2n are relative to them, entropy does not look at labels." in labels
    assert "Test labels are annotated by people." in labels
    assert "thumbs_ up" in labels
    assert AGREEMENT not in page
    assert json.loads((finished / "comparison.json").read_text())["warnings"]


def test_the_terminal_says_where_labels_come_from(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["run", str(EXAMPLE), *SMALL, f"output={finished.parent}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "left out: no feedback (" in said
    assert "labels: the production model's hypotheses as far as user feedback" in said
    assert "vog and el2n are relative to them, entropy does not look at labels" in said


def test_every_tracked_run_has_the_origins(finished: Path) -> None:
    tracker = MemoryTracker()
    config = load(str(EXAMPLE), [*SMALL, f"output={finished.parent}"])
    pipeline = Pipeline(config, RunContext(LocalExecutor(), SilentReporter(), tracker))
    pipeline.checkpoints()
    pipeline.compare()
    found = {(run.params["label_origin"], run.params["test_label_origin"]) for run in tracker.children}
    assert found == {("feedback", "gold")}
    assert len(tracker.children) > 3


def test_a_test_against_hypotheses_is_warned_of(finished: Path, tmp_path: Path) -> None:
    config = parse(
        {
            "name": "agreement",
            "output": str(tmp_path),
            "corpus": {
                "train": {
                    "path": str(finished / "traffic" / "train"),
                    "columns": {"id": "id", "label": "hypothesis"},
                    "labels": {"origin": "hypothesis", "confidence": "confidence"},
                    "limit": 300,
                    "unseen_labels": "quarantine",
                },
                "holdout": 0.3,
            },
            "model": {"hidden_size": 16, "max_length": 16},
            "fine_tune": {"epochs": 1, "checkpoints": 2, "learning_rate": 3e-3},
            "score": {"scores": ["entropy"]},
            "compare": {"seeds": [0], "arms": [{"policy": "easy", "score": "entropy"}]},
        }
    )
    pipeline = Pipeline(config, RunContext(LocalExecutor(), SilentReporter(), MemoryTracker()))
    pipeline.checkpoints()
    pipeline.scores()
    found = pipeline.compare()
    # After what makes the models themselves doubtful: this one hardly learns.
    assert AGREEMENT in found.warnings[len(found.doubts)]


def test_the_origins_of_a_configuration() -> None:
    hypothesis = {"path": "a", "columns": {"label": "said"}, "labels": {"origin": "hypothesis"}}
    feedback = {"origin": "feedback", "feedback": {"column": "did", "accept": ["ok"]}}
    for corpus, expected in (
        ({"train": hypothesis, "holdout": 0.1}, ("hypothesis", "hypothesis")),
        ({"train": hypothesis, "test": {"path": "b"}}, ("hypothesis", "gold")),
        ({"train": {"path": "b"}, "test": hypothesis}, ("gold", "hypothesis")),
        ({"simulated": {"labels": feedback}}, ("feedback", "gold")),
        ({"simulated": {}}, ("gold", "gold")),
    ):
        assert origins(parse({"corpus": corpus}).corpus) == expected


def test_words_for_any_mixture_of_scores() -> None:
    specs = ["vog", {"name": "entropy", "as": "doubt"}, "prototype", "el2n"]
    definitions = {column: {"score": score.name} for column, score in create_scores(specs).items()}
    assert relative(definitions) == (["vog", "el2n"], ["doubt", "prototype"])
    assert describe_label_origin("gold", definitions) == ""
    assert describe_label_origin("hypothesis", definitions).endswith(
        "vog and el2n are relative to them, doubt and prototype do not look at labels"
    )
    assert describe_label_origin("hypothesis", {"doubt": {"score": "entropy"}}).endswith(
        "hypotheses: doubt does not look at labels"
    )
    assert describe_label_origin("hypothesis", {"vog": {"score": "vog"}}).endswith(
        "hypotheses: vog is relative to them"
    )
