"""What every score promises of its fold, on artifacts made by hand; `test_registry.py` goes through models."""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysample.influence.scores import SCORES, Score, create_score, from_logits
from raysample.influence.scores.feature_score import FeatureScore
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.testing.artifacts import ARTIFACT_CLASSES, artifact_rows, folded, padded, run, trace
from tests.helpers import oracles_scores
from tests.helpers.every_score import TARGET, made

ROWS = 9
VARIANTS: dict[str, Score[Any]] = {
    **{name: made(name) for name in SCORES},
    "vog_std": made("vog", variance="std"),
    "vog_loss": made("vog", objective="loss"),
    "grand_loop": made("grand", method="loop"),
    "tracin_self_last": made("tracin_self", parameters="last"),
    "tracin_target_max": made("tracin_target", by="class", over="max"),
    "influence_lissa": made("influence", solver="lissa", iterations=7),
    "forgetting_events": made("forgetting", never_learned="events"),
    "pvi_prior": made("pvi", null="prior"),
    "dyn_unc_wide": made("dyn_unc", window=10),
    "tdds_narrow": made("tdds", window=3),
    "dual_narrow": made("dual", window=2),
    "prototype_many": made("prototype", clusters=4),
    "knn_one": made("knn_label_disagreement", neighbours=1),
}


def seen_by(score: Score[Any], checkpoints: int = 7) -> list[Artifacts]:
    return trace(checkpoints, ROWS, scores=[score])


def example(seen: list[Artifacts], row: int) -> oracles_scores.Example:
    """Return one row as the slow twins want it; what no reference of the trace holds is empty."""
    first = seen[0]
    assert first.keys is not None

    def stack(tensors: Any) -> Any:
        found = [tensor.numpy() for tensor in tensors]
        return np.stack(found) if found else np.zeros((0, 0))

    def there(name: str) -> Any:
        return stack(t[name] for s in seen for t in s.reference.values() if name in t)

    sample = next((t for t in first.reference.values() if "keys" in t), {})
    empty = torch.zeros(0, dtype=torch.int64)
    return oracles_scores.Example(
        label=int(first.labels[row]),
        key=int(first.keys[row]),
        logits=stack(s.logits[row] for s in seen),
        features=stack(s.features[row] for s in seen if s.features is not None),
        norms=stack(s.grad_norms[row] for s in seen if s.grad_norms is not None),
        grads=stack(s.embedding_grads["logit"][row][s.mask[row]] for s in seen),
        dots=stack(dots[row] for s in seen for dots in s.grad_dots.values()),
        rates=np.array([at.learning_rate for at in run(len(seen))]),
        null=there("log_p"),
        others=there("features"),
        other_labels=sample.get("labels", empty).numpy(),
        other_keys=sample.get("keys", empty).numpy(),
        centres=there("centres"),
        medians=there("medians"),
    )


