"""What is scored: a simulated log with broken rows, described, and the checkpoints of a very small model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

import raysample
from raysample.core.config import Columns, EngineConfig, ModelConfig, SimulatedConfig, SourceConfig
from raysample.core.storage import read_parquet, write_parquet
from raysample.data.checkpoint_set import CheckpointSet
from raysample.data.corpus import Corpus, describe_source
from raysample.data.score_table import ScoreTable
from raysample.data.simulated import write_broken_log, write_traffic
from tests.helpers.noisy_checkpoints import write_noisy_checkpoints

SCORES = ("el2n", "grand_last")
SIGN = "☠"
"""A word of the log whose embedding the checkpoints hold as infinite."""
MODEL = ModelConfig(layers=1, hidden_size=8, max_length=8, vocabulary_size=400)
COLUMNS = Columns(label="intent", id="id")
DAYS = 8


@dataclass(frozen=True)
class Study:
    """Folders of one study; everything in it is made from its sizes and its seed."""

    folder: Path

    @property
    def log(self) -> Path:
        """The JSON lines."""
        return self.folder / "log"

    @property
    def truth(self) -> pa.Table:
        """What is broken in them."""
        return read_parquet(str(self.folder / "truth.parquet"))

    @property
    def corpus(self) -> Corpus:
        """The described log."""
        return Corpus.load(str(self.folder / "corpus"))

    def score(self, output: Path, address: str | None = None) -> ScoreTable:
        """Score the log: in this process, or on the cluster at an address."""
        trace = CheckpointSet.load(str(self.folder / "checkpoints"))
        engine = None if address is None else EngineConfig(kind="ray", address=address)
        return raysample.score(trace, self.corpus, SCORES, str(output), engine=engine)


def prepare(folder: Path, rows: int, shards: int, seed: int) -> Study:
    """Write a log of `rows` rows over DAYS days in as many files as shards, 1 % of them broken, and all that it needs.

    `shards` is a multiple of DAYS, `rows` one of `shards`.
    """
    study, each = Study(folder), rows // shards
    write_traffic(SimulatedConfig(rows=rows, days=DAYS, seed=seed), str(folder / "traffic"), rows_per_file=each)
    truth = write_broken_log(str(folder / "traffic" / "train"), str(study.log), seed=seed, unscorable=SIGN)
    write_parquet(str(folder / "truth.parquet"), truth)
    source = SourceConfig(path=str(study.log), format="jsonl", columns=COLUMNS)
    corpus = describe_source(source, str(folder / "corpus"), shard_rows=each)
    if len(corpus.shards) != shards:
        raise ValueError(f"{len(corpus.shards)} shards instead of {shards}")
    _checkpoints(corpus, folder, seed)
    return study


def _checkpoints(corpus: Corpus, folder: Path, seed: int) -> None:
    """Write two sealed checkpoints of a random model that cannot score SIGN."""
    odd = Study(folder).truth.filter(pc.field("stage") == "score")["file"][0].as_py()  # a file where SIGN occurs
    path = str(Path(corpus.source.path, odd))
    some = describe_source(corpus.source.model_copy(update={"path": path}), str(folder / "some"), labels=corpus.labels)

    def without_sign(network: nn.Module, tokenizer: Any) -> None:
        (sign,) = tokenizer.encode(SIGN, add_special_tokens=False)
        if sign == tokenizer.unk_token_id:
            raise ValueError(f"the tokenizer does not know {SIGN}, so rows with other unknown words have no score")
        network.get_input_embeddings().weight[sign] = torch.inf

    write_noisy_checkpoints(folder / "checkpoints", MODEL, some, 2, seed, without_sign)
