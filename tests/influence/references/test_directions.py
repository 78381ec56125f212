"""Target gradients and inverse-Hessian products of real small models, against slow autograd and dense algebra."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from raysample import models
from raysample.core.config import ModelConfig
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus, describe_source
from raysample.data.row_sampling import sort_by_row_hash
from raysample.influence.references import Request, load_reference, prepare_references
from raysample.influence.references.folder import REFERENCE_MANIFEST, located
from raysample.influence.references.gradients import mean_gradient, trainable
from raysample.influence.references.inverse_hessian import product_with, solve, solver_options
from raysample.influence.references.rows import tokenize_rows
from raysample.influence.scores.reference import Reference
from raysample.testing import FAMILIES, Family, tiny_model, tiny_rows, tiny_tokenizer
from raysample.training import Examples, batch
from tests.helpers.oracles_references import hessian_product as slow_hessian_product
from tests.helpers.oracles_references import mean_gradient as slow_mean_gradient
from tests.helpers.oracles_references import model_hessian
from tests.helpers.reference_runs import batch_of, changed, described, made_up

pytestmark = pytest.mark.slow

reference_to = Reference.from_options
TARGET = reference_to("target_gradient", target="held_out")
INVERSE = reference_to("inverse_hessian", target="held_out", damping=0.1)
HEAD_ONLY = r"^(?!classifier\.).*"


def data_of(family: Family, rows: int = 14) -> Examples:
    return tokenize_rows(sort_by_row_hash(tiny_rows(rows)), tiny_tokenizer(family), ModelConfig(max_length=16))


def together(data: Examples) -> tuple[dict[str, Tensor], Tensor]:
    return batch(data, np.arange(len(data)), "cpu")


def head_only(network: nn.Module) -> nn.Module:
    for name, weight in network.named_parameters():
        weight.requires_grad_(name.startswith("classifier"))
    return network


def flattened(directions: dict[str, Tensor], network: nn.Module, m: int = 0) -> Tensor:
    return torch.cat([directions[name][m].flatten() for name in trainable(network)])


def checkpoints(request: Request) -> tuple[Checkpoint, ...]:
    return CheckpointSet.load(request.checkpoints).checkpoints


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_gradient_is_that_of_a_loop(family: Family) -> None:
    network, data = tiny_model(family).double(), data_of(family)
    expected = slow_mean_gradient(network, *together(data))
    for budget in (16, 64, 10_000):
        found = mean_gradient(network, data, np.arange(len(data)), budget)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_products_with_the_hessian_are_differences_of_gradients(family: Family) -> None:
    network, data = tiny_model(family, hidden=8, layers=1).double(), data_of(family, 6)
    weights = list(trainable(network).values())
    v = torch.randn(sum(w.numel() for w in weights), dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def moved(by: float) -> Tensor:
        vector = torch.nn.utils.parameters_to_vector(weights).detach()
        torch.nn.utils.vector_to_parameters(vector + by * v, weights)
        found = slow_mean_gradient(network, *together(data))
        torch.nn.utils.vector_to_parameters(vector, weights)
        return found

    with sdpa_kernel(SDPBackend.MATH):
        found = product_with(network, data, 40)(v)
    expected = slow_hessian_product(network, *together(data), v)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    # And by another way: good to the square of the step, and to float32 over the step, since Llama's and Qwen's
    # normalisation computes in float32 whatever it is given.
    difference = (moved(3e-4) - moved(-3e-4)) / 6e-4
    assert float((found - difference).norm() / difference.norm()) < 1e-4


@pytest.mark.parametrize("solver", ["cg", "lissa"])
def test_the_solvers_come_to_the_dense_solution(solver: str) -> None:
    # Every step of LiSSA sees all 14 rows, so that it is exact but for (1 - 1/6)^100.
    given = {"scale": 6.0, "iterations": 100, "batch": 14} if solver == "lissa" else {}
    network, data = head_only(tiny_model("bert").double()), data_of("bert")
    goal = mean_gradient(network, data, np.arange(5), 64)
    wanted = reference_to("inverse_hessian", target="x", solver=solver, damping=1.0, tolerance=1e-10, **given)
    found = solve(network, data, goal, 10_000, solver_options(wanted))
    dense = model_hessian(network, *together(data))
    expected = torch.linalg.solve(dense + torch.eye(len(dense), dtype=torch.float64), goal)
    torch.testing.assert_close(found.x, expected, rtol=1e-5, atol=1e-8)
    assert found.residual < 1e-7


def test_what_is_prepared_are_the_gradients_at_each_checkpoint(tmp_path: Path) -> None:
    request = made_up(tmp_path)
    prepare_references(request, [TARGET])
    inputs, labels = batch_of(request, request.targets["held_out"])
    for checkpoint in checkpoints(request):
        network = models.load_model(checkpoint.uri)
        loaded = load_reference(request, [TARGET], checkpoint, "cpu")
        found = loaded.directions[TARGET.key]
        assert {name: tuple(value.shape) for name, value in found.items()} == {
            name: (1, *weight.shape) for name, weight in network.named_parameters()
        }
        assert loaded.tensors == {}
        expected = slow_mean_gradient(network.double(), inputs, labels).float()
        torch.testing.assert_close(flattened(found, network), expected, rtol=1e-3, atol=1e-6)


def test_by_class_there_is_one_direction_per_class_present(tmp_path: Path) -> None:
    request = made_up(tmp_path)
    only = described(tmp_path / "two", 20, seed=3, where={"label": "round"})
    both = reference_to("target_gradient", target="held_out", by="class")
    one = reference_to("target_gradient", target="two", by="class")
    request = replace(request, targets={**request.targets, "two": only.uri})
    prepare_references(request, [TARGET, both, one])
    last = checkpoints(request)[-1]
    found = load_reference(request, [TARGET, both, one], last, "cpu").directions
    told = json.loads((Path(located(request, both)) / REFERENCE_MANIFEST).read_text())["notes"]
    counts = torch.tensor(Corpus.load(request.targets["held_out"]).class_counts, dtype=torch.float32)
    assert told["classes"] == ["calm", "quick", "round"]
    for name, whole in found[TARGET.key].items():
        weighed = torch.tensordot(counts / counts.sum(), found[both.key][name], 1)
        torch.testing.assert_close(weighed, whole[0], rtol=1e-3, atol=1e-6)
        assert len(found[one.key][name]) == 1
    assert json.loads((Path(located(request, one)) / REFERENCE_MANIFEST).read_text())["notes"]["classes"] == ["round"]


def test_frozen_parameters_have_no_direction(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    frozen = replace(request, model=request.model.model_copy(update={"freeze": [HEAD_ONLY]}))
    prepare_references(frozen, [TARGET])
    (last,) = checkpoints(request)
    found = load_reference(frozen, [TARGET], last, "cpu").directions[TARGET.key]
    assert set(found) == {"classifier.weight", "classifier.bias"}


def test_a_model_without_trainable_parameters_is_told() -> None:
    network = tiny_model("bert").requires_grad_(False)
    with pytest.raises(ScoreError, match=r"no parameter(.|\n)*freeze"):
        mean_gradient(network, data_of("bert"), np.arange(3), 64)


def test_the_inverse_hessian_is_prepared_for_the_last_checkpoint(tmp_path: Path) -> None:
    request = made_up(tmp_path)
    request = replace(request, model=request.model.model_copy(update={"freeze": [HEAD_ONLY]}))
    said: list[str] = []
    prepare_references(request, [INVERSE], say=said.append)
    first, last = checkpoints(request)
    network = head_only(models.load_model(last.uri)).double()
    goal = slow_mean_gradient(network, *batch_of(request, request.targets["held_out"]))
    dense = model_hessian(network, *batch_of(request, request.corpus))
    expected = torch.linalg.solve(dense + 0.1 * torch.eye(len(dense), dtype=torch.float64), goal).float()
    found = flattened(load_reference(request, [INVERSE], last, "cpu").directions[INVERSE.key], network)
    assert float((found - expected).norm() / expected.norm()) < 0.05
    assert any("relative residual" in line for line in said)
    notes = json.loads((Path(located(request, INVERSE)) / REFERENCE_MANIFEST).read_text())["notes"]
    assert notes["residual"] <= 0.01
    assert notes["hessian_rows"] == 60
    with pytest.raises(ScoreError, match=r"not for step 10(.|\n)*checkpoints: last"):
        load_reference(request, [INVERSE], first, "cpu")


def test_a_residual_above_the_tolerance_is_told(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    request = replace(request, model=request.model.model_copy(update={"freeze": [HEAD_ONLY]}))
    once = reference_to("inverse_hessian", target="held_out", damping=1e-3, iterations=1)
    with pytest.raises(ScoreError, match=r"relative residual of(.|\n)*raise damping or iterations"):
        prepare_references(request, [once])


def test_a_bent_loss_is_told(tmp_path: Path) -> None:
    plain = made_up(tmp_path, checkpoints=1)
    with pytest.raises(ScoreError, match=r"not positive definite(.|\n)*raise damping above"):
        prepare_references(plain, [reference_to("inverse_hessian", target="held_out", damping=0.0, tolerance=1e-6)])


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (
            reference_to("target_gradient", target="nowhere"),
            r"no target 'nowhere'; score.targets has held_out",
        ),
        (
            reference_to("inverse_hessian", target="held_out", solver="lu"),
            r"'lu'(.|\n)*choose 'cg' or 'lissa'",
        ),
        (
            reference_to("target_gradient", target="held_out", by="row"),
            r"'row'(.|\n)*choose 'all' or 'class'",
        ),
        (reference_to("target_gradient", target="held_out", of=1), r"no option 'of'(.|\n)*target, by"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, reference: Reference, words: str) -> None:
    with pytest.raises(ScoreError, match=words):
        prepare_references(made_up(tmp_path, checkpoints=1), [reference])


def test_classes_must_be_those_of_the_checkpoints(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    source = Corpus.load(request.targets["held_out"]).source
    other = describe_source(source, str(tmp_path / "other"), labels=("round", "quick", "calm"))
    with pytest.raises(ProvenanceError, match=r"the target 'held_out' has the classes round, quick, calm"):
        prepare_references(replace(request, targets={"held_out": other.uri}), [TARGET])
    changed(request, labels=("a", "b", "c"))
    with pytest.raises(ProvenanceError, match="the scored corpus has the classes"):
        prepare_references(request, [TARGET])


def test_a_target_without_rows_is_told(tmp_path: Path) -> None:
    request = made_up(tmp_path, checkpoints=1)
    manifest = Path(request.targets["held_out"]) / "corpus.json"
    data = json.loads(manifest.read_text())
    empty = {"counts": {**data["counts"], "usable": 0}, "shards": [], "class_counts": [0] * len(data["class_counts"])}
    manifest.write_text(json.dumps({**data, **empty}))
    with pytest.raises(ScoreError, match=r"'held_out' has no row"):
        prepare_references(request, [TARGET])
