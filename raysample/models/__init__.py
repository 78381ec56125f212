"""Models: configuration -> base folder -> `nn.Module` with a fresh head; tokenisation and padding.

Only this package and `raysample.testing` import transformers. A base is a folder (or hub name) from which the model of
every seed is built the same way; a checkpoint is a folder written by `save_model` or by a Hugging Face Trainer.
"""

from raysample.models.building import build_model, load_model, prepare_base, save_model, tokenizer
from raysample.models.compatibility import check_vocabulary
from raysample.models.encoding import Encoded, encode
from raysample.models.padding import pad
from raysample.models.record import initialisation
from raysample.models.sizes import ModelSize, model_size
from raysample.models.truncation_statistics import Truncation, truncation

__all__ = [
    "Encoded",
    "ModelSize",
    "Truncation",
    "build_model",
    "check_vocabulary",
    "encode",
    "initialisation",
    "load_model",
    "model_size",
    "pad",
    "prepare_base",
    "save_model",
    "tokenizer",
    "truncation",
]
