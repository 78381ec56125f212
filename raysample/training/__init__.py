"""The fine-tuning step and loop, plain torch: the same code in this process, in a Ray task and in a Ray Train worker.

The order of the global batches is a seeded permutation per epoch that does not depend on the number of workers, and
every row is seen exactly once per epoch. Losses are weighted where a selection says so, summed and divided by the
global batch, so the gradient is the same whichever worker holds which row.
"""

from raysample.training.batch_order import batches
from raysample.training.curve import TrainingCurve
from raysample.training.examples import Examples, batch
from raysample.training.loop import train
from raysample.training.optimizer import learning_rate
from raysample.training.prediction import assess, examine, predict
from raysample.training.schedule import DistributedContext, TrainingSchedule, schedule_training
from raysample.training.tokenized import TokenizedCorpus, load_tokenized

__all__ = [
    "DistributedContext",
    "Examples",
    "TokenizedCorpus",
    "TrainingCurve",
    "TrainingSchedule",
    "assess",
    "batch",
    "batches",
    "examine",
    "learning_rate",
    "load_tokenized",
    "predict",
    "schedule_training",
    "train",
]
