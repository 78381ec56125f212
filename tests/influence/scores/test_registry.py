"""What every score in SCORES promises; a new score is tested by being listed there."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, is_dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysample.data.checkpoint_set import Checkpoint
from raysample.influence.scores import SCORES, create_scores
from raysample.influence.visits.sweep import score_block
from raysample.models import Encoded, pad
from raysample.testing import tiny_model
from tests.helpers import oracles, oracles_scores
from tests.helpers.every_score import made

EPOCHS = (0.5, 1.0, 2.0, 3.0, 4.0)
CHECKPOINTS = tuple(Checkpoint(f"step-{10 * e:g}", int(10 * e), e, 1e-3) for e in EPOCHS)
ROWS = 14
WITHOUT_REFERENCES = [name for name in SCORES if not made(name).references]
EVERY_SPEC: list[Any] = [
    *WITHOUT_REFERENCES,
    {"name": "vog", "objective": "loss", "as": "vog_loss"},
    {"name": "vog", "variance": "std", "as": "vog_std"},
    {"name": "grand_last", "checkpoints": "all", "as": "grand_last_all"},
    {"name": "tracin_self", "parameters": "last", "as": "tracin_self_last"},
    {"name": "el2n", "checkpoints": {"spread": 2}, "as": "el2n_spread"},
    {"name": "dyn_unc", "window": 3, "as": "dyn_unc_3"},
    {"name": "dual", "window": 3, "as": "dual_3"},
    {"name": "tdds", "window": 3, "as": "tdds_3"},
]
COLUMNS = tuple(create_scores(EVERY_SPEC))


@cache
def models() -> list[nn.Module]:
    return [tiny_model("bert", seed=seed).double() for seed in range(len(EPOCHS))]


@cache
def rows() -> tuple[Encoded, NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 40, size=n).astype(np.int32) for n in rng.integers(3, 12, size=ROWS)]
    types = [(np.arange(len(row)) > 2).astype(np.int32) for row in ids]
    lengths = np.array([len(row) for row in ids], np.int32)
    return Encoded(ids, types, lengths), rng.integers(3, size=ROWS)


def taken(order: NDArray[np.int64]) -> tuple[Encoded, NDArray[np.int64]]:
    encoded, labels = rows()
    assert encoded.types is not None
    ids, types = [encoded.ids[i] for i in order], [encoded.types[i] for i in order]
    return Encoded(ids, types, encoded.lengths[order]), labels[order]


def scored(
    specs: list[Any],
    order: NDArray[np.int64] | None = None,
    batch_tokens: int = 40,
    wider: int = 0,
    fetched: bool = False,
    turned: int = 0,
) -> dict[str, NDArray[np.float32]]:
    encoded, labels = taken(np.arange(ROWS) if order is None else order)
    labels = (labels + turned) % 3

    def padded(batch: NDArray[np.int64]) -> dict[str, Tensor]:
        return {k: nn.functional.pad(v, (0, wider)) for k, v in pad(encoded, batch, 0).items()}

    trace: Any = models().__getitem__ if fetched else models()
    return score_block(trace, CHECKPOINTS, encoded, labels, create_scores(specs), pad=padded, batch_tokens=batch_tokens)


@cache
def together() -> dict[str, NDArray[np.float32]]:
    return scored(EVERY_SPEC)


def spec_of(column: str) -> Any:
    return next(s for s in EVERY_SPEC if s == column or (isinstance(s, dict) and s["as"] == column))


@pytest.mark.parametrize("name", SCORES)
def test_it_has_a_name_a_direction_and_a_source(name: str) -> None:
    kind = SCORES[name]
    assert kind.name == name
    assert kind.higher_is in ("harder", "easier")
    assert is_dataclass(kind)
    assert getattr(kind, "__final__", False)
    doc = (inspect.getdoc(kind) or "").lower()
    assert all(word in doc for word in ("range", "source", "designed for", "high is"))
    assert kind.designed_runs >= 1


@pytest.mark.parametrize("name", SCORES)
def test_it_is_frozen_and_pickles(name: str) -> None:
    score = SCORES[name]()
    assert pickle.loads(pickle.dumps(score)) == score
    with pytest.raises(FrozenInstanceError):
        score.checkpoints = None  # type: ignore[misc, assignment]


@pytest.mark.parametrize("column", COLUMNS)
def test_one_finite_float32_per_example(column: str) -> None:
    values = together()[column]
    assert values.dtype == np.float32
    assert values.shape == (ROWS,)
    assert np.isfinite(values).all()
    assert np.ptp(values) > 0


@pytest.mark.parametrize("column", COLUMNS)
def test_alone_it_gives_what_it_gives_together(column: str) -> None:
    np.testing.assert_allclose(scored([spec_of(column)])[column], together()[column], rtol=1e-6)


CHANGES: dict[str, Callable[[], dict[str, NDArray[np.float32]]]] = {
    "one row at a time": lambda: scored(EVERY_SPEC, batch_tokens=1),
    "one mini-batch": lambda: scored(EVERY_SPEC, batch_tokens=10_000),
    "more padding": lambda: scored(EVERY_SPEC, wider=5),
    "models fetched one by one": lambda: scored(EVERY_SPEC, fetched=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_score_depends_on_how_the_work_is_cut(change: str) -> None:
    for column, values in CHANGES[change]().items():
        np.testing.assert_allclose(values, together()[column], rtol=1e-6, err_msg=column)


def test_no_score_depends_on_the_order_of_the_rows() -> None:
    order = np.random.default_rng(1).permutation(ROWS)
    for column, values in scored(EVERY_SPEC, order).items():
        np.testing.assert_allclose(values, together()[column][order], rtol=1e-6, err_msg=column)


def test_a_score_says_whether_it_looks_at_the_label() -> None:
    other = scored(WITHOUT_REFERENCES, turned=1)
    tied = {name for name in WITHOUT_REFERENCES if not np.allclose(other[name], together()[name], rtol=1e-6)}
    assert tied == {name for name in WITHOUT_REFERENCES if SCORES[name].uses_label}


def test_every_score_equals_its_slow_twin() -> None:
    encoded, labels = rows()
    examples = [(pad(encoded, [row], 0), int(labels[row])) for row in range(ROWS)]
    for row, (inputs, label) in enumerate(examples):
        for name, value in twins(inputs, label).items():
            np.testing.assert_allclose(together()[name][row], value, rtol=1e-6, err_msg=name)


def twins(inputs: dict[str, Tensor], label: int) -> dict[str, float]:
    """Return every score of one example at its defaults, from what it shows at each checkpoint, stored in full."""
    gold = torch.tensor([label])
    logits, features = zip(*(visited(model, inputs) for model in models()), strict=True)
    sites = [oracles.embedding_grads(m, m.base_model.embeddings, inputs, gold, "logit")[0] for m in models()]
    shown = {
        "logits": np.stack(logits),
        "features": np.stack(features),
        "norms": np.array([float(oracles.grad_norms(model, inputs, gold)) for model in models()]),
        "grads": np.stack([site.numpy() for site in sites]),
        "rates": np.array([at.learning_rate for at in CHECKPOINTS]),
    }
    empty = dict.fromkeys(("dots", "null", "others", "centres", "medians"), np.zeros((len(EPOCHS), 0)))
    none = np.zeros(0, np.int64)
    found = {}
    for name in (name for name in WITHOUT_REFERENCES if name in oracles_scores.SCORES):
        window = list(SCORES[name]().select(CHECKPOINTS))
        here = {key: values[window] for key, values in {**shown, **empty}.items()}
        example = oracles_scores.Example(label=label, key=0, other_labels=none, other_keys=none, **here)
        found[name] = oracles_scores.SCORES[name](example)
    return found


def visited(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Any, Any]:
    """Return the logits and the classifier's input of one example."""
    seen: list[Tensor] = []
    handle = model.classifier.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    handle.remove()
    return logits.numpy(), seen[0][0].numpy()


def test_importing_the_scores_imports_nothing_heavy() -> None:
    heavy = "{'ray', 'mlflow', 'transformers'}"
    modules = "raysample.influence.scores, raysample.influence.visits.sweep"
    code = f"import {modules}, sys; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_torch_keeps_its_gradient_mode() -> None:
    together()
    assert torch.is_grad_enabled()
