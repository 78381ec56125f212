"""The folder of one run: where each noun lies, whose run it is, and whether finished work may be reused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, RunConfig
from raysample.core.errors import ConfigError
from raysample.core.redaction import redacted

PREDICTIONS = ".predictions.parquet"
# What may not change under a run's folder: everything in it was made from these. The rest may be widened and rerun.
IDENTITY = ("corpus", "model", "fine_tune")
PLAIN = r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.~+-]*)?"  # an arm of policy, score, normalisation and quota alone


@dataclass(frozen=True)
class Workspace:
    """The layout below `output/name`; every path is a URI."""

    root: str

    @staticmethod
    def of(config: RunConfig) -> Workspace:
        """Return the workspace that a configuration names."""
        return Workspace(storage.join(storage.absolute(config.output), config.name))

    def at(self, *parts: str) -> str:
        """Return a URI inside the workspace."""
        return storage.join(self.root, *parts)

    @property
    def train(self) -> str:
        """Folder of the training Corpus."""
        return self.at("corpus", "train")

    @property
    def test(self) -> str:
        """Folder of the test Corpus."""
        return self.at("corpus", "test")

    @property
    def overlap(self) -> str:
        """File that tells which texts lie both in training and in the test."""
        return self.at("corpus", "overlap.json")

    @property
    def scores(self) -> str:
        """Folder of the ScoreTable."""
        return self.at("scores")

    @property
    def own_scores(self) -> str:
        """Folder of the ScoreTables of single runs, by which single seeds of the comparison select."""
        return self.at("own-scores")

    @property
    def contents(self) -> str:
        """Folder of the log's Contents."""
        return self.at("log", "contents")

    @property
    def log(self) -> Workspace:
        """What was made of the log, laid out as the run."""
        return Workspace(self.at("log"))

    @property
    def log_scores(self) -> str:
        """Folder of the ScoreTable of the log's contents."""
        return self.log.scores

    @property
    def log_rows(self) -> str:
        """Folder of the ScoreTable of every row of the log."""
        return self.at("log", "rows")

    @property
    def comparison(self) -> str:
        """File with the comparison's figures."""
        return self.at("comparison.json")

    @property
    def report(self) -> str:
        """The HTML report."""
        return self.at("report.html")

    @property
    def adopted(self) -> str:
        """Folder of the CheckpointSet of what others saved."""
        return self.at("checkpoints", "adopted")

    def checkpoints(self, seed: int) -> str:
        """Folder of the CheckpointSet of one seed."""
        return self.at("checkpoints", f"seed-{seed}")

    def selection(self, arm: ArmConfig, fraction: float, seed: int) -> str:
        """Folder of one Selection."""
        return self.at("selections", cell(arm.name, fraction, seed))

    def pruned(self, arm: ArmConfig, budget: str, seed: int) -> str:
        """Folder of one Selection at a budget of its own."""
        return self.at("selections", cell(arm.name, budget, seed))

    def result(self, arm: str, fraction: float, seed: int) -> str:
        """File with the outcome of one retraining."""
        return self.at("arms", cell(arm, fraction, seed) + ".json")

    def predictions(self, arm: str, fraction: float, seed: int) -> str:
        """File with what one retraining's model said of every test row."""
        return self.at("arms", cell(arm, fraction, seed) + PREDICTIONS)

    def check(self, config: RunConfig) -> bool:
        """Tell whether work of this config lies here; raises ConfigError, naming the key, if another config's does."""
        marker = self.at("run.json")
        if not storage.exists(marker):
            return False
        differing = list(_differences(manifests.mapping(marker, "identity")["identity"], _identity(config)))
        if differing:
            key, was, now = differing[0]
            raise ConfigError(
                f"the run folder {self.root!r} belongs to another configuration: {key} was {was!r} and is {now!r} now",
                "give this run another `name` or `output`, or delete the folder",
            )
        return True

    def claim(self, config: RunConfig) -> None:
        """Make the folder this config's own; done once its inputs proved usable, before expensive work."""
        self.check(config)
        storage.write_json(self.at("run.json"), {"identity": _identity(config)}, private=True)
        self.record(config)

    def record(self, config: RunConfig) -> None:
        """Keep the configuration, overrides included and without credentials, beside what it made."""
        text = yaml.safe_dump(redacted(config.to_dict()), sort_keys=False)
        storage.write_text(self.at("config.yaml"), text, private=True)


def cell(arm: str, budget: float | str, seed: int) -> str:
    """Return a file name for one cell of a comparison: `hard-vog~class-0.5-seed-1` for `hard(vog|class)`.

    Different cells have different names: column names hold neither `~` nor `+`, policy names no `-`. Where an arm has
    options or limits, which may hold anything, the name ends in a piece of the arm's hash.
    """
    readable = arm.replace("(", "-").replace("|", "~").replace(", ", "+").replace(")", "")
    if not re.fullmatch(PLAIN, readable):
        readable = f"{re.sub(r'[^A-Za-z0-9_.~+=-]', '_', readable)[:80]}-{storage.fingerprint([arm])[:8]}"
    return f"{readable}-{budget}-seed-{seed}"


def _identity(config: RunConfig) -> dict[str, Any]:
    found = {section: getattr(config, section).to_dict() for section in IDENTITY}
    found = {**found, "fine_tune": config.fine_tune.recipe}
    return found if config.adopt is None else {**found, "adopt": config.adopt.to_dict()}


def _differences(was: Any, now: Any, key: str = "") -> Any:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in sorted({*was, *now}):
            yield from _differences(was.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif was != now:
        yield key, was, now
