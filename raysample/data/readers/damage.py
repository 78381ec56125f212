"""Any damage of a file as one error that names the file: the only place that translates readers' exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysample.core import storage
from raysample.core.errors import CorpusError, RaysampleError

_ADVICE = "write it again, or leave it out of the folder"


@contextmanager
def naming_file(uri: str, advice: str = _ADVICE) -> Iterator[None]:
    """Turn any exception raised while a file is read into a CorpusError that names the file.

    Readers raise the exceptions of their libraries: ArrowInvalid, OSError, ArrowNotImplementedError, KeyError,
    MemoryError, OverflowError, UnicodeDecodeError, ValueError of a codec. No list is complete, so all are caught here.
    """
    try:
        yield
    except RaysampleError:
        raise
    except Exception as error:
        raise CorpusError(f"{uri!r} cannot be read: {first_line(error)}", advice) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, with its type if the message is too short to help."""
    lines = str(error).strip().splitlines()
    text = lines[0][:300] if lines else ""
    return text if len(text) > 8 else f"{type(error).__name__}{f': {text}' if text else ''}"


def check_regular_source(uri: str) -> None:
    """Raise CorpusError if a local path is a pipe, a socket or a device: opening one may block forever.

    A missing file is left to the reader, whose error `named` translates.
    """
    if not storage.is_local(uri):
        return
    if storage.is_special_file(Path(storage.absolute(uri))):
        raise CorpusError(
            f"{uri!r} is a pipe, socket or device, not a file", "write the rows to a regular file and give that"
        )
