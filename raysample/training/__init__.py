"""The fine-tuning step and loop, plain torch: the same code in this process, in a Ray task and in a Ray Train worker.

The order of the global batches is a seeded permutation per epoch that does not depend on the number of workers, and
every row is seen exactly once per epoch. Losses are weighted where a selection says so, summed and divided by the
global batch, so the gradient is the same whichever worker holds which row.
"""

from raysample.training.assessing import assess
from raysample.training.curve import Curve
from raysample.training.examples import Examples, batch
from raysample.training.layout import Place, Plan, plan
from raysample.training.loop import train
from raysample.training.optimiser import learning_rate
from raysample.training.order import batches

__all__ = ["Curve", "Examples", "Place", "Plan", "assess", "batch", "batches", "learning_rate", "plan", "train"]
