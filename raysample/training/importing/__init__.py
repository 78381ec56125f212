"""Checkpoints of other tools as a CheckpointSet: found, checked, hashed; nothing is written into their folders.

Sources: a Hugging Face Trainer's run, `save_pretrained` folders, folders of them, models downloaded from MLflow. No
code of theirs is run: the only pickles that are opened are weights, by torch's `weights_only` reader.
"""

from raysample.training.importing.adopt import adopt_found, adopt_paths
from raysample.training.importing.find import Found, is_address, is_model
from raysample.training.importing.schedule import Schedule

__all__ = ["Found", "Schedule", "adopt_found", "adopt_paths", "is_address", "is_model"]
