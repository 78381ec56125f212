"""The folder of one run: the location of every artifact, the run's identity, and whether work may be reused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig, RunConfig
from raysample.core.config.selection import Regime
from raysample.core.errors import ConfigError
from raysample.core.redaction import redacted

PREDICTIONS_SUFFIX = ".predictions.parquet"
# Sections that must not change within a run folder, since everything in it depends on them. Others may be extended.
IDENTITY = ("corpus", "model", "fine_tune")
FOLDER_NAME_PATTERN = r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.~+-]*)?"  # an arm with only policy, score, normalisation and quota


@dataclass(frozen=True)
class RunFolder:
    """The layout below `output/name`; every path is a URI."""

    root: str

    @staticmethod
    def from_config(config: RunConfig) -> RunFolder:
        """Return the run folder that a configuration names."""
        return RunFolder(storage.join(storage.absolute(config.output), config.name))

    def at(self, *parts: str) -> str:
        """Return a URI inside the folder."""
        return storage.join(self.root, *parts)

    @property
    def train(self) -> str:
        """Folder of the training Corpus."""
        return self.at("corpus", "train")

    @property
    def validation(self) -> str:
        """Folder of the validation Corpus, if the configuration has one."""
        return self.at("corpus", "validation")

    @property
    def test(self) -> str:
        """Folder of the test Corpus."""
        return self.at("corpus", "test")

    @property
    def overlap(self) -> str:
        """File with the overlap of training and test texts."""
        return self.at("corpus", "overlap.json")

    @property
    def scores(self) -> str:
        """Folder of the ScoreTable."""
        return self.at("scores")

    @property
    def own_scores(self) -> str:
        """Folder of the ScoreTables of single runs, which single seeds of the comparison use."""
        return self.at("own-scores")

    @property
    def contents(self) -> str:
        """Folder of the log's Contents."""
        return self.at("log", "contents")

    @property
    def log(self) -> RunFolder:
        """Folder of results on the log, with the same layout."""
        return RunFolder(self.at("log"))

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
        """File of the Comparison."""
        return self.at("comparison.json")

    @property
    def report(self) -> str:
        """The HTML report."""
        return self.at("report.html")

    @property
    def adopted(self) -> str:
        """Folder of the adopted CheckpointSet."""
        return self.at("checkpoints", "adopted")

    def checkpoints(self, seed: int) -> str:
        """Folder of the CheckpointSet of one seed."""
        return self.at("checkpoints", f"seed-{seed}")

    @property
    def draws(self) -> str:
        """Folder of the Selections of `fine_tune.dynamic`, one per seed and epoch."""
        return self.at("draws")

    def selection(self, arm: ArmConfig, fraction: float, seed: int, epoch: int = 0) -> str:
        """Folder of one Selection; of an arm with `redraw` that of an epoch, counted from 0."""
        return self.at("selections", cell(arm.name, fraction, seed) + _drawn_for(epoch))

    def pruned(self, arm: ArmConfig, budget: str, seed: int, epoch: int = 0) -> str:
        """Folder of one Selection at the budget `sample.budget`; of an arm with `redraw` that of an epoch."""
        return self.at("selections", cell(arm.name, budget, seed) + _drawn_for(epoch))

    def result(self, arm: str, fraction: float, seed: int, regime: Regime) -> str:
        """File with the outcome of one retraining."""
        return self.at("arms", cell(arm, fraction, seed) + _trained_for(regime) + ".json")

    def predictions(self, arm: str, fraction: float, seed: int, regime: Regime) -> str:
        """File with the predictions of one retraining on every test row."""
        return self.at("arms", cell(arm, fraction, seed) + _trained_for(regime) + PREDICTIONS_SUFFIX)

    def check(self, config: RunConfig) -> bool:
        """Return whether the folder holds this config's work; raises ConfigError, naming the key, for another's."""
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
        """Record this config as the owner of the folder: after its inputs were checked, before expensive work."""
        self.check(config)
        storage.write_json(self.at("run.json"), {"identity": _identity(config)}, private=True)
        self.record(config)

    def record(self, config: RunConfig) -> None:
        """Write the configuration, with overrides and without credentials, into the folder."""
        text = yaml.safe_dump(redacted(config.to_dict()), sort_keys=False)
        storage.write_text(self.at("config.yaml"), text, private=True)


def cell(arm: str, budget: float | str, seed: int) -> str:
    """Return a file name for one cell of a comparison: `hard-vog~class-0.5-seed-1` for `hard(vog|class)`.

    Different cells have different names: column names contain neither `~` nor `+`, policy names no `-`. For an arm with
    options or limits, which may contain any character, the name ends in part of the arm's hash.
    """
    readable = arm.replace("(", "-").replace("|", "~").replace(", ", "+").replace(")", "")
    if not re.fullmatch(FOLDER_NAME_PATTERN, readable):
        readable = f"{re.sub(r'[^A-Za-z0-9_.~+=-]', '_', readable)[:80]}-{storage.fingerprint([arm])[:8]}"
    return f"{readable}-{budget}-seed-{seed}"


def _drawn_for(epoch: int) -> str:
    """Return the end of the name of an epoch's selection: none for the first epoch, `-epoch-2` for the second."""
    return f"-epoch-{epoch + 1}" if epoch else ""


def _trained_for(regime: Regime) -> str:
    """Return the end of the name of a retraining's results: none at equal epochs, `-equal-steps` at equal steps."""
    return "-equal-steps" if regime == "equal_steps" else ""


def _identity(config: RunConfig) -> dict[str, Any]:
    """Return the part of a configuration that identifies a run folder."""
    found = {section: getattr(config, section).to_dict() for section in IDENTITY}
    found = {**found, "fine_tune": config.fine_tune.recipe}
    return found if config.adopt is None else {**found, "adopt": config.adopt.to_dict()}


def _differences(was: Any, now: Any, key: str = "") -> Any:
    """Yield (key, old value, new value) for every difference of nested data."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in sorted({*was, *now}):
            yield from _differences(was.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif was != now:
        yield key, was, now
