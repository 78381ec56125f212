"""What the tracker and the report are told of a run as a whole."""

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
    corpora: tuple[Corpus, Corpus],
    table: ScoreTable,
    trace: CheckpointSet,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Return what the report says about how it was made: from training and test corpus, in how many seconds a step."""
    train, test = corpora
    return {
        "simulated": config.corpus.simulated is not None,
        "versions": versions(),
        "fingerprints": {"train": train.fingerprint, "test": test.fingerprint, "scores": table.fingerprint},
        "rows": {
            name: {**corpus.counts, "quarantine": corpus.quarantine, "left out": corpus.filtered}
            for name, corpus in (("train", train), ("test", test))
        },
        "files": {name: told for name, corpus in (("train", train), ("test", test)) if (told := _files(corpus))},
        "labels": {name: labelling.label_origin(corpus) for name, corpus in (("train", train), ("test", test))},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        **training_results.report_training(trace),
        "config": config.to_dict(),
    }


def _files(corpus: Corpus) -> dict[str, Any]:
    """Return what became of a source's files, and warnings about its rows; nothing if it is not known."""
    if not corpus.inventory:
        return {}
    left_out = {
        reason: [f"{told['files']:,} files", *told["names"][:20], *(["..."] if told["files"] > 20 else [])]
        for reason, told in corpus.inventory["left_out"].items()
    }
    warned = {"warnings": list(corpus.warnings)} if corpus.warnings else {}
    return {**corpus.inventory["files"], **({"left out because": left_out} if left_out else {}), **warned}
