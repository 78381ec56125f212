"""What stands in the way of a run, told before its corpora are read: everything that can be known by then, at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from raysample.core import storage
from raysample.core.config import FineTuneConfig, ModelConfig, RunConfig, SourceConfig
from raysample.core.errors import ConfigError, RaysampleError, StorageError
from raysample.data.checkpoint_set import MANIFEST as CHECKPOINTS
from raysample.data.score_table import MANIFEST as SCORES
from raysample.data.sources.resolve import lacking, open_source
from raysample.execution.base import Demand, Executor
from raysample.models.building import TINY
from raysample.models.folders import locate
from raysample.models.sizes import FLOAT, model_size
from raysample.tracking import MLFLOW, TRACKER_REGISTRY
from raysample.tracking.mlflow import values
from raysample.training.importing.find import find
from raysample.workflow.checks import check_plans
from raysample.workflow.layout import Workspace
from raysample.workflow.plugins import check_plugins, run_plugins

STEPS = frozenset({"fine-tune", "score", "compare"})
"""What the verb `run` does; others do a part of it, or read the `log`."""

LOOKED_AT = 8
"""Files of a source whose columns are looked at; all others are when the corpus is described."""


def check_preflight(
    config: RunConfig, space: Workspace, engine: Executor, steps: Collection[str], tracking_uri: str | None = None
) -> None:
    """Raise what stands in the way of these steps: the error itself where it is one, else one that lists all.

    Args:
        config: the run. space: its folder.
        engine: where it shall run; it is asked for the workers of the steps.
        steps: what is going to be done; what is finished before is not asked for.
        tracking_uri: of MLflow, if it is not the database in the output.
    """
    fresh = not space.check(config)
    if config.adopt is not None and "score" in steps:  # describes the corpora, too
        steps = {*steps, "fine-tune"}
    found = [
        *_raised(lambda: _plans(config, engine)),
        *_sources(config, space, steps, fresh),
        *(_models(config) if fresh and "fine-tune" in steps else ()),
        *(_room(config, space) if fresh and "fine-tune" in steps else ()),
        *engine.refusals(list(_demands(config, space, steps))),
        *(_raised(lambda: values.check_uri(tracking_uri)) if tracking_uri and tracks_by_mlflow(config) else ()),
    ]
    if len(found) == 1:
        raise found[0]
    if found:
        raise ConfigError(listed(found), "mend all of it, and run the same command again: nothing was computed yet")


def tracks_by_mlflow(config: RunConfig) -> bool:
    """Tell whether a run asks for MLflow, and not for a plug-in tracker or none."""
    return config.tracking.enabled and config.tracking.tracker == MLFLOW


def _plans(config: RunConfig, engine: Executor) -> None:
    """Raise what is wrong with the scores and arms as they are configured, plug-ins that a worker lacks included."""
    check_plans(config)
    if config.tracking.enabled and config.tracking.tracker != MLFLOW:
        TRACKER_REGISTRY.find(config.tracking.tracker)
    check_plugins(run_plugins(config), engine)


def listed(found: Sequence[RaysampleError]) -> str:
    """Return several errors as a numbered list."""
    lines = [f"{len(found)} things stand in the way of this run:"]
    for number, error in enumerate(found, start=1):
        first, *rest = str(error).splitlines()
        lines += [f"  {number}. {first}", *(f"   {line}" for line in rest)]
    return "\n".join(lines)


def _raised(work: Callable[[], object]) -> list[RaysampleError]:
    try:
        work()
    except RaysampleError as error:
        return [error]
    return []


def _sources(config: RunConfig, space: Workspace, steps: Collection[str], fresh: bool) -> Iterator[RaysampleError]:
    seen = list[SourceConfig]()
    if fresh and "fine-tune" in steps:
        seen += [source for source in (config.corpus.train, config.corpus.test) if source is not None]
    if "score" in steps and not storage.exists(storage.join(space.scores, SCORES)):
        seen += [source.label_alone for source in config.score.targets.values()]
    log = None if config.log is None else config.log.source
    if log is not None and ("log" in steps or (fresh and _there(log))):
        seen.append(log)
    for source in seen:
        yield from _source(source)


def _there(source: SourceConfig) -> bool:
    try:
        return storage.exists(storage.absolute(source.path))
    except StorageError:
        return False


def _source(config: SourceConfig) -> list[RaysampleError]:
    """Return what is wrong with a source: nothing there, or columns that its first and last files lack."""
    try:
        source = open_source(config)
        if source.config.format == "hub":  # known once it is downloaded
            return []
        parts = source.parts
        looked = parts if len(parts) <= LOOKED_AT else (*parts[: LOOKED_AT - 1], parts[-1])
        found = [list[RaysampleError](lacking(source, part)) for part in looked]
    except RaysampleError as error:
        return [error]
    return next((errors for errors in found if errors), [])


def _models(config: RunConfig) -> Iterator[RaysampleError]:
    if config.model.path != TINY:
        yield from _raised(partial(locate, config.model.path))
    for path in [] if config.adopt is None else config.adopt.paths:
        yield from _raised(partial(find, path))


def _room(config: RunConfig, space: Workspace) -> list[RaysampleError]:
    """Return an error where the disk of the output has no room for the checkpoints, counted low."""
    if config.adopt is not None or not storage.is_local(space.root):
        return []
    place = Path(storage.absolute(space.root))
    while not place.exists():
        place = place.parent
    count = config.score.runs * fewest_checkpoints(config.fine_tune)
    needed, free = count * model_bytes(config.model), shutil.disk_usage(place).free
    if needed <= free:
        return []
    return [
        StorageError(
            f"the checkpoints ({count:,} of about {_size(needed // count)}) need {_size(needed)}, and the disk of "
            f"{str(place)!r} has {_size(free)} free",
            "give another `output`, make room, or keep fewer: fine_tune.checkpoints, "
            "fine_tune.keep_checkpoints: scored",
        )
    ]


def fewest_checkpoints(recipe: FineTuneConfig) -> int:
    """Return how many checkpoints a recipe leaves at least, however many rows there are."""
    if recipe.keep_checkpoints == "scored" or recipe.checkpoint_every is not None or recipe.early_stopping is not None:
        return 1
    return recipe.checkpoints or recipe.epochs * (recipe.checkpoints_per_epoch or 1)


def model_bytes(config: ModelConfig) -> int:
    """Return about how large a checkpoint will be, rather too low; 0 where nobody knows."""
    if config.path == TINY:
        width, layers = config.hidden_size, config.layers or 1
        return FLOAT * 12 * layers * width * width
    try:
        found = model_size(locate(config.path))
    except (RaysampleError, OSError, ValueError, KeyError):
        return 0
    if config.layers is None or not found.layers:
        return found.bytes
    return found.bytes * min(config.layers, found.layers) // found.layers


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:,.3g} TB"


def _demands(config: RunConfig, space: Workspace, steps: Collection[str]) -> Iterator[Demand]:
    """Yield the workers that the steps ask for, where they are not finished."""
    seeds = range(config.fine_tune.seed, config.fine_tune.seed + config.score.runs)
    trained = all(storage.exists(storage.join(space.checkpoints(seed), CHECKPOINTS)) for seed in seeds)
    if "fine-tune" in steps and config.adopt is None and not trained:
        yield Demand("fine-tuning", config.fine_tune.workers_range[0])
    if "score" in steps and not storage.exists(storage.join(space.scores, SCORES)):
        yield Demand("scoring", config.score.workers or 1, "scoring")
    if "compare" in steps and not storage.exists(space.comparison):
        yield Demand("retraining the arms", config.compare.workers or 1)
