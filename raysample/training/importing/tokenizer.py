"""The tokenizer of an imported run.

In its first checkpoint, or copied beside the manifest from elsewhere in the run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from raysample import models
from raysample.core import storage
from raysample.core.errors import CheckpointError, ModelError
from raysample.data import checkpoint_set
from raysample.models.compatibility import check_rows
from raysample.models.folders import has_tokenizer
from raysample.training.importing.checks import Opened

TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*.model",
    "chat_template*",
)


def tokenizer_of(found: Sequence[Opened], target: str) -> bool:
    """Find the tokenizer and load it as a test; return whether it was copied into folder `target`, sealed.

    Raises:
        CheckpointError: there is none, it cannot be loaded, or it has no padding token.
        ModelError: it returns ids without an embedding in a checkpoint.
    """
    first = found[0]
    if _names_one(first.folder):
        _try(first.folder, found)
        return False
    for place in _elsewhere(found):
        if _names_one(place):
            _try(place, found)
            _copy(Path(place), Path(first.folder), target)
            return True
    if first.config is None:  # adapters use the tokenizer of their base
        _try(first.folder, found)
        return False
    raise CheckpointError(
        f"neither {first.found.place!r} nor the folder of its run holds a tokenizer",
        "save it there (tokenizer.save_pretrained), or train with Trainer(processing_class=tokenizer)",
    )


def _elsewhere(found: Sequence[Opened]) -> Iterator[str]:
    """Yield other folders of the run that may hold the tokenizer."""
    for one in found[1:]:
        yield one.folder
    for place in dict.fromkeys(place for one in found for place in one.found.tokenizers):
        if storage.exists(place):
            yield place if storage.is_local(place) else storage.localise(place)


def _names_one(folder: str) -> bool:
    """Return whether a folder holds files of a tokenizer."""
    return Path(folder).is_dir() and has_tokenizer([path.name for path in Path(folder).iterdir()])


def _try(folder: str, found: Sequence[Opened]) -> None:
    """Load a tokenizer and check it against the checkpoints."""
    try:
        tokenizer = models.tokenizer(folder)
    except ModelError as error:
        if "trust_remote_code" in error.advice:
            return  # scoring decides whether its code may run
        raise CheckpointError(f"the tokenizer cannot be loaded: {error.problem}", error.advice) from error
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"the tokenizer in {folder!r} has no padding token", "set pad_token and save it")
    for one in found:
        rows = None if one.config is None else one.config.get("vocab_size")
        # A config.json omits defaults, and some families use another key: scoring checks the embedding table itself.
        if isinstance(rows, int) and one.config is not None and one.config.get("model_type") != "canine":
            check_rows(rows, tokenizer, one.found.place)


def _copy(place: Path, config: Path, target: str) -> None:
    """Copy the files of a tokenizer, and the config.json that names its class, into a sealed folder."""
    with storage.whole_folder(target, checkpoint_set.COMPLETE) as draft:
        for path in sorted({path for pattern in TOKENIZER_FILES for path in place.glob(pattern) if path.is_file()}):
            shutil.copyfile(path, draft / path.name)
        if (config / "config.json").exists():
            shutil.copyfile(config / "config.json", draft / "config.json")  # names the class of the tokenizer
        checkpoint_set.seal_checkpoint(draft)
