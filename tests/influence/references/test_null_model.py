"""The null model against a training loop written by hand, and what PVI becomes with it and with the class shares."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from raysample import models, training
from raysample.core.config import FineTuneConfig
from raysample.core.errors import ProvenanceError, ScoreError
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.references import Request, load_reference, prepare_references
from raysample.influence.scores.predictions.pvi import pvi
from raysample.influence.scores.reference import Reference
from tests.helpers.reference_runs import RECIPE, SPEC, batch_of, changed, made_up, trained

pytestmark = pytest.mark.slow

NULL, PRIORS = Reference.from_options("null_model"), Reference.from_options("priors")
ADVICE = "null: prior"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Request:
    request = trained(tmp_path_factory.mktemp("null"))
    prepare_references(request, [NULL, PRIORS])
    return request


def log_p(request: Request, reference: Reference) -> dict[int, Tensor]:
    trace = CheckpointSet.load(request.checkpoints)
    return {
        c.step: load_reference(request, [reference], c, "cpu").tensors[reference.key]["log_p"]
        for c in trace.checkpoints
    }


def by_hand(request: Request) -> dict[int, Tensor]:
    """Train on `[CLS] [SEP]` alone, no dropout, and return ln p at the steps of the run's checkpoints."""
    corpus, trace = Corpus.load(request.corpus), CheckpointSet.load(request.checkpoints)
    labels = torch.tensor(corpus.table()["label"].to_pylist())
    network = models.build_model(trace.config["base"], SPEC, trace.labels, RECIPE.seed)
    words = models.tokenizer(trace.config["base"])
    row = torch.tensor([[words.cls_token_id, words.sep_token_id]])
    heads = [w for name, w in network.named_parameters() if name.startswith("classifier")]
    rest = [w for name, w in network.named_parameters() if not name.startswith("classifier")]
    groups = [
        {"params": [w for w in side if (w.ndim > 1) == matrix], "times": times, "weight_decay": 0.01 if matrix else 0.0}
        for side, times in ((heads, 2.5), (rest, 1.0))
        for matrix in (True, False)
    ]
    optimiser, found = torch.optim.AdamW(groups), dict[int, Tensor]()
    steps = trace.checkpoints[-1].step
    for step, rows in enumerate(training.batches(len(labels), RECIPE.batch_size, RECIPE.seed, steps)):
        for group in optimiser.param_groups:
            group["lr"] = group["times"] * training.learning_rate(step, steps, RECIPE)
        logits = network(input_ids=row.expand(len(rows), 2), attention_mask=torch.ones(len(rows), 2)).logits
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits, labels[rows]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step + 1 in {c.step for c in trace.checkpoints}:
            found[step + 1] = network(input_ids=row).logits[0].detach().log_softmax(0)
    return found


def test_it_is_the_recipe_with_nothing_to_read(run: Request) -> None:
    expected, found = by_hand(run), log_p(run, NULL)
    assert list(found) == list(expected)
    for step, values in found.items():
        torch.testing.assert_close(values, expected[step], rtol=1e-4, atol=1e-5)


def test_priors_are_the_class_shares(run: Request) -> None:
    counts = np.array(Corpus.load(run.corpus).class_counts)
    for values in log_p(run, PRIORS).values():
        np.testing.assert_allclose(values.exp().numpy(), counts / counts.sum(), rtol=1e-6)


def test_a_null_model_of_many_steps_comes_to_the_class_shares(tmp_path: Path) -> None:
    recipe = FineTuneConfig(epochs=25, batch_size=60, learning_rate=3e-3, checkpoints=1, weight_decay=0.0)
    request = trained(tmp_path, recipe)
    prepare_references(request, [NULL, PRIORS])
    (null,), (prior,) = log_p(request, NULL).values(), log_p(request, PRIORS).values()
    torch.testing.assert_close(null.exp(), prior.exp(), rtol=0, atol=0.01)


@pytest.mark.parametrize("reference", [NULL, PRIORS], ids=["trained", "prior"])
def test_the_mean_pvi_is_the_null_entropy_less_the_cross_entropy(run: Request, reference: Reference) -> None:
    trace, corpus = CheckpointSet.load(run.checkpoints), Corpus.load(run.corpus)
    shares = torch.tensor(corpus.class_counts) / corpus.rows
    inputs, labels = batch_of(run, run.corpus)
    for checkpoint in trace.checkpoints:
        null = load_reference(run, [reference], checkpoint, "cpu").tensors[reference.key]["log_p"]
        with torch.no_grad():
            logits = models.load_model(checkpoint.uri)(**inputs).logits
        known = -(shares * null).sum() / math.log(2)
        left = nn.functional.cross_entropy(logits, labels) / math.log(2)
        torch.testing.assert_close(pvi(logits, labels, null).mean(), known - left)


def test_dropout_and_fixed_step_counts_are_those_of_the_run(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"dropout": 0.1})
    request = trained(tmp_path, RECIPE, steps=9)
    changed(request, config={**CheckpointSet.load(request.checkpoints).config, "model": spec.to_dict()})
    prepare_references(request, [NULL])
    first = log_p(request, NULL)
    assert list(first)[-1] == 9
    again = replace(request, folder=str(tmp_path / "again"))
    prepare_references(again, [NULL])
    assert all(torch.equal(first[step], values) for step, values in log_p(again, NULL).items())


def test_a_run_without_a_recipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=rf"does not know its base, model, fine_tune(.|\n)*{ADVICE}"):
        prepare_references(made_up(tmp_path), [NULL])


def test_another_corpus_than_the_training_one_is_told(run: Request, tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match=rf"another corpus(.|\n)*{ADVICE}"):
        prepare_references(replace(run, corpus=run.targets["test"]), [NULL])


def copied(run: Request, folder: Path) -> Request:
    shutil.copytree(run.checkpoints, folder / "run")
    return replace(run, checkpoints=str(folder / "run"))


def test_a_run_on_a_selection_is_told(run: Request, tmp_path: Path) -> None:
    request = copied(run, tmp_path)
    trace = CheckpointSet.load(request.checkpoints)
    # A selection of half of the rows: half as many steps an epoch, so each checkpoint's epoch is twice as far.
    changed(request, checkpoints=tuple(replace(c, epoch=2 * c.epoch) for c in trace.checkpoints))
    with pytest.raises(ProvenanceError, match=rf"trained on a selection(.|\n)*{ADVICE}"):
        prepare_references(request, [NULL])


def test_a_recipe_that_cannot_be_read_is_told(run: Request, tmp_path: Path) -> None:
    request = copied(run, tmp_path)
    config = CheckpointSet.load(request.checkpoints).config
    changed(request, config={**config, "fine_tune": {"epochs": -1}})
    with pytest.raises(ScoreError, match=rf"recipe(.|\n)*cannot be read(.|\n)*{ADVICE}"):
        prepare_references(request, [NULL])


def test_a_tokenizer_that_makes_nothing_of_the_null_input_is_told(run: Request, tmp_path: Path) -> None:
    request = copied(run, tmp_path)
    for checkpoint in CheckpointSet.load(request.checkpoints).checkpoints:
        place = Path(checkpoint.uri)
        words = models.tokenizer(str(place))
        words.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")
        words.save_pretrained(place)
        checkpoint_set.seal_checkpoint(place)
    with pytest.raises(ScoreError, match=rf"no token of the null input(.|\n)*{ADVICE}"):
        prepare_references(request, [NULL])
