"""Models whose rows mix are refused by name; with `method: loop` each row is scored as if it were the only one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

import raysample
from raysample import models, testing
from raysample.core.config import Columns, ModelConfig, SourceConfig
from raysample.core.errors import ForwardError, UnsupportedModelError
from raysample.data import checkpoint_set
from raysample.data.checkpoint_set import Checkpoint, CheckpointSet
from raysample.data.corpus import Corpus
from raysample.influence.shards import probe_rows, proofs
from raysample.influence.shards.columns import ColumnScorer as Loaded
from raysample.testing import LABELS, tiny_tokenizer

LENGTH = 32
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SHARED = {"vocab_size": 100, "max_position_embeddings": 64, "pad_token_id": 0, **SIZES}
STRIDES = {"local_transformer_stride": 4, "downsampling_rate": 2, "upsampling_kernel_size": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "xlnet": {"vocab_size": 100, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "pad_token_id": 0},
    "fnet": {name: value for name, value in SHARED.items() if name != "num_attention_heads"},
    "canine": SHARED | STRIDES | {"num_hash_functions": 4, "num_hash_buckets": 64},
    "nystromformer": SHARED | {"num_landmarks": 4, "segment_means_seq_len": 4},
    "yoso": SHARED,
    "big_bird": SHARED | {"block_size": 2, "num_random_blocks": 1, "attention_type": "block_sparse"},
    "funnel": {"vocab_size": 100, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1]},
    "longformer": SHARED | {"attention_window": [4, 4]},
    "ctrl": {
        "vocab_size": 100,
        "n_positions": 64,
        "n_embd": 16,
        "dff": 32,
        "n_layer": 2,
        "n_head": 2,
        "pad_token_id": 0,
    },
    "bert": SHARED,
}


def network(family: str, seed: int) -> Any:
    """Return a small model whose weights tell rows apart."""
    config = AutoConfig.for_model(family, **FAMILIES[family], num_labels=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = AutoModelForSequenceClassification.from_config(config).eval()
        for weight in found.parameters():
            weight.data.add_(0.1 * torch.randn_like(weight))
    return found


def run(folder: Path, family: str, side: str = "right", count: int = 2) -> CheckpointSet:
    words, kept = tiny_tokenizer("roberta"), []
    words.init_kwargs["padding_side"] = words.padding_side = side  # transformers saves what came with its making
    for place in range(count):
        step = folder / f"step-{place + 1:08d}"
        models.save_model(network(family, place), words, step)
        kept.append(Checkpoint(str(step), place + 1, place + 1.0, 0.1, checkpoint_set.seal_checkpoint(step)))
    return CheckpointSet(tuple(kept), LABELS, 0).save(str(folder))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Describe rows of 4 to 30 words."""
    texts, labels = testing.tiny_texts(12, 0)
    long = [" ".join([text] * (1 + place % 3)) for place, text in enumerate(texts)]
    rows = {"id": [str(place) for place in range(12)], "text": long, "label": [LABELS[label] for label in labels]}
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table(rows), path)
    return raysample.describe(SourceConfig(path=str(path), columns=Columns(id="id")), labels=LABELS)


