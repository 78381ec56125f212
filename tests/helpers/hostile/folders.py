"""What raysample wrote itself, damaged: a run's folder, a log's, and calls that MLflow has not taken yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from raysample.cli import main
from raysample.core.config import RunConfig, load
from raysample.core.errors import RaysampleError
from raysample.data.checkpoint_set import CheckpointSet, verify_checkpoint
from raysample.data.corpus import Corpus
from raysample.data.log import Contents
from raysample.data.score_table import ScoreTable
from raysample.evaluation.comparison import Comparison
from raysample.influence.verification import Verification
from raysample.selection import Selection
from raysample.training.capture.files import Capture
from raysample.training.fine_tuning.completion import read_outcome
from raysample.workflow import RunFolder
from tests.helpers.hostile.damage import damage_file, json_damage, linked
from tests.helpers.hostile.kinds import Kind, LostError

CONFIG = """\
name: r
output: {output}
corpus:
  columns: {{text: text, label: label, id: id}}
  train: {{path: {source}/train.jsonl}}
  test: {{path: {source}/test.jsonl}}
  shard_rows: 16
model: {{path: tiny, hidden_size: 8, layers: 1, vocabulary_size: 150, max_length: 12}}
fine_tune: {{epochs: 2, learning_rate: 1.0e-3, checkpoints: 2, capture: true}}
score: {{scores: [el2n, vog]}}
compare: {{arms: [{{policy: hard, score: el2n}}], seeds: [0, 1], fractions: [0.5]}}
log: {{source: {{path: {source}/log, columns: {{text: text, label: label, id: id}}}}}}
engine: {{kind: local}}
tracking: {{enabled: false}}
"""


def prepare_run(folder: Path) -> None:
    """Make a whole small run, with a log."""
    source = folder / "source"
    (source / "log").mkdir(parents=True)
    for name, rows in (("train.jsonl", 40), ("test.jsonl", 20), ("log/a.jsonl", 20), ("log/b.jsonl", 20)):
        lines = [
            json.dumps({"id": f"{name}-{i}", "text": f"w{i % 5} t{i % 9} {name[0]}", "label": "ab"[i % 2]})
            for i in range(rows)
        ]
        (source / name).write_text("\n".join(lines) + "\n")
    path = folder / "c.yaml"
    path.write_text(CONFIG.format(output=folder / "out", source=source))
    for words in (["run"], ["verify"], ["compact"], ["score", "--log"]):
        if main.main([words[0], str(path), *words[1:]]):
            raise RuntimeError(f"the template of a run failed at {words[0]}")


def _whole(place: Path, kind: Callable[[str], Any]) -> Any:
    return kind(str(place))


def _corpus(place: Path) -> None:
    Corpus.load(str(place)).table()


def _checkpoints(place: Path) -> None:
    for one in CheckpointSet.load(str(place)).checkpoints:
        verify_checkpoint(one.uri)
    _ = CheckpointSet.load(str(place)).fingerprint


def _table(place: Path) -> None:
    table = ScoreTable.load(str(place))
    table.to_arrow()
    table.statistics()
    with suppress(FileNotFoundError):
        Verification.load(str(place))


def _selection(place: Path) -> None:
    chosen = Selection.load(str(place))
    chosen.to_arrow()
    chosen.kept_ids()


def _contents(place: Path) -> None:
    Contents.load(str(place))


def _capture(place: Path) -> None:
    Capture.load(str(place))


READERS: dict[str, Callable[[Path], None]] = {
    "corpus.json": _corpus,
    "checkpoints.json": _checkpoints,
    "scores.json": _table,
    "selection.json": _selection,
    "contents.json": _contents,
    "capture.json": _capture,
}
"""A noun's manifest, and what reads all of the noun."""


def _manifests(rng: Random, templates: Path, scratch: Path) -> None:
    """Damage one or two files of one noun, and read it; or the run's own JSON, through a verb that only reads."""
    run = templates / "run" / "out" / "r"
    nouns = sorted(path for path in run.rglob("*.json") if path.name in READERS)
    if rng.random() < 0.15:
        _own_files(rng, templates, scratch)
        return
    manifest = rng.choice(nouns)
    place = linked(manifest.parent, scratch / "noun")
    every = sorted(path for path in place.rglob("*") if path.is_file())
    for _ in range(rng.choice((1, 1, 2))):
        target = place / manifest.name if rng.random() < 0.6 else rng.choice(every)
        if target.is_file() and not target.is_symlink():
            damage_file(rng, target)
    READERS[manifest.name](place)


