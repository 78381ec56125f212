"""The verbs as functions, for notebooks and programs: each takes and returns the nouns.

    trace = raysample.fine_tune("train.parquet", "test.parquet", output="runs/mine", model="bert-base-cased")
    table = raysample.score(checkpoints=trace, corpus="train.parquet", scores=["vog", "el2n"])
    half = raysample.sample(table, "hard", score="vog", normalise="class", fraction=0.5)
    table.to_pandas(); half.kept_ids()

They run in this process unless `engine=EngineConfig(kind="ray")` says otherwise; the scores are the same.
"""

from raysample.verbs.adopting import adopt
from raysample.verbs.given import engine_of
from raysample.verbs.logs import compact, expand
from raysample.verbs.nouns import describe, fine_tune, sample, score, verify

__all__ = ["adopt", "compact", "describe", "engine_of", "expand", "fine_tune", "sample", "score", "verify"]
