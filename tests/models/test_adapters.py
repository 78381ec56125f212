"""Folders of adapters (peft) are checkpoints, too: adapters and classifier count, the base does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

import raysample
from raysample import models, testing
from raysample.core.errors import CheckpointError, ModelError
from raysample.models import adapters
from raysample.testing import LABELS
from tests.helpers.corpora import tiny_corpus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # get_peft_model
]


def saved(folder: Path, count: int = 2) -> list[str]:
    """Save adapters with drifting weights on a tiny base, as a training would."""
    peft = pytest.importorskip("peft")
    base = testing.tiny_checkpoints(folder / "base", 1).checkpoints[0].uri
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    torch.manual_seed(0)
    adapted = peft.get_peft_model(models.load_model(base), config)
    places = []
    for step in range(1, count + 1):
        with torch.no_grad():
            for name, weight in adapted.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    weight += 0.2 * torch.randn_like(weight)
        places.append(str(folder / f"checkpoint-{step}"))
        adapted.save_pretrained(places[-1])
    return places


def test_adapters_are_scored_by_their_own_gradients(tmp_path: Path) -> None:
    places = saved(tmp_path)
    trace = raysample.adopt(places, str(tmp_path / "run"), labels=LABELS)
    corpus = tiny_corpus(tmp_path, 12, files=1)
    table = raysample.score(trace, corpus, ["vog", "el2n", {"name": "grand", "checkpoints": "last"}], max_length=16)
    found = table.to_pandas()
    assert np.isfinite(found[["vog", "el2n", "grand"]].to_numpy()).all()
    loaded, words = models.load_model(places[-1]), models.tokenizer(places[-1])
    counted = [(name, weight) for name, weight in loaded.named_parameters() if weight.requires_grad]
    assert counted
    assert all("lora_" in name or "modules_to_save" in name for name, _ in counted)
    rows = corpus.read(0)
    for place, (text, label) in enumerate(zip(rows["text"].to_pylist(), rows["label"].to_pylist(), strict=True)):
        inputs = words(text, truncation=True, max_length=16, return_tensors="pt")
        loss = torch.nn.functional.cross_entropy(loaded(**inputs).logits, torch.tensor([label]))
        parts = torch.autograd.grad(loss, [weight for _, weight in counted], allow_unused=True)
        norm = torch.sqrt(sum((part**2).sum() for part in parts if part is not None))
        assert found["grand"][place] == pytest.approx(norm.item(), rel=1e-4)


def test_adapters_do_not_tell_the_classes(tmp_path: Path) -> None:
    places = saved(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"labels=\[...\]"):
        raysample.adopt(places)
    weights = Path(places[0], adapters.ADAPTER_WEIGHTS)
    weights.unlink()
    with pytest.raises(ModelError, match="holds no classifier"):
        models.load_model(places[0])


def test_without_peft_it_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    (tmp_path / adapters.CONFIG).write_text('{"base_model_name_or_path": "somewhere"}')
    assert adapters.is_adapter(str(tmp_path))
    with pytest.raises(ModelError, match="peft is not installed"):
        models.load_model(str(tmp_path))
    (tmp_path / adapters.CONFIG).write_text("{}")
    with pytest.raises(ModelError, match="names no base model"):
        adapters.base_of(str(tmp_path))
