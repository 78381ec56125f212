"""Checks before any computation, and one-line summaries of corpora."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from raysample.core import storage
from raysample.core.config import ArmConfig, LandmarksConfig, RunConfig, ScoreConfig
from raysample.core.errors import ConfigError, ScoreError
from raysample.data.checkpoint_set import Checkpoint
from raysample.data.corpus import Corpus
from raysample.data.sources.inventory import inventory_remarks
from raysample.influence.capture import check_captured_scores as check_capture
from raysample.influence.label_origin import ORIGINS
from raysample.influence.scores import Score, create_scores
from raysample.selection.policies import AUTO, create_policy
from raysample.selection.policies.steps import grouped
from raysample.selection.redraws import check_redraw
from raysample.training import learning_rate, schedule_training
from raysample.training.capture import passes
from raysample.version import __version__
from raysample.workflow import economy


def check_validation(config: RunConfig, chooses: bool = True) -> None:
    """Raise ConfigError if a share is to be chosen and there are no rows to choose it by."""
    if chooses and config.corpus.validation is None:
        raise ConfigError(
            "recommend and sample.budget: auto choose a share by validation rows, and corpus.validation is not set",
            "set corpus.validation, such as 0.1, with a `name` of its own, before the comparison is run",
        )


def check_plans(config: RunConfig) -> None:
    """Raise ScoreError or SelectionError for invalid scores and arms, before any computation."""
    scores = check_scores(config.score)
    if config.score.source == "capture" and not config.fine_tune.capture:
        raise ConfigError(
            "score.source is `capture`, but fine_tune.capture is off, so nothing would be captured",
            "set fine_tune.capture: true, or score.source: checkpoints",
        )
    for arm in config.compare.arms:
        if arm.policy == AUTO and arm != ArmConfig(policy=AUTO):
            raise ConfigError(
                f"the arm {arm.name!r} has settings beside policy: auto, which chooses all of them",
                "leave them out, or name a policy; an arm without a policy is auto",
            )
        if arm.score is not None and arm.score not in scores:
            raise ScoreError(
                f"the arm {arm.name!r} goes by {arm.score!r}, which is not among score.scores ({', '.join(scores)})",
                f"add {arm.score!r} to score.scores, or choose one of those",
            )
        known, source = {column: score.higher_is for column, score in scores.items()}, config.corpus.train
        policy = create_policy(arm, known)
        check_redraw(arm, policy)
        if grouped(policy) and source is not None and source.columns.group is None:
            raise ConfigError(
                f"the arm {arm.name!r} goes by groups, and corpus.train names no column of groups",
                "name it: corpus.columns: {group: ...}",
            )


def check_scores(config: ScoreConfig) -> dict[str, Score[Any]]:
    """Return the scores by column; raises ScoreError if parts of the section contradict each other."""
    scores = create_scores(config.scores)
    for column, score in scores.items():
        for target in (reference.given.get("target") for reference in score.references):
            if target is not None and target not in config.targets:
                raise ScoreError(
                    f"the score {column!r} points to the target {target!r}, which is not among score.targets "
                    f"({', '.join(config.targets) or 'there are none'})",
                    f"describe it: score.targets: {{{target}: {{path: ...}}}}",
                )
    if config.economy is not None:
        economy.check_economy(config)
    if config.source == "capture":
        check_capture(scores)
    if config.landmarks is not None:
        _check_landmarks(config, config.landmarks, scores)
    return scores


def _check_landmarks(config: ScoreConfig, wanted: LandmarksConfig, scores: Mapping[str, Score[Any]]) -> None:
    """Raise ScoreError for landmarks of unknown scores, or with captured logits."""
    unknown = [name for name in wanted.scores if name not in scores]
    if unknown:
        raise ScoreError(
            f"score.landmarks names {unknown[0]!r}, which is not among score.scores ({', '.join(scores)})",
            f"add {unknown[0]!r} to score.scores, or choose one of those",
        )
    if config.source == "capture":
        raise ScoreError("landmarks need checkpoints to visit", "set score.source: checkpoints")


def check_windows(config: RunConfig, rows: int) -> tuple[int, ...] | None:
    """Return the steps after which to save checkpoints with `keep_checkpoints: scored`; None saves all.

    Raises:
        CheckpointError: the planned checkpoints will not suit a score; checked before the fine-tuning.
        ConfigError: with `fine_tune.keep_checkpoints: scored` a score would use other checkpoints than without.
    """
    recipe = config.fine_tune
    layout = schedule_training(recipe.rows_per_epoch(rows), recipe)
    captured = config.score.source == "capture"
    planned: Sequence[Checkpoint]
    if captured:
        planned = passes(layout.steps // layout.steps_per_epoch, layout.steps_per_epoch)
    else:
        planned = [
            Checkpoint("", step, layout.epoch(step), learning_rate(step - 1, layout.steps, recipe))
            for step in layout.save_at
        ]
    scores = create_scores(config.score.scores)
    seen = {name: score.select(planned) for name, score in scores.items()}
    if recipe.keep_checkpoints == "all" or captured:
        return None
    return _retained(config, scores, planned, seen)


def _retained(
    config: RunConfig,
    scores: Mapping[str, Score[Any]],
    planned: Sequence[Checkpoint],
    seen: Mapping[str, Sequence[int]],
) -> tuple[int, ...]:
    """Return the steps of all checkpoints that scores use, and the last one."""
    if config.score.economy is not None:
        raise ConfigError(
            "score.economy chooses among all checkpoints, and fine_tune.keep_checkpoints: scored saves a part of them",
            "set fine_tune.keep_checkpoints: all, or give each score its checkpoints and leave score.economy out",
        )
    places = sorted({len(planned) - 1}.union(*seen.values()))
    kept = [planned[i] for i in places]
    for name, score in scores.items():
        if [kept[i].step for i in score.select(kept)] != [planned[i].step for i in seen[name]]:
            raise ConfigError(
                f"with fine_tune.keep_checkpoints: scored {name!r} would find other checkpoints than with all of "
                "them: a `spread` counts those that are there",
                "set fine_tune.keep_checkpoints: all, or give that score a window of epochs, first or last checkpoints",
            )
    return tuple(checkpoint.step for checkpoint in kept)


def corpus_line(corpus: Corpus) -> str:
    """Return rows, classes, quarantined and filtered rows of a corpus as one line."""
    text = f"{corpus.rows:,} rows, {len(corpus.labels)} classes"
    if corpus.counts["quarantined"]:
        reasons = ", ".join(
            f"{reason} ({count:,})" for reason, count in sorted(corpus.quarantine.items(), key=lambda kv: -kv[1])[:3]
        )
        text += f"; {corpus.counts['quarantined']:,} quarantined: {reasons}"
    if corpus.filtered:
        causes = ", ".join(f"{cause} ({count:,})" for cause, count in corpus.filtered.items())
        text += f"; {corpus.counts['filtered']:,} left out: {causes}"
    return text if corpus.origin == "gold" else f"{text}; labels: {ORIGINS[corpus.origin]}"


def corpus_remarks(corpus: Corpus) -> list[str]:
    """Return lines on files of a corpus that were left out, and the corpus's warnings."""
    return [*inventory_remarks(corpus.inventory), *corpus.warnings]


def versions() -> dict[str, str]:
    """Return the versions of raysample, Python and libraries that a result depends on."""
    names = ("torch", "transformers", "ray", "pyarrow", "numpy")
    return {"raysample": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}


def require_artifact(manifest: str, what: str, verb: str) -> None:
    """Raise ConfigError, with the command to run first, if a manifest does not exist."""
    if not storage.exists(manifest):
        raise ConfigError(
            f"there is no {what} at {manifest!r} yet", f"run `raysample {verb}` with this configuration first"
        )
