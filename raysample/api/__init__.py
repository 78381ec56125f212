"""The commands as functions, for notebooks and programs: each takes and returns artifacts.

    checkpoint_set = raysample.fine_tune("train.parquet", "test.parquet", output="runs/mine", model="bert-base-cased")
    table = raysample.score(checkpoints=checkpoint_set, corpus="train.parquet", scores=["vog", "el2n"])
    half = raysample.sample(table, "hard", score="vog", normalise="class", fraction=0.5)
    table.to_pandas(); half.kept_ids()

They run in this process unless `engine=EngineConfig(kind="ray")` says otherwise; the scores are the same.
"""

from raysample.api.adoption import adopt
from raysample.api.functions import describe, fine_tune, sample, score, verify
from raysample.api.logs import compact, expand
from raysample.api.pruning import prune

__all__ = ["adopt", "compact", "describe", "expand", "fine_tune", "prune", "sample", "score", "verify"]
