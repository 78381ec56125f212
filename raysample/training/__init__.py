"""The fine-tuning step and loop in plain torch: the same code in this process, in a Ray task and in a Ray Train worker.

The order of the global batches is a seeded permutation per epoch that does not depend on the number of workers, and
every row of an epoch is visited exactly once in it. Losses are weighted if a selection has weights, summed and divided
by the global batch size, so the gradient does not depend on which worker processes which row.
"""

from raysample.training.batch_order import batches
from raysample.training.curve import TrainingCurve
from raysample.training.epoch_rows import EpochRows
from raysample.training.examples import Examples, batch
from raysample.training.infobatch import LossPrunedRows
from raysample.training.loop import train
from raysample.training.optimizer import learning_rate
from raysample.training.prediction import assess, examine, predict
from raysample.training.schedule import DistributedContext, TrainingSchedule, schedule_training
from raysample.training.tokenized import TokenizedCorpus, load_tokenized

__all__ = [
    "DistributedContext",
    "EpochRows",
    "Examples",
    "LossPrunedRows",
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
