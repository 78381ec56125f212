"""Read files that raysample wrote: the content is valid, or an error names the file and the problem.

`kind_of` builds a dataclass from a manifest and checks every field against its type. `damaged` wraps readers that build
objects by hand. Neither knows the meaning of a manifest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from raysample.core import storage
from raysample.core.errors import RaysampleError, StorageError

T = TypeVar("T")
Change = Callable[[dict[str, Any]], dict[str, Any]]

RESTORE_ADVICE = "restore the file, or delete what it belongs to and run the step that writes it again"
MAX_PROBLEMS = 3


def mapping(uri: str, *names: str, foreign: bool = False) -> dict[str, Any]:
    """Read a JSON file that holds a mapping with at least these keys; raises StorageError for anything else.

    `foreign`: as for `storage.read_json`.
    """
    found = storage.read_json(uri, foreign=foreign)
    if not isinstance(found, dict):
        raise StorageError(f"{uri!r} was expected to hold a mapping, and holds {_brief(found)}", RESTORE_ADVICE)
    missing = [name for name in names if name not in found]
    if missing:
        raise StorageError(f"{uri!r} lacks {', '.join(map(repr, missing))}", RESTORE_ADVICE)
    return found


def kind_of(kind: type[T], place: str, change: Change | None = None, /, **more: Any) -> T:
    """Read a manifest as a dataclass.

    Args:
        kind: the dataclass.
        place: URI of the file.
        change: applied to the mapping first, if the form of the file differs from the dataclass.
        more: fields that the file does not hold.

    Raises:
        StorageError: the file is missing or damaged, or a value has not the type of its field; names file and field.
    """
    found = mapping(place)
    with damaged(place):
        values = {**(found if change is None else change(found)), **more}
        try:
            made: T = checked(kind, values)
        except RaysampleError as error:  # raised by the dataclass, which does not know the file
            raise type(error)(f"{place!r}: {error.problem}", error.advice) from error
        return made


def checked(kind: Any, value: Any) -> Any:
    """Return a value converted to a type; raises pydantic's error, which `damaged` explains."""
    return _adapter(kind).validate_python(value)


def checked_again(made: T) -> T:
    """Return a dataclass built by hand after checking the types of its fields; for use inside `damaged`."""
    _adapter(type(made)).validate_python({one.name: getattr(made, one.name) for one in fields(made)})  # type: ignore[arg-type]
    return made


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a type, cached: building one is expensive."""
    return TypeAdapter(kind)


@contextmanager
def damaged(uri: str) -> Iterator[None]:
    """Turn errors about the content of a file into a StorageError that names it; RaysampleErrors pass unchanged."""
    try:
        yield
    except RaysampleError:
        raise
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors(include_input=False)[:MAX_PROBLEMS]
        ]
        raise StorageError(f"{uri!r} does not hold what was written: {'; '.join(problems)}", RESTORE_ADVICE) from error
    except KeyError as error:
        raise StorageError(f"{uri!r} lacks {error}", RESTORE_ADVICE) from error
    except (
        *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, MemoryError),
        pa.ArrowException,
        struct.error,
    ) as error:
        raise _damage(uri, error) from error
    except OSError as error:
        # Arrow tells of some damage, such as a footer that is no Thrift, by an OSError without a number; the operating
        # system numbers its errors, and these tell nothing about the content.
        if error.errno is not None:
            raise
        raise _damage(uri, error) from error


def _damage(uri: str, error: Exception) -> StorageError:
    """Return the error for a file whose content is damaged."""
    reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    return StorageError(f"{uri!r} does not hold what was written ({reason})", RESTORE_ADVICE)


def whole_number(found: Mapping[str, Any], name: str, uri: str) -> int:
    """Return a count from a mapping; raises StorageError unless it is an integer >= 0."""
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise StorageError(f"{uri!r}: {name} was expected to be a count, and is {_brief(value)}", RESTORE_ADVICE)
    return value


def check_parts(parts: Sequence[str], uri: str) -> None:
    """Raise StorageError unless the manifest in `uri` names one or more parts, each once."""
    if not parts:
        raise StorageError(f"{uri!r} was expected to name its files in parts, and names none", RESTORE_ADVICE)
    if len(set(parts)) != len(parts):
        raise StorageError(f"{uri!r} names a file twice in parts", RESTORE_ADVICE)


def all_rows(tables: Iterable[pa.Table], rows: int | None, uri: str) -> Iterator[pa.Table]:
    """Yield the tables of all parts; raises StorageError after the last one if they do not hold `rows` rows.

    Args:
        tables: the content of the parts.
        rows: number of rows according to the manifest; None if the manifest lacks it.
        uri: the manifest.
    """
    found = 0
    for table in tables:
        found += table.num_rows
        yield table
    if found != rows:
        raise StorageError(
            f"the files that {uri!r} names hold {found:,} rows, and it counts {_brief(rows)}", RESTORE_ADVICE
        )


def _brief(value: Any) -> str:
    """Return a value in at most about 60 characters, for an error message."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value):,}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
