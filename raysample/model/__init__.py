"""Models: configuration -> base folder -> `nn.Module` with a fresh head; tokenisation and padding.

Only this package and `testing.py` import transformers. A base is a folder (or hub name) from which every seed's model
is built alike; a checkpoint is a folder that `save` wrote, or that a Hugging Face Trainer did.
"""

from raysample.model.building import build, load, prepare, save, tokenizer
from raysample.model.compatibility import check_vocabulary
from raysample.model.encoding import Encoded, encode
from raysample.model.lengths import Truncation, truncation
from raysample.model.padding import pad
from raysample.model.record import initialisation
from raysample.model.sizes import Size, size

__all__ = [
    "Encoded",
    "Size",
    "Truncation",
    "build",
    "check_vocabulary",
    "encode",
    "initialisation",
    "load",
    "pad",
    "prepare",
    "save",
    "size",
    "tokenizer",
    "truncation",
]
