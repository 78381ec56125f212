"""Preflight: report all problems of a run that can be found before its corpora are read, at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from raysample.core import storage
from raysample.core.config import FineTuneConfig, ModelConfig, RunConfig, SourceConfig
from raysample.core.errors import ConfigError, RaysampleError, StorageError
from raysample.core.units import format_bytes
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST
from raysample.data.score_table import SCORES_MANIFEST
from raysample.data.sources.resolve import lacking, open_source
from raysample.execution.base import Demand, Executor
from raysample.models.building import TINY
from raysample.models.folders import locate
from raysample.models.sizes import FLOAT, model_size
from raysample.tracking import MLFLOW, TRACKER_REGISTRY
from raysample.tracking.mlflow import values
from raysample.training.importing.find import find
from raysample.workflow.checks import check_plans, check_validation
from raysample.workflow.layout import RunFolder
from raysample.workflow.plugins import check_plugins, run_plugins
from raysample.workflow.redrawn_rows import check_dynamic

STEPS = frozenset({"fine-tune", "score", "compare"})
"""Steps of the command `run`; other commands do some of them, or read the `log`."""

LOOKED_AT = 8
"""Number of files per source whose columns are checked; the others are checked when the corpus is described."""


def check_preflight(
    config: RunConfig, run_folder: RunFolder, engine: Executor, steps: Collection[str], tracking_uri: str | None = None
) -> None:
    """Raise the problems of these steps: a single error as it is, several as one error that lists them.

    Args:
        config: the run.
        run_folder: its folder.
        engine: the executor; it must be able to hold the workers of the steps.
        steps: the steps to be done; finished steps are not checked.
        tracking_uri: MLflow's URI, if it is not the database in the output folder.
    """
    fresh = not run_folder.check(config)
    if config.adopt is not None and "score" in steps:  # scoring adopted checkpoints also describes the corpora
        steps = {*steps, "fine-tune"}
    problems = [
        *_raised(lambda: _plans(config, engine)),
        *_raised(lambda: check_validation(config, config.sample.budget == "auto" and not STEPS.isdisjoint(steps))),
        *_sources(config, run_folder, steps, fresh),
        *(_models(config) if fresh and "fine-tune" in steps else ()),
        *(_room(config, run_folder) if fresh and "fine-tune" in steps else ()),
        *engine.refusals(list(_demands(config, run_folder, steps))),
        *(_raised(lambda: values.check_uri(tracking_uri)) if tracking_uri and tracks_by_mlflow(config) else ()),
    ]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError(listed(problems), "mend all of it, and run the same command again: nothing was computed yet")


def tracks_by_mlflow(config: RunConfig) -> bool:
    """Return whether a run tracks with MLflow, not with a plug-in tracker or none."""
    return config.tracking.enabled and config.tracking.tracker == MLFLOW


def _plans(config: RunConfig, engine: Executor) -> None:
    """Raise errors of configured scores and arms, and for plug-ins that a worker lacks."""
    check_plans(config)
    source = config.corpus.train
    check_dynamic(config.fine_tune, source is None or source.columns.group is not None)
    if config.tracking.enabled and config.tracking.tracker != MLFLOW:
        TRACKER_REGISTRY.find(config.tracking.tracker)
    check_plugins(run_plugins(config), engine)


def listed(problems: Sequence[RaysampleError]) -> str:
    """Return several errors as a numbered list."""
    lines = [f"{len(problems)} things stand in the way of this run:"]
    for number, error in enumerate(problems, start=1):
        first, *rest = str(error).splitlines()
        lines += [f"  {number}. {first}", *(f"   {line}" for line in rest)]
    return "\n".join(lines)


def _raised(work: Callable[[], object]) -> list[RaysampleError]:
    """Return the error that a function raises, as a list: empty if none."""
    try:
        work()
    except RaysampleError as error:
        return [error]
    return []


def _sources(config: RunConfig, run_folder: RunFolder, steps: Collection[str], fresh: bool) -> Iterator[RaysampleError]:
    """Yield the problems of the sources that the steps will read."""
    seen = list[SourceConfig]()
    if fresh and "fine-tune" in steps:
        seen += [source for source in (config.corpus.train, config.corpus.test) if source is not None]
    if "score" in steps and not storage.exists(storage.join(run_folder.scores, SCORES_MANIFEST)):
        seen += [source.label_alone for source in config.score.targets.values()]
    log = None if config.log is None else config.log.source
    if log is not None and ("log" in steps or (fresh and _there(log))):
        seen.append(log)
    for source in seen:
        yield from _source(source)


def _there(source: SourceConfig) -> bool:
    """Return whether a source's path exists."""
    try:
        return storage.exists(storage.absolute(source.path))
    except StorageError:
        return False