def theory(trace: CheckpointSet, corpus: Corpus) -> dict[str, Any]:
    """Return el2n and grand of the last checkpoint by transformers and autograd alone, row by row."""
    last = trace.checkpoints[-1].uri
    alone, words = AutoModelForSequenceClassification.from_pretrained(last).eval(), models.tokenizer(last)
    rows = models.encode(words, corpus.read(0), ModelConfig(max_length=LENGTH))
    el2n, grand = [], []
    for ids, label in zip(rows.ids, corpus.read(0)["label"].to_pylist(), strict=True):
        tokens = torch.tensor(ids).long()[None]
        logits = alone(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
        gold = torch.tensor([label])
        el2n.append(float((logits[0].softmax(0) - torch.nn.functional.one_hot(gold[0], 3)).norm().detach()))
        loss = torch.nn.functional.cross_entropy(logits, gold)
        parts = torch.autograd.grad(loss, list(alone.parameters()), allow_unused=True)
        grand.append(float(torch.stack([part.square().sum() for part in parts if part is not None]).sum().sqrt()))
    return {"el2n": np.array(el2n), "grand": np.array(grand)}


def scored(trace: CheckpointSet, corpus: Corpus, scores: list[Any], **options: Any) -> Any:
    return raysample.score(trace, corpus, scores, max_length=LENGTH, verify_rows=0, **options).to_pandas()


EL2N, GRAND = {"name": "el2n", "checkpoints": "last"}, {"name": "grand", "checkpoints": "last"}


@pytest.mark.parametrize(
    ("family", "when"),
    [
        ("xlnet", "in a mini-batch with padding"),  # padded on the right, where it reads
        ("fnet", "in a mini-batch with padding"),
        ("canine", "in a mini-batch with padding"),
        ("nystromformer", "in a mini-batch with padding"),
        ("yoso", "in a mini-batch with padding"),
    ],
)
def test_models_whose_padding_counts_are_refused_and_scored_right_by_the_loop(
    family: str, when: str, corpus: Corpus, tmp_path: Path
) -> None:
    trace = run(tmp_path, family)
    with pytest.raises(UnsupportedModelError, match=r"score\.method: loop") as caught:
        scored(trace, corpus, [EL2N])
    assert when in caught.value.problem
    assert "step 2" in caught.value.problem
    assert "logits" in caught.value.problem
    right = theory(trace, corpus)
    found = scored(trace, corpus, [EL2N, GRAND], method="loop")
    for name, values in right.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4)


def test_a_state_that_switches_is_refused_by_rules_and_by_the_loop(corpus: Corpus, tmp_path: Path) -> None:
    trace = run(tmp_path, "big_bird")
    for method, advice in (("rules", r"score\.method: loop"), ("loop", "attention_type: original_full")):
        with pytest.raises(UnsupportedModelError, match=advice):
            scored(trace, corpus, [EL2N], method=method)
    for checkpoint in trace.checkpoints:
        path = Path(checkpoint.uri, "config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "attention_type": "original_full"}))
        Path(checkpoint.uri, "COMPLETE.json").unlink()
    whole = raysample.adopt([checkpoint.uri for checkpoint in trace.checkpoints], labels=LABELS)
    np.testing.assert_allclose(scored(whole, corpus, [EL2N])["el2n"], theory(whole, corpus)["el2n"], rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "side", "scores"),
    [
        ("xlnet", "left", [EL2N]),
        ("ctrl", "right", [EL2N, GRAND]),
        ("longformer", "right", [EL2N, "vog"]),
        ("funnel", "right", [EL2N]),
        ("bert", "right", [EL2N, GRAND, "vog"]),
    ],
)
def test_models_that_see_every_row_for_itself_are_scored_right(
    family: str, side: str, scores: list[Any], corpus: Corpus, tmp_path: Path
) -> None:
    trace = run(tmp_path, family, side)
    found, right = scored(trace, corpus, scores), theory(trace, corpus)
    for name in ("el2n", "grand"):
        if name in found:
            np.testing.assert_allclose(found[name], right[name], rtol=1e-4)
    if "vog" in found:
        looped = scored(trace, corpus, ["vog"], method="loop")
        np.testing.assert_allclose(found["vog"], looped["vog"], rtol=1e-3)


