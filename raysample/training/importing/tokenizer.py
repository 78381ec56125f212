"""The tokenizer of an adopted run: in its first checkpoint, or copied beside the manifest from elsewhere in the run."""

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

FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*.model",
    "chat_template*",
)


def tokenizer_of(found: Sequence[Opened], target: str) -> bool:
    """Find the tokenizer and try it; returns whether it was copied into folder `target`, sealed.

    Raises:
        CheckpointError: there is none, it cannot be loaded, or it does not pad.
        ModelError: it gives ids for which a checkpoint has no embedding.
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
    if first.config is None:  # adapters go with the tokenizer of their base
        _try(first.folder, found)
        return False
    raise CheckpointError(
        f"neither {first.found.place!r} nor the folder of its run holds a tokenizer",
        "save it there (tokenizer.save_pretrained), or train with Trainer(processing_class=tokenizer)",
    )


def _elsewhere(found: Sequence[Opened]) -> Iterator[str]:
    for one in found[1:]:
        yield one.folder
    for place in dict.fromkeys(place for one in found for place in one.found.words):
        if storage.exists(place):
            yield place if storage.is_local(place) else storage.localise(place)


def _names_one(folder: str) -> bool:
    return Path(folder).is_dir() and has_tokenizer([path.name for path in Path(folder).iterdir()])


def _try(folder: str, found: Sequence[Opened]) -> None:
    try:
        words = models.tokenizer(folder)
    except ModelError as error:
        if "trust_remote_code" in error.advice:
            return  # the scoring says whether it may run
        raise CheckpointError(f"the tokenizer cannot be loaded: {error.problem}", error.advice) from error
    if words.pad_token_id is None:
        raise CheckpointError(f"the tokenizer in {folder!r} has no padding token", "set pad_token and save it")
    for one in found:
        rows = None if one.config is None else one.config.get("vocab_size")
        # A config.json leaves defaults out, and some families keep it elsewhere: the scoring looks at the table itself.
        if isinstance(rows, int) and one.config is not None and one.config.get("model_type") != "canine":
            check_rows(rows, words, one.found.place)


def _copy(place: Path, config: Path, target: str) -> None:
    with storage.whole_folder(target, checkpoint_set.COMPLETE) as draft:
        for path in sorted({path for pattern in FILES for path in place.glob(pattern) if path.is_file()}):
            shutil.copyfile(path, draft / path.name)
        if (config / "config.json").exists():
            shutil.copyfile(config / "config.json", draft / "config.json")  # tells its class
        checkpoint_set.seal_checkpoint(draft)
