"""`prune`: from labelled texts to a smaller training set, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from raysample.api.coercion import folder_of, section, warn_of
from raysample.core import storage
from raysample.core.config import ArmConfig, EngineConfig, FineTuneConfig, ModelConfig, SourceConfig
from raysample.core.errors import ConfigError
from raysample.core.progress import Reporter, SilentReporter
from raysample.execution.create import create_executor
from raysample.selection import Selection
from raysample.selection.race.race_sample import RACE_ROWS
from raysample.tracking import NullTracker, Tracker
from raysample.workflow import RunContext
from raysample.workflow.choice import ChoiceSettings
from raysample.workflow.pilot import PilotSettings
from raysample.workflow.prune import PruneRequest, prune_source

GIVEN_ROWS = "source.parquet"


def prune(
    data: Any,
    output: str | None = None,
    *,
    text: str = "text",
    label: str = "label",
    pair: str | None = None,
    group: str | None = None,
    id: str | None = None,
    keep: float | Literal["auto"] = 0.5,
    encoder: ModelConfig | str | None = None,
    objective: Literal["accuracy", "macro_f1", "worst_group", "log_loss"] = "accuracy",
    tolerance: float = 0.005,
    candidates: Sequence[ArmConfig | Mapping[str, Any]] | None = None,
    race_rows: int = RACE_ROWS,
    pilot: bool = False,
    budget: float = 0.3,
    recipe: FineTuneConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    engine: EngineConfig | None = None,
    reporter: Reporter | None = None,
    tracker: Tracker | None = None,
) -> Selection:
    """Choose a smaller training set by evidence, and write it with the evidence into a folder.

    Candidates race against stratified random sampling of the same size on a linear probe, judged on held-out rows;
    one is taken only if it is shown to be better. Written: `kept.parquet`, `removed.parquet`, `suspects.csv`,
    `decision.json`, `report.html`, and below `work` what a second call resumes.

    Args:
        data: a path, a SourceConfig, a pandas DataFrame, a pyarrow Table, or a `datasets.Dataset`.
        output: the folder; a new temporary one by default.
        text, label, pair, group, id: the columns; a SourceConfig has its own.
        keep: share of the rows in (0, 1), or `auto`: the smallest share that is equivalent to all data.
        encoder: an encoder's folder or hub name, or a ModelConfig; n-grams by default.
        objective, tolerance: what the race judges by, and the loss to all data in its unit that counts as none.
        candidates: the arms that race, by the probe's scores; a portfolio by default, with cut-offs for a pilot.
        race_rows: rows that race, at most; of more rows a seeded sample races, and the winner is applied to all.
        pilot, budget: fine-tune the encoder on the best candidates, and take none that this does not confirm; at most
            this share of the cost of one training on all rows.
        recipe: of the fine-tuning; costs are compared with a training of its epochs.
        seed, engine, reporter, tracker: see `sample` and `score`; the result is the same wherever it runs.

    Raises:
        ConfigError: the data are of another kind. The steps raise as `raysample.workflow.prune.prune_source` says.

    >>> import raysample
    >>> from raysample.testing import tiny_corpus_files
    >>> half = raysample.prune(tiny_corpus_files("rows", rows=240), "pruned", keep=0.5)
    >>> half.counts["kept"], half.counts["pruned"]
    (120, 120)
    """
    folder = folder_of(output, "pruned")
    source = _source(data, {"text": text, "label": label, "text_pair": pair, "group": group, "id": id}, folder)
    spec = ModelConfig(path=encoder) if isinstance(encoder, str) else encoder
    arms = _arms(candidates)
    settings = ChoiceSettings(spec, objective, seed=seed, race_rows=race_rows, arms=arms, cut_offs=pilot)
    steps = recipe if isinstance(recipe, FineTuneConfig) else section(FineTuneConfig, dict(recipe or {}))
    how = (PilotSettings(steps, budget) if pilot else None, steps.epochs)
    return _run(PruneRequest(source, folder, keep, tolerance, settings, *how), engine, reporter, tracker)


def _run(
    request: PruneRequest, engine: EngineConfig | None, reporter: Reporter | None, tracker: Tracker | None
) -> Selection:
    """Prune, warn of what the selection does, and return it."""
    with create_executor(engine) as executor:
        context = RunContext(executor, reporter or SilentReporter(), tracker or NullTracker())
        done = prune_source(request, context)
    warn_of(done.decision.warnings)
    return done.selection


def _arms(candidates: Sequence[ArmConfig | Mapping[str, Any]] | None) -> tuple[ArmConfig, ...] | None:
    """Return candidates as arms; None stays None."""
    if candidates is None:
        return None
    return tuple(arm if isinstance(arm, ArmConfig) else section(ArmConfig, dict(arm)) for arm in candidates)


def _source(data: Any, columns: dict[str, str | None], folder: str) -> SourceConfig:
    """Return the source of data; rows in memory are written into the folder first."""
    if isinstance(data, SourceConfig):
        return data
    if isinstance(data, str):
        return section(SourceConfig, {"path": data, "columns": columns})
    rows = _rows(data)
    place = storage.join(folder, GIVEN_ROWS)
    storage.write_parquet(place, rows)
    return section(SourceConfig, {"path": place, "columns": columns})


def _rows(data: Any) -> pa.Table:
    """Return rows in memory as a table; raises ConfigError for any other kind of data."""
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "iloc"):
        return pa.Table.from_pandas(data, preserve_index=False)
    if hasattr(data, "with_format"):  # a datasets.Dataset, whose selections and shuffles this applies
        return data.with_format("arrow")[:]
    raise ConfigError(
        f"expected a path, a DataFrame, a pyarrow Table or a Dataset, got {type(data).__name__}",
        "write the rows to a file, and give its path",
    )