def test_a_proof_is_made_once_for_what_the_numbers_depend_on(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, calls, real = run(tmp_path / "run", "bert"), [], proofs.compare_visits

    def counting(*given: Any) -> Any:
        calls.append(given)
        return real(*given)

    monkeypatch.setattr(proofs, "compare_visits", counting)
    folder = tmp_path / "scores"
    for _ in range(2):
        scored(trace, corpus, ["vog"], output=str(folder))
        assert len(calls) == 2  # the first and the last checkpoint
    for part in folder.glob("parts-*/part-*"):
        part.unlink()
    scored(trace, corpus, ["vog"], output=str(folder))
    assert len(calls) == 2
    kept = json.loads(next(folder.glob("parts-*/proof.json")).read_text())
    assert [visit["step"] for visit in kept["visits"]] == [1, 2]
    assert all(0 <= visit["relative"] < 1e-3 for visit in kept["visits"])
    scored(trace, corpus, [EL2N], output=str(folder))
    assert len(calls) == 3


def job(trace: CheckpointSet, corpus: Corpus, folder: Path) -> Any:
    from raysample.core.config import ScoreConfig
    from raysample.influence.shards import ScoreJob

    config = ScoreConfig(scores=[EL2N])
    return ScoreJob(corpus.uri, (trace.uri,), config, ModelConfig(max_length=LENGTH), str(folder), str(folder / "r"))


def test_probes_differ_in_length_and_keep_their_ends(corpus: Corpus, tmp_path: Path) -> None:
    columns = Loaded(job(run(tmp_path / "run", "bert"), corpus, tmp_path))
    found = probe_rows.probes(corpus, columns)
    assert found is not None
    assert len(found.ids) == probe_rows.PROBE_ROWS
    assert sorted(found.lengths.tolist(), reverse=True) == found.lengths.tolist()
    assert len(set(found.lengths.tolist())) == probe_rows.PROBE_ROWS
    assert all(row[0] == 2 and row[-1] == 3 for row in found.ids)
    alike = columns.encode(pa.concat_tables([corpus.read(0).slice(0, 1)] * 5))
    stretched = probe_rows._of_lengths(alike.take([0]), LENGTH)
    assert len(set(stretched.lengths.tolist())) == probe_rows.PROBE_ROWS
    assert stretched.lengths.max() <= LENGTH


def test_rows_over_which_workers_died_are_not_proved_with_again(corpus: Corpus, tmp_path: Path) -> None:
    trace = run(tmp_path / "run", "bert")
    work = job(trace, corpus, tmp_path / "parts")
    marker = Path(work.folder, proofs.TRIES_FILE)
    marker.parent.mkdir(parents=True)
    marker.write_text(json.dumps({"tries": proofs.MAX_PROOF_DEATHS}))
    said: list[str] = []
    proofs.prove(work, said.append)
    assert proofs.due(work)
    assert "workers died" in said[0]
    marker.write_text(json.dumps({"tries": 1}))
    proofs.prove(work, said.append)
    assert not proofs.due(work)
    assert not marker.exists()


def test_what_a_model_raises_for_every_row_names_it_and_the_way_out(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    trace = run(tmp_path, "bert")

    def broken(*_: Any, **__: Any) -> None:
        raise IndexError("a very own fault")

    monkeypatch.setattr(BertForSequenceClassification, "forward", broken)
    with pytest.raises(UnsupportedModelError, match="check that the model takes these inputs") as caught:
        scored(trace, corpus, [EL2N])
    assert "BertForSequenceClassification raised IndexError" in caught.value.problem


def test_what_a_model_raises_for_a_mini_batch_has_the_loop_as_way_out(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    trace, real = run(tmp_path, "bert"), BertForSequenceClassification.forward

    def alone(self: Any, input_ids: Any = None, **rest: Any) -> Any:
        if len(input_ids) > 1:
            raise ValueError("one row, please")
        return real(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(BertForSequenceClassification, "forward", alone)
    with pytest.raises(ForwardError, match=r"score\.method: loop"):
        scored(trace, corpus, [EL2N])
    np.testing.assert_allclose(
        scored(trace, corpus, [EL2N], method="loop")["el2n"], theory(trace, corpus)["el2n"], rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["probability", "loss", "logit"])
def test_longformer_s_inner_padding_has_no_part_in_gradients_at_the_embeddings(kind: str) -> None:
    from raysample.influence.visits.artifacts import Need
    from raysample.influence.visits.visit import collect

    found = network("longformer", 0)
    tokens = torch.tensor([[2, 7, 8, 9, 3], [2, 9, 3, 0, 0]])
    inputs = {"input_ids": tokens, "attention_mask": (tokens != 0).long()}
    seen = collect(found, inputs, torch.tensor([1, 2]), Need.EMBEDDING_GRADS, frozenset({kind}))
    assert seen.embedding_grads[kind].shape == (2, 5, 16)
    one = {name: value[:1] for name, value in inputs.items()}
    single = collect(found, one, torch.tensor([1]), Need.EMBEDDING_GRADS, frozenset({kind}))
    torch.testing.assert_close(seen.embedding_grads[kind][:1], single.embedding_grads[kind], rtol=1e-4, atol=1e-6)
