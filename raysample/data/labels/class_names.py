"""Names of classes: one class is one name, however it is spelled in this file or that one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysample.core.config import LabelsConfig, SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.labels.values import SCALAR, as_strings

_WHOLE = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.0*)?")
# Signs that show nothing at the end of a name: soft hyphen, zero-width, directions, word joiners, byte order mark. The
# tags behind a flag (U+E0020 to U+E007F) are format characters, too, but make another flag of it.
_UNSEEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_AROUND = re.compile(rf"^[\s{_UNSEEN}]+|[\s{_UNSEEN}]+$")
_SHOWN = 5


def canonical(name: str, rule: LabelsConfig) -> str:
    """Return the name of the class that a label spells: NFC, nothing unseen around it, and `3` for `3.0`.

    A whole number has one spelling unless `rule.numeric_strings` is false; `007` and `1.5` are names like any other.
    """
    name = _AROUND.sub("", unicodedata.normalize("NFC", name))
    whole = _WHOLE.fullmatch(name) if rule.numeric_strings else None
    if whole is None:
        return name
    sign, digits = whole.groups()
    return digits if digits == "0" else sign + digits


def canonical_names(names: pa.StringArray, rule: LabelsConfig) -> pa.StringArray:
    """Return `canonical` of each name; null stays null."""
    encoded = names.dictionary_encode()
    known = [canonical(name, rule) for name in encoded.dictionary.to_pylist()]
    return pa.array(known, pa.string()).take(encoded.indices)


def distinct(names: Sequence[str], rule: LabelsConfig) -> list[str]:
    """Return `canonical` of class names that were given; raises CorpusError if two of them are one class."""
    found: dict[str, str] = {}
    for name in names:
        known = found.setdefault(canonical(name, rule), name)
        if known != name:
            raise CorpusError(
                f"the classes {_spelled(known)} and {_spelled(name)} are two spellings of one class",
                "give every class one name; whole numbers are told apart by labels.numeric_strings: false",
            )
    return [canonical(name, rule) for name in names]


class Spellings:
    """How the classes are spelled in the files, and what a reader should know of that."""

    def __init__(self, rule: LabelsConfig) -> None:
        self.rule = rule
        # class -> spellings: a string in quotes, a number or boolean bare
        self.found: dict[str, set[str]] = {}

    def add(self, array: pa.Array, names: tuple[str, ...] | None) -> None:
        """Note how the labels of a batch are spelled; those that a ClassLabel names, as it spells them."""
        values = as_strings(array, names)
        numbers = pa.array((values.kinds == SCALAR) & (names is None))
        for is_number in (True, False):
            chosen = values.strings.filter(numbers if is_number else pc.invert(numbers))
            for name in pc.unique(chosen).to_pylist():
                if name is not None and (trimmed := name.strip(" \t\r\n\v\f")):
                    spelled = trimmed if is_number else _spelled(trimmed)
                    self.found.setdefault(canonical(trimmed, self.rule), set()).add(spelled)

    def merge(self, found: Mapping[str, Iterable[str]]) -> None:
        """Add what was noted of another file."""
        for name, spelled in found.items():
            self.found.setdefault(name, set()).update(spelled)

    def noted(self) -> dict[str, list[str]]:
        """Return all spellings, to be merged with those of other files."""
        return {name: sorted(spelled) for name, spelled in self.found.items()}

    def to_dict(self) -> dict[str, list[str]]:
        """Return the classes that are spelled otherwise than they are named, or in several ways, as JSON-able data."""
        return {name: sorted(self.found[name]) for name in sorted(self.found) if self._odd(name)}

    def warnings(self, classes: Iterable[str]) -> tuple[str, ...]:
        """Return what to say of the classes that occur, a sentence per kind.

        Raises:
            CorpusError: a class comes as a string and as a number, and `rule.numeric_strings` keeps these apart.
        """
        present = set(classes)
        odd = {name: spelled for name, spelled in self.to_dict().items() if name in present}
        several = {name: spelled for name, spelled in odd.items() if len(spelled) > 1}
        if not self.rule.numeric_strings:
            _check_apart(several)
        other = {name: spelled for name, spelled in odd.items() if len(spelled) == 1}
        found = []
        if several:
            found.append(f"several spellings are taken for one class: {_listed(several)}")
        if other:
            found.append(f"class names are normalised: {_listed(other)}")
        return (*found, *_alike(present))

    def _odd(self, name: str) -> bool:
        return len(self.found[name]) > 1 or self.found[name] - {name, _spelled(name)} != set()


def _check_apart(several: Mapping[str, Sequence[str]]) -> None:
    for name, spelled in several.items():
        if name in spelled:
            raise CorpusError(
                f"the class {name!r} comes as a number or boolean and as a string, and labels.numeric_strings is false",
                "write it in one type in all files, or set labels.numeric_strings to true, which makes them one class",
            )


def _alike(present: Iterable[str]) -> Iterator[str]:
    folded: dict[str, list[str]] = {}
    for name in sorted(present):
        folded.setdefault(unicodedata.normalize("NFKC", name).casefold(), []).append(name)
    near = {name: [_spelled(one) for one in found] for name, found in folded.items() if len(found) > 1}
    if near:
        pairs = "; ".join(" and ".join(found) for found in list(near.values())[:_SHOWN])
        more = f"; and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
        yield f"classes of their own that differ in upper and lower case or in the form of signs only: {pairs}{more}"


def _listed(spellings: Mapping[str, Sequence[str]]) -> str:
    shown = [f"{_spelled(name)} ({', '.join(spelled)})" for name, spelled in list(spellings.items())[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(spellings) - _SHOWN} more" if len(spellings) > _SHOWN else "")


def _spelled(name: str) -> str:
    """Return a name in quotes, with escapes for what is not to be seen or told apart."""
    plain = unicodedata.normalize("NFC", name) == name and not _AROUND.search(name)
    return repr(name) if plain else ascii(name)


class Declared:
    """Which files say by a ClassLabel what the integers of a column mean: all of one source, and the same."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[str, ...] | None, str]] = {}

    def add(self, column: str, names: tuple[str, ...] | None, file: str) -> None:
        """Note that a file has integers in a column, and their names, if any; raises CorpusError if others differ."""
        known, first = self._seen.setdefault(column, (names, file))
        if known == names:
            return
        if known is None or names is None:
            named, bare = (file, first) if known is None else (first, file)
            raise CorpusError(
                f"the integers in {column!r} have ClassLabel names in {named!r} and none in {bare!r}: which classes "
                f"they are in {bare!r} would be a guess",
                "write all files with the same ClassLabel (datasets.ClassLabel), or all with class names as strings",
            )
        place = next(at for at in range(len(known) + 1) if known[at : at + 1] != names[at : at + 1])
        raise CorpusError(
            f"the ClassLabel names of {column!r} differ between {first!r} and {file!r}: number {place} is "
            f"{_at(known, place)} in the one and {_at(names, place)} in the other",
            "write all files with the same ClassLabel (datasets.ClassLabel), or all with class names as strings",
        )


