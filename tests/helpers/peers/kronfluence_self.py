"""kronfluence: self scores with the identity for a Hessian, which are squared norms over the linear layers."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.peers.base import Norms, Peer, summed_loss
from tests.helpers.peers.workload import Batch, Work


def _collated(rows: Sequence[Batch]) -> Batch:
    longest = max(inputs["input_ids"].shape[1] for inputs, _ in rows)
    inputs = {
        name: torch.cat([functional.pad(given[name], (0, longest - given[name].shape[1])) for given, _ in rows])
        for name in rows[0][0]
    }
    return inputs, torch.cat([label for _, label in rows])


def _task() -> Any:
    from kronfluence.task import Task

    class Summed(Task):
        """The summed cross-entropy as training loss and as measurement."""

        def compute_train_loss(self, batch: Batch, model: nn.Module, sample: bool = False) -> Tensor:
            del sample
            return summed_loss(model, *batch)

        def compute_measurement(self, batch: Batch, model: nn.Module) -> Tensor:
            return summed_loss(model, *batch)

    return Summed()


def _norms(analyzer: Any, work: Work, size: int) -> Tensor:
    analyzer.compute_self_scores(
        scores_name="self",
        factors_name="identity",
        train_dataset=work.singles,
        per_device_train_batch_size=size,
        overwrite_output_dir=True,
    )
    found: Tensor = analyzer.load_self_scores("self")["all_modules"].sqrt()
    return found


def build(work: Work) -> Norms:
    """Return the scores of a wrapped copy, in mini-batches of as many rows as the first of scoring has."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.utils.dataset import DataLoaderKwargs

    task = _task()
    size = len(work.batches[0][1])
    model = prepare_model(copy.deepcopy(work.model), task)
    folder = tempfile.mkdtemp(prefix="kronfluence-")
    analyzer = Analyzer("benchmark", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=_collated))
    arguments = FactorArguments(strategy="identity")
    analyzer.fit_all_factors("identity", work.singles, size, factor_args=arguments, overwrite_output_dir=True)
    return partial(_norms, analyzer, work, size)


PEER = Peer("kronfluence, identity", ("kronfluence", "accelerate", "einops"), "kronfluence", "linear", build)
