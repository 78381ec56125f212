"""Parameters of tracked runs, and the report's data on provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysample.core.config import RunConfig
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.data.score_table import ScoreTable
from raysample.influence import label_origin as labelling
from raysample.tracking import Value
from raysample.workflow import training_results
from raysample.workflow.checks import versions


def params(config: RunConfig, verb: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the parameters of one tracked run: the same names in every run, so that MLflow can compare them."""
    recipe, (label_origin, test_label_origin) = config.fine_tune, labelling.origins(config.corpus)
    common: dict[str, Value] = {
        "verb": verb,
        "method": None,
        "policy": None,
        "score": None,
        "normalise": None,
        "quota": None,
        "draws": None,
        "keep_fraction": None,
        "seed": None,
        "n_train": None,
        "label_origin": label_origin,
        "test_label_origin": test_label_origin,
        "model": config.model.path,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "regime": config.compare.regime,
        "adopted": None if config.adopt is None else ", ".join(config.adopt.paths),
    }
    return {key: value for key, value in {**common, **values}.items() if value is not None}


def provenance(
    config: RunConfig,
    corpora: Mapping[str, Corpus],
    table: ScoreTable,
    checkpoint_set: CheckpointSet,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Return the report's data on provenance: versions, fingerprints, row counts, labels, seconds per step, config."""
    prints = {name: corpus.fingerprint for name, corpus in corpora.items()}
    return {
        "simulated": config.corpus.simulated is not None,
        "versions": versions(),
        "fingerprints": {**prints, "scores": table.fingerprint},
        "rows": {
            name: {**corpus.counts, "quarantine": corpus.quarantine, "left out": corpus.filtered}
            for name, corpus in corpora.items()
        },
        "files": {name: files for name, corpus in corpora.items() if (files := _files(corpus))},
        "labels": {name: labelling.label_origin(corpus) for name, corpus in corpora.items()},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        **training_results.report_training(checkpoint_set),
        "config": config.to_dict(),
    }


def _files(corpus: Corpus) -> dict[str, Any]:
    """Return counts of a source's files, reasons for files left out, and warnings; empty if unknown."""
    if not corpus.inventory:
        return {}
    left_out = {
        reason: [f"{entry['files']:,} files", *entry["names"][:20], *(["..."] if entry["files"] > 20 else [])]
        for reason, entry in corpus.inventory["left_out"].items()
    }
    warned = {"warnings": list(corpus.warnings)} if corpus.warnings else {}
    return {**corpus.inventory["files"], **({"left out because": left_out} if left_out else {}), **warned}
