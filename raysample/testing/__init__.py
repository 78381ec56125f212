"""For tests, shipped for Ray workers and for the authors of plug-ins: tiny models and rows, and contracts to check.

`check_score` and `check_policy` hold a class against what every score and every policy promises; a test of a plug-in
is one call.
"""

from raysample.testing.policy_contract import check_policy
from raysample.testing.score_contract import check_score
from raysample.testing.tiny import (
    FAMILIES,
    LABELS,
    TYPED,
    Family,
    tiny_batch,
    tiny_checkpoints,
    tiny_corpus_files,
    tiny_model,
    tiny_rows,
    tiny_texts,
    tiny_tokenizer,
)

__all__ = [
    "FAMILIES",
    "LABELS",
    "TYPED",
    "Family",
    "check_policy",
    "check_score",
    "tiny_batch",
    "tiny_checkpoints",
    "tiny_corpus_files",
    "tiny_model",
    "tiny_rows",
    "tiny_texts",
    "tiny_tokenizer",
]
