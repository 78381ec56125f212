"""Checkpoints with code of their own, which ends every process that has them look at a certain token."""

from __future__ import annotations

import json
from pathlib import Path

from raysample.data.checkpoint_set import CheckpointSet, seal_checkpoint

DEADLY = """
import os
from transformers import BertForSequenceClassification

class Deadly(BertForSequenceClassification):
    def forward(self, input_ids=None, **rest):
        if (input_ids == {token}).any():
            os._exit(9)
        return super().forward(input_ids=input_ids, **rest)
"""


def make_deadly(trace: CheckpointSet, token: int) -> None:
    """Let the checkpoints end every process that has them look at a token."""
    for checkpoint in trace.checkpoints:
        place = Path(checkpoint.uri)
        (place / "deadly.py").write_text(DEADLY.format(token=token))
        config = json.loads((place / "config.json").read_text())
        config["auto_map"] = {"AutoModelForSequenceClassification": "deadly.Deadly"}
        (place / "config.json").write_text(json.dumps(config))
        seal_checkpoint(place)