def _own_files(rng: Random, templates: Path, scratch: Path) -> None:
    """Damage what lies beside the nouns and is read by verbs: run.json, comparison.json, arms, config.yaml."""
    run = templates / "run" / "out" / "r"
    copy = linked(run, scratch / "r")
    every = [path for path in copy.iterdir() if path.is_file()] + list((copy / "corpus").glob("*.json"))
    every += sorted((copy / "arms").glob("*.json")) + sorted(copy.glob("checkpoints/*/evaluation.json"))
    damage_file(rng, rng.choice(sorted(every)))
    config = load(templates / "run" / "c.yaml", [f"output={scratch}"])
    read_own(config)


def read_own(config: RunConfig) -> None:
    """Read all that a run's folder holds beside its nouns."""
    space = RunFolder.from_config(config)
    space.check(config)
    Comparison.load(space.comparison)
    every = [*Path(space.root).glob("arms/*.json"), *Path(space.root).glob("checkpoints/*/evaluation.json")]
    for path in sorted(every):
        read_outcome(str(path), str(path.with_name("predictions.parquet")))


def _verbs(rng: Random, templates: Path, scratch: Path) -> None:
    """Damage a file of a run's folder and call a verb on it."""
    linked(templates / "run" / "out" / "r", scratch / "r")
    every = sorted(path for path in (scratch / "r").rglob("*") if path.is_file())
    damage_file(rng, rng.choice(every))
    verb, path = rng.choice(sorted(main.CONFIGURED)), str(templates / "run" / "c.yaml")
    code = main.main([verb, path, f"output={scratch}", *(["--rows", "20"] if verb in ("plan", "verify") else [])])
    if code == 2:
        raise RaysampleError("refused by the command line")
    if code not in (0, 1):
        raise LostError(f"{verb} left with exit code {code}")


class _Client:
    """Takes everything, as MLflow would."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*given: Any, **more: Any) -> Any:
            del given, more
            self.calls += 1
            return _Run()

        return call


class _Run:
    class info:  # noqa: N801 - as MLflow spells it
        run_id = "0" * 32


DATA = {"name": "n", "digest": "d", "source_type": "local", "source": "{}"}
OPERATIONS: tuple[dict[str, Any], ...] = (
    {"at": 1, "do": "start", "run": "k", "parent": None, "name": "r", "ids": {}, "tags": {"f": "/r"}},
    {
        "at": 2,
        "do": "log",
        "run": "k",
        "params": {"a": "1"},
        "metrics": {"b": 0.5},
        "tags": {"c": "d"},
        "step": 0,
        "ids": {},
    },
    {
        "at": 3,
        "do": "dataset",
        "run": "k",
        "data": {"name": "n", "digest": "d", "source_type": "local", "source": "{}"},
        "labels": {"x": "y"},
        "ids": {},
    },
    {"at": 4, "do": "artifact", "run": "k", "path": "/nonexistent", "folder": None, "ids": {}},
    {"at": 5, "do": "end", "run": "k", "status": "FINISHED", "ids": {}},
)


def _pending(rng: Random, templates: Path, scratch: Path) -> None:
    """Deliver a file of calls, of which some are damaged, to an MLflow that takes all: nothing may stay behind."""
    del templates
    from raysample.tracking.mlflow.connection import Link
    from raysample.tracking.mlflow.pending import Pending

    path = scratch / "mlflow-pending.jsonl"
    lines = [json.dumps(operation) for operation in OPERATIONS]
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(lines))
        lines[at] = json_damage(rng, OPERATIONS[at % len(OPERATIONS)])
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
    if rng.random() < 0.3:
        damage_file(rng, path)
    client = _Client()
    link = Link(client, "1", Pending(path))
    link.deliver()
    link.do({"do": "start", "run": "new", "parent": None, "name": "n"})
    link.do({"do": "end", "run": "new", "status": "FINISHED"})
    if link.away:
        raise LostError("calls after a damaged one do not go out")


KINDS = (
    Kind("manifests", 20_000, _manifests, needs=("run",)),
    Kind("pending", 5_000, _pending),
    Kind("verbs", 200, _verbs, needs=("run",)),
)
