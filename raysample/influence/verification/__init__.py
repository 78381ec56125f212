"""`raysample verify`: score a seeded sample of a table's rows again by the slow twin, and report the differences.

The slow twin visits one row at a time, unpadded, in float64, with `torch.autograd.grad` over all trainable parameters:
another batch composition, another arithmetic, and none of the rules that make the fast path fast. Only the folds of the
scores are shared (they have slow twins of their own in the tests), and prepared references are reused.
"""

from raysample.influence.verification.bounds import Check, compare_column
from raysample.influence.verification.slow_twin import collect_slowly
from raysample.influence.verification.spot import Spot, spot_check
from raysample.influence.verification.verify import RESULT, Verification, verify_table

__all__ = ["RESULT", "Check", "Spot", "Verification", "collect_slowly", "compare_column", "spot_check", "verify_table"]
