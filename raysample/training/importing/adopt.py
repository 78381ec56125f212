"""Folders -> CheckpointSet: in order, checked, hashed, with a tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raysample.core import storage
from raysample.core.errors import CheckpointError
from raysample.data.checkpoint_set import CHECKPOINTS_MANIFEST, TOKENIZER, Checkpoint, CheckpointSet, is_recorded
from raysample.models import adapters
from raysample.training.importing.checks import Opened, check_alike, open_folders, output_labels
from raysample.training.importing.find import Found, check_one_run, find, in_training_order
from raysample.training.importing.schedule import Schedule
from raysample.training.importing.tokenizer import tokenizer_of

Rates = float | Sequence[float] | None
FROM_KEY, EPOCHS_KEY, RATES_KEY = "from", "epochs", "learning_rates"
"""Keys of an adopted set's `config`: the paths; `told` or `assumed`; per checkpoint, the source of its rate."""


def adopt_paths(
    paths: Sequence[str], output: str, *, labels: Sequence[str] | None = None, learning_rates: Rates = None
) -> CheckpointSet:
    """Build a CheckpointSet in folder `output` from the checkpoints at some paths; see `adopt_found`."""
    if not paths:
        raise CheckpointError("no checkpoint folders were given", "name at least one `save_pretrained` folder")
    found = [one for path in paths for one in find(str(path))]
    made = adopt_found(found, output, origin=paths, labels=labels, learning_rates=learning_rates)
    if len(paths) == 1 and storage.exists(storage.join(paths[0], CHECKPOINTS_MANIFEST)):
        return _as_known(made, CheckpointSet.load(storage.absolute(paths[0])))
    return made


def _as_known(made: CheckpointSet, before: CheckpointSet) -> CheckpointSet:
    """Keep the provenance of a set that raysample made, but not its key: the new set is no finished run."""
    recipe = {name: value for name, value in before.config.items() if name in ("base", "model", "fine_tune")}
    known = replace(made, seed=before.seed, corpus=before.corpus, metrics=before.metrics)
    return replace(known, config={**recipe, **made.config}).save(made.uri)


def adopt_found(
    found: Sequence[Found],
    output: str,
    *,
    origin: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    learning_rates: Rates = None,
) -> CheckpointSet:
    """Build a CheckpointSet from folders, which are only read; the hashes of their files are recorded in its manifest.

    Args:
        found: the folders.
        output: folder of the set; none of the given folders.
        origin: the paths as the user gave them.
        labels: class names in the order of the classifier's outputs; those of config.json by default.
        learning_rates: one per checkpoint, or one for all; by default those that the training logged, else NaN.

    Raises:
        CheckpointError: folders are damaged, of different runs or models, lack a tokenizer or class names, or `output`
            holds something else.
    """
    ordered = in_training_order(found)
    _check_place(ordered, output)
    check_one_run(ordered)
    looked = open_folders(ordered)
    check_alike(looked)
    names = output_labels(looked, labels)
    rows = _timed(looked, learning_rates)
    _check_finite([row.checkpoint for row in rows])
    own = tokenizer_of(looked, storage.join(output, TOKENIZER))
    config = {
        "adopted": True,
        FROM_KEY: [str(path) for path in origin],
        EPOCHS_KEY: "told" if all(row.known for row in rows) else "assumed",
        RATES_KEY: [row.rate_source for row in rows],
        **({TOKENIZER: True} if own else {}),
    }
    kept = tuple(row.checkpoint for row in rows)
    made = CheckpointSet(kept, names, seed=0, config=config)
    _check_output(made, output)
    return made.save(output)


def _check_finite(found: Sequence[Checkpoint]) -> None:
    """Raise CheckpointError for an epoch or learning rate that is not finite, from a damaged trainer_state.json."""
    for one in found:
        if not math.isfinite(one.epoch) or math.isinf(one.learning_rate):  # NaN: unknown
            raise CheckpointError(
                f"{one.uri!r}: its trainer_state.json tells epoch {one.epoch} and learning rate {one.learning_rate}, "
                "which must be finite",
                "mend the file, or leave the checkpoint out",
            )


@dataclass(frozen=True)
class _Row:
    """A checkpoint, the source of its learning rate, and whether its epoch is known."""

    checkpoint: Checkpoint
    rate_source: str
    known: bool


def _timed(found: Sequence[Opened], rates: Rates) -> list[_Row]:
    """Return the checkpoints with epochs and learning rates; one checkpoint per epoch is assumed if none is known."""
    logged = [one.found.schedule for one in found if one.found.schedule is not None]
    schedule, given = logged[-1] if logged else Schedule(), _given(rates, len(found))
    rows = []
    for place, one in enumerate(found):
        step, known = one.found.step or place + 1, one.found.epoch
        epoch = known if known is not None else schedule.epochs.get(step)
        rate, source = schedule.rate(step) if one.found.rate is None else (one.found.rate, one.found.rate_source)
        if given is not None:
            rate, source = given[place], "given"
        at = Checkpoint(one.found.place, step, float(place + 1) if epoch is None else epoch, rate, _hashes(one))
        rows.append(_Row(at, source, epoch is not None))
    return rows


def _given(rates: Rates, count: int) -> list[float] | None:
    """Return the user's learning rates, one per checkpoint, or None; raises CheckpointError if they do not fit."""
    if rates is None:
        return None
    found = [float(rates)] * count if isinstance(rates, int | float) else [float(rate) for rate in rates]
    found = found * count if len(found) == 1 else found
    if len(found) != count or not all(0 <= rate < math.inf for rate in found):
        raise CheckpointError(
            f"{len(found)} learning rates ({', '.join(f'{rate:g}' for rate in found[:8])}) for {count} checkpoints",
            "give one of 0 or more for each checkpoint, in order, or a single one for all",
        )
    return found


def _hashes(one: Opened) -> dict[str, str]:
    """Return the sha256 of the files that are loaded from a folder.

    For adapters also those of their base, if a folder.
    """
    if one.found.files:
        return one.found.files
    folder = Path(one.folder)
    found = {path.name: storage.file_sha256(path) for path in _recorded(folder)}
    if one.config is None:
        base = Path(adapters.base_of(one.folder))
        found |= {str(path.absolute()): storage.file_sha256(path) for path in _recorded(base)}
    return found


def _recorded(folder: Path) -> list[Path]:
    """Return the files of a folder whose hashes are recorded."""
    return (
        sorted(path for path in folder.iterdir() if path.is_file() and is_recorded(path.name))
        if folder.is_dir()
        else []
    )


def _check_place(found: Sequence[Found], output: str) -> None:
    """Raise CheckpointError if the output is inside or above a folder that is imported."""
    place = storage.absolute(output).rstrip("/")
    for one in found:
        foreign = one.place.rstrip("/")
        if place == foreign.rpartition("/")[0] or f"{place}/".startswith(f"{foreign}/"):
            raise CheckpointError(
                f"the output {output!r} is a folder of the run that is adopted, into which nothing is written",
                "give another one: --output FOLDER",
            )


def _check_output(made: CheckpointSet, output: str) -> None:
    """Raise CheckpointError if the output holds another set: tables and selections may depend on it."""
    if not storage.exists(storage.join(output, CHECKPOINTS_MANIFEST)):
        return
    if CheckpointSet.load(output).checkpoints != made.checkpoints:
        raise CheckpointError(
            f"another CheckpointSet lies in {output!r}: other checkpoints, or they have changed",
            "give another output, or delete it if nothing that was made with it is needed any more",
        )