def _at(names: tuple[str, ...], place: int) -> str:
    return _spelled(names[place]) if place < len(names) else "no name"


def holds_numbers(array: pa.Array) -> bool:
    """Tell whether a column is of a type of numbers (whose names a ClassLabel would tell), and has any."""
    type_: Any = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    numeric = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    return bool(numeric and array.null_count < len(array))


class LabelNotes:
    """What is noted of the label columns of a source while it is read: spellings, and ClassLabels."""

    def __init__(self, source: SourceConfig) -> None:
        rule = source.labels
        corrected = [] if rule.feedback is None else rule.feedback.correct.values()
        self.columns = tuple(dict.fromkeys([source.columns.label, *source.columns.levels, *corrected]))
        self.spellings, self.declared = Spellings(rule), Declared()
        self.names: dict[str, list[str] | None] = {}

    def add(self, file: str, raw: Mapping[str, pa.Array], names: Mapping[str, tuple[str, ...]]) -> None:
        """Note a batch of a file; raises CorpusError as `Declared.add` does."""
        for column in self.columns:
            if column in raw:
                self.spellings.add(raw[column], names.get(column))
                if holds_numbers(raw[column]):
                    told = names.get(column)
                    self.names[column] = None if told is None else list(told)
                    self.declared.add(column, told, file)