def close(found: Tensor, expected: Any, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(found.double(), torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=1e-12)


FROM_OUTPUTS = [name for name in SCORES if made(name).needs in Need.LOGITS | Need.FEATURES]


@pytest.mark.parametrize("name", FROM_OUTPUTS)
def test_a_score_of_outputs_says_whether_it_looks_at_the_label(name: str) -> None:
    score = made(name)
    seen = seen_by(score)[:1] if score.last_only else seen_by(score)
    other = [replace(one, labels=(one.labels + 1) % ARTIFACT_CLASSES) for one in seen]
    assert bool((folded(score, seen) == folded(score, other)).all()) is not score.uses_label


@pytest.mark.parametrize("name", oracles_scores.SCORES)
def test_the_fold_equals_its_slow_twin_in_float64(name: str) -> None:
    for checkpoints in (3, 7):  # fewer than a window of windows, and more
        seen = seen_by(made(name), checkpoints)
        expected = [oracles_scores.SCORES[name](example(seen, row)) for row in range(ROWS)]
        found = folded(made(name), seen)
        assert found.shape == (ROWS,)
        # The share of neighbours is float32: 3/10 has seven digits.
        close(found, expected, rtol=1e-6 if name == "knn_label_disagreement" else 1e-10)


def test_every_slow_twin_has_its_score() -> None:
    assert set(oracles_scores.SCORES) <= set(SCORES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_example_knows_its_mini_batch(variant: str) -> None:
    score = VARIANTS[variant]
    seen = seen_by(score)
    whole = folded(score, seen)
    assert whole.isfinite().all()
    assert whole.max() > whole.min()
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    close(folded(score, [artifact_rows(s, order) for s in seen]), whole[order])
    close(torch.cat([folded(score, [artifact_rows(s, torch.tensor([i])) for s in seen]) for i in range(ROWS)]), whole)
    close(folded(score, [padded(s, 5) for s in seen]), whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_score_and_state_pickle_and_options_make_the_same_score(variant: str) -> None:
    score = VARIANTS[variant]
    assert pickle.loads(pickle.dumps(score)) == score
    assert create_score({"name": score.name, **score.options()}) == (score.name, score)
    state, seen = score.init(), seen_by(score)
    for artifacts, at in zip(seen, run(len(seen)), strict=True):
        stream = io.BytesIO()
        pickle.dump(score.fold(state, artifacts, at), stream)
        state = pickle.loads(stream.getvalue())
    close(score.value(state), folded(score, seen))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_that_is_not_finite_has_no_value_and_touches_no_other(variant: str) -> None:
    score = VARIANTS[variant]
    seen = seen_by(score)
    clean = folded(score, seen)
    for tensor in (seen[-1].logits, seen[-1].features, seen[-1].grad_norms):
        assert tensor is not None
        tensor[2] = math.nan
    for tensor in (*seen[-1].embedding_grads.values(), *seen[-1].grad_dots.values()):
        tensor[2] = math.nan
    values = folded(score, seen)
    assert values[2].isnan()
    others = torch.arange(ROWS) != 2
    close(values[others], clean[others])


def test_the_state_of_windows_does_not_grow_with_the_checkpoints() -> None:
    for name in ("dyn_unc", "dual", "tdds"):
        score, sizes = made(name), []
        state = score.init()
        for artifacts in seen_by(score, 12):
            state = score.fold(state, artifacts, run(1)[0])
            sizes.append(len(pickle.dumps(state)))
        assert max(sizes[6:]) - min(sizes[6:]) < 40, name


def test_which_scores_need_logits_alone() -> None:
    on_predictions = {name for name, kind in SCORES.items() if ".predictions." in kind.__module__}
    assert {name for name in SCORES if from_logits(made(name))} == on_predictions - {"pvi"}
    assert from_logits(made("pvi", null="prior"))
    assert not from_logits(made("pvi"))


def test_which_scores_ask_for_a_loop_over_examples() -> None:
    assert {name for name, score in VARIANTS.items() if score.by_loop} == {"grand_loop"}
    assert made("tracin_self", method="loop").by_loop
    assert not made("tracin_self", method="loop", parameters="last").by_loop


def test_scores_on_features_share_one_reference() -> None:
    on_features = [made(name) for name, kind in SCORES.items() if issubclass(kind, FeatureScore)]
    assert len(on_features) > 2
    (shared,) = {reference for score in on_features for reference in score.references}
    assert shared.given == {"rows": 10_000, "clusters": 0, "seed": 0}
    assert made("prototype", clusters=8).references[0].key != shared.key


def test_what_scores_ask_of_references() -> None:
    needs = {name: VARIANTS[name].needs for name in VARIANTS if VARIANTS[name].references}
    assert needs["pvi"] == needs["pvi_prior"] == Need.LOGITS
    assert needs["tracin_target"] == needs["influence"] == Need.GRAD_DOTS
    given = {name: (r.kind, dict(r.given)) for name in needs for r in VARIANTS[name].references}
    assert given["pvi"] == ("null_model", {})
    assert given["pvi_prior"] == ("priors", {})
    assert given["tracin_target"] == ("target_gradient", {"target": TARGET})
    assert given["tracin_target_max"] == ("target_gradient", {"target": TARGET, "by": "class"})
    hessian = {"target": TARGET, "curvature": "gauss_newton", "damping": 0.01, "rows": 1_000, "seed": 0}
    assert given["influence"] == ("inverse_hessian", {**hessian, "solver": "cg"})
    assert given["influence_lissa"] == ("inverse_hessian", {**hessian, "solver": "lissa", "iterations": 7})
    assert made("influence", iterations=9).references[0].given["iterations"] == 9
