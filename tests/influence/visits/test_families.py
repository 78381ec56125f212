"""Every family: gradient norms and dot products of one backward against the loop, whatever the layout, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from raysample.core.errors import UnsupportedModelError
from raysample.core.numerics.forward_hooks import embedding_module
from raysample.influence.visits import per_example_positions
from raysample.influence.visits.artifacts import Artifacts, Need
from raysample.influence.visits.visit import collect
from raysample.testing import FAMILIES, Family, tiny_model
from tests.helpers import oracles
from tests.helpers.encoders import batch_for, directions_for, encoder, worn

BOTH = Need.GRAD_NORMS | Need.GRAD_DOTS
ALL = BOTH | Need.FEATURES | Need.EMBEDDING_GRADS
LOGIT = frozenset({"logit"})
METHODS = {"compute_position_bias", "get_rel_embedding", "disentangled_attention_bias"}  # replaced in a visit
# Llama's normalisation and rotation compute in float32 whatever they are given: their rounding follows the layout.
ROUGH: dict[str, float] = {"llama": 1e-4, "qwen2": 1e-4, "qwen3": 1e-4, "modernbert": 1e-4}


def check(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, count: int = 3, by: Any = "rules") -> Artifacts:
    directions = directions_for(model, count)
    seen = collect(model, inputs, labels, BOTH, directions={"target": directions}, by=by)
    torch.testing.assert_close(seen.grad_norms, oracles.grad_norms(model, inputs, labels), rtol=1e-9, atol=0)
    slow = oracles.grad_dots(model, inputs, labels, directions)
    torch.testing.assert_close(seen.grad_dots["target"], slow, rtol=1e-9, atol=1e-9)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("rows", "length", "count"), [(3, 9, 3), (2, 30, 1), (5, 5, 2), (1, 7, 1), (3, 1, 1)])
def test_norms_and_dots_equal_the_loop(family: Family, rows: int, length: int, count: int) -> None:
    check(encoder(family), *batch_for(family, rows, length), count)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_trainable_parameters_count(family: Family) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family, 3)
    whole = check(model, inputs, labels)
    embedding_module(model).requires_grad_(False)
    for name, weight in model.named_parameters():
        if "0" in name or name.endswith("bias"):
            weight.requires_grad_(False)
    part = check(model, inputs, labels)
    assert (part.grad_norms < whole.grad_norms).all()
    assert (part.grad_dots["target"] != whole.grad_dots["target"]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loop_is_the_loop(family: Family) -> None:
    check(encoder(family), *batch_for(family, 3), by="loop")


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_padding_nor_neighbours_change_a_row(family: Family) -> None:
    model, (inputs, labels) = encoder(family), batch_for(family, 4)
    directions = {"target": directions_for(model, 2)}
    wide = {name: nn.functional.pad(value, (0, 5)) for name, value in inputs.items()}
    whole = collect(model, wide, labels, ALL, LOGIT, directions=directions)
    close = {"rtol": ROUGH.get(family, 1e-9), "atol": ROUGH.get(family, 1e-9)}
    for row in range(len(labels)):
        one = oracles.one_by_one(inputs, row)
        seen = collect(model, one, labels[row : row + 1], ALL, LOGIT, directions=directions)
        for name in ("logits", "features", "grad_norms"):
            torch.testing.assert_close(getattr(whole, name)[row], getattr(seen, name)[0], **close)
        torch.testing.assert_close(whole.grad_dots["target"][row], seen.grad_dots["target"][0], **close)
        length = one["input_ids"].shape[1]
        torch.testing.assert_close(
            whole.embedding_grads["logit"][row, :length], seen.embedding_grads["logit"][0], **close
        )
        assert not whole.embedding_grads["logit"][row, length:].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_visit_changes_neither_the_logits_nor_the_model(family: Family) -> None:
    model, (inputs, labels) = tiny_model(family), batch_for(family)
    before = model(**inputs).logits
    seen = collect(model, inputs, labels, BOTH, directions={"target": directions_for(model, 1)})
    torch.testing.assert_close(seen.logits, before, rtol=1e-5, atol=1e-6)
    assert torch.equal(before, model(**inputs).logits)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any(METHODS & set(vars(module)) for module in model.modules())


SIZES = {"vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def made(kind: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZES, num_labels=3, pad_token_id=0, initializer_range=0.3, **options)
    return worn(AutoModelForSequenceClassification.from_config(config).eval().double())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pos_att_type": ["c2p"]},
        {"pos_att_type": ["p2c"], "share_att_key": True},
        {"pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm", "type_vocab_size": 2},
        {"pos_att_type": ["c2p", "p2c"], "max_relative_positions": 4, "position_biased_input": False},
        {"relative_attention": False},
        {"embedding_size": 4},
    ],
    ids=str,
)
def test_every_way_of_deberta(options: dict[str, Any]) -> None:
    check(made("deberta-v2", **{"relative_attention": True, **options}), *batch_for("bert"))


def test_albert_with_groups_of_layers() -> None:
    options = {"embedding_size": 4, "num_hidden_groups": 2, "inner_group_num": 2}
    check(made("albert", **options), *batch_for("albert"))


@pytest.mark.parametrize("kind", ["mistral", "phi3"])
def test_decoders_like_llama(kind: str) -> None:
    check(made(kind, num_key_value_heads=1), *batch_for("llama"))


def test_a_convolution_is_refused_by_name_and_left_to_the_loop() -> None:
    model, (inputs, labels) = made("deberta-v2", relative_attention=True, conv_kernel_size=3), batch_for("roberta", 3)
    with pytest.raises(
        UnsupportedModelError, match=r"'deberta\.encoder\.conv\.conv' \(Conv1d with weight, bias\)"
    ) as no:
        collect(model, inputs, labels, Need.GRAD_NORMS)
    assert "method: loop" in no.value.advice
    check(model, inputs, labels, by="loop")


@pytest.mark.parametrize(("family", "name"), [("mpnet", "MPNetEncoder"), ("deberta-v2", "DisentangledSelfAttention")])
def test_other_code_than_the_known_one_is_refused(family: Family, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if transformers had changed its formula: what replaces a method gives other logits than the method."""
    place = next(key for key in per_example_positions.REPLACEMENTS if key.endswith(name))
    known = per_example_positions.REPLACEMENTS[place]

    def changed(module: Any, examples: int) -> Any:
        return {key: lambda *a, m=method, **k: 3 * m(*a, **k) for key, method in known(module, examples).items()}

    monkeypatch.setitem(per_example_positions.REPLACEMENTS, place, changed)
    with pytest.raises(UnsupportedModelError, match=r"encoder.* computes its positions in another way"):
        collect(encoder(family), *batch_for(family), Need.GRAD_NORMS)