def _source(config: SourceConfig) -> list[RaysampleError]:
    """Return the problems of a source: a missing path, or columns missing in its first and last files."""
    try:
        source = open_source(config)
        if source.config.format == "hub":  # known once it is downloaded
            return []
        parts = source.parts
        looked = parts if len(parts) <= LOOKED_AT else (*parts[: LOOKED_AT - 1], parts[-1])
        problems = [list[RaysampleError](lacking(source, part)) for part in looked]
    except RaysampleError as error:
        return [error]
    return next((errors for errors in problems if errors), [])


def _models(config: RunConfig) -> Iterator[RaysampleError]:
    """Yield the problems of the model's folder and of adopted checkpoints."""
    if config.model.path != TINY:
        yield from _raised(partial(locate, config.model.path))
    for path in [] if config.adopt is None else config.adopt.paths:
        yield from _raised(partial(find, path))


def _room(config: RunConfig, run_folder: RunFolder) -> list[RaysampleError]:
    """Return an error if the output's disk is too small for the checkpoints, by a low estimate."""
    if config.adopt is not None or not storage.is_local(run_folder.root):
        return []
    place = Path(storage.absolute(run_folder.root))
    while not place.exists():
        place = place.parent
    count = config.score.runs * fewest_checkpoints(config.fine_tune)
    needed, free = count * model_bytes(config.model), shutil.disk_usage(place).free
    if needed <= free:
        return []
    return [
        StorageError(
            f"the checkpoints ({count:,} of about {format_bytes(needed // count)}) need "
            f"{format_bytes(needed)}, and the disk of {str(place)!r} has {format_bytes(free)} free",
            "give another `output`, make room, or keep fewer: fine_tune.checkpoints, "
            "fine_tune.keep_checkpoints: scored",
        )
    ]


def fewest_checkpoints(recipe: FineTuneConfig) -> int:
    """Return the minimum number of checkpoints of a recipe, for any number of rows."""
    if recipe.keep_checkpoints == "scored" or recipe.checkpoint_every is not None or recipe.early_stopping is not None:
        return 1
    return recipe.checkpoints or recipe.epochs * (recipe.checkpoints_per_epoch or 1)


def model_bytes(config: ModelConfig) -> int:
    """Return a low estimate of a checkpoint's size in bytes; 0 if unknown."""
    if config.path == TINY:
        width, layers = config.hidden_size, config.layers or 1
        return FLOAT * 12 * layers * width * width
    try:
        size = model_size(locate(config.path))
    except (RaysampleError, OSError, ValueError, KeyError):
        return 0
    if config.layers is None or not size.layers:
        return size.bytes
    return size.bytes * min(config.layers, size.layers) // size.layers


def _demands(config: RunConfig, run_folder: RunFolder, steps: Collection[str]) -> Iterator[Demand]:
    """Yield the workers that unfinished steps need."""
    seeds = range(config.fine_tune.seed, config.fine_tune.seed + config.score.runs)
    trained = all(storage.exists(storage.join(run_folder.checkpoints(seed), CHECKPOINTS_MANIFEST)) for seed in seeds)
    if "fine-tune" in steps and config.adopt is None and not trained:
        yield Demand("fine-tuning", config.fine_tune.workers_range[0])
    if "score" in steps and not storage.exists(storage.join(run_folder.scores, SCORES_MANIFEST)):
        yield Demand("scoring", config.score.workers or 1, "scoring")
    if "compare" in steps and not storage.exists(run_folder.comparison):
        yield Demand("retraining the arms", config.compare.workers or 1)
