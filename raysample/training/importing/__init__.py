"""Checkpoints that others saved, as a CheckpointSet: found, checked, hashed; nothing is written into their folders.

A Hugging Face Trainer's run, `save_pretrained` folders, folders of them, or models that MLflow has brought here.
Nothing of theirs is run: no pickle is opened but weights, and these by torch's `weights_only` reader.
"""

from raysample.training.importing.adopt import adopt_found, adopt_paths
from raysample.training.importing.find import Found, is_address, is_model
from raysample.training.importing.schedule import Schedule

__all__ = ["Found", "Schedule", "adopt_found", "adopt_paths", "is_address", "is_model"]