def test_a_decoder_takes_its_features_from_the_last_token() -> None:
    for family in ("gpt2", "llama"):
        model, (inputs, labels) = encoder(family), batch_for(family)
        hidden = model.base_model(**inputs).last_hidden_state
        last = inputs["attention_mask"].sum(1) - 1
        seen = collect(model, inputs, labels, Need.FEATURES)
        torch.testing.assert_close(seen.features, hidden[torch.arange(len(labels)), last])


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks by the old name
@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_adapters_count_alone(family: Family) -> None:
    peft = pytest.importorskip("peft")
    targets = ["q_proj", "v_proj"] if family == "llama" else ["query", "value"]
    head = ["score"] if family == "llama" else ["classifier"]
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=targets, modules_to_save=head)
    model, (inputs, labels) = peft.get_peft_model(tiny_model(family), config).double().eval(), batch_for(family)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    trainable = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trainable
    assert all("lora_" in name or "modules_to_save" in name for name in trainable)
    check(model, inputs, labels)
    seen = collect(model, inputs, labels, ALL, LOGIT, directions={"target": directions_for(model, 1)})
    assert seen.features is not None
    model.requires_grad_(True)  # for the oracle: a gradient at the embeddings does not depend on what is frozen
    slow = oracles.embedding_grads(model, embedding_module(model), inputs, labels, "logit")
    torch.testing.assert_close(seen.embedding_grads["logit"][0], slow[0])
