"""Class names: different spellings of one class, in one file or across files, become one canonical name."""

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
# Characters that are invisible at the ends of a name: soft hyphen, zero-width, directions, word joiners, byte order
# mark. The tags behind a flag (U+E0020 to U+E007F) are format characters, too, but they change the flag: kept.
_UNSEEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_AROUND = re.compile(rf"^[\s{_UNSEEN}]+|[\s{_UNSEEN}]+$")
_SHOWN = 5


def canonical(name: str, rule: LabelsConfig) -> str:
    """Return the canonical class name of a label: NFC, without invisible characters at its ends, and `3` for `3.0`.

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


def distinct_class_names(names: Sequence[str], rule: LabelsConfig) -> list[str]:
    """Return `canonical` of each configured class name; raises CorpusError if two of them are the same class."""
    first_spelling: dict[str, str] = {}
    for name in names:
        known = first_spelling.setdefault(canonical(name, rule), name)
        if known != name:
            raise CorpusError(
                f"the classes {_spelled(known)} and {_spelled(name)} are two spellings of one class",
                "give every class one name; labels.numeric_strings: false keeps spellings of whole numbers apart",
            )
    return [canonical(name, rule) for name in names]


class Spellings:
    """Collects the spellings of each class in the files, and reports the unusual ones."""

    def __init__(self, rule: LabelsConfig) -> None:
        self.rule = rule
        # class -> spellings: a string in quotes, a number or boolean bare
        self.found: dict[str, set[str]] = {}

    def add(self, array: pa.Array, names: tuple[str, ...] | None) -> None:
        """Record the spellings of a batch's labels; integers with ClassLabel names count by name."""
        values = as_strings(array, names)
        numbers = pa.array((values.kinds == SCALAR) & (names is None))
        for is_number in (True, False):
            chosen = values.strings.filter(numbers if is_number else pc.invert(numbers))
            for name in pc.unique(chosen).to_pylist():
                if name is not None and (trimmed := name.strip(" \t\r\n\v\f")):
                    spelled = trimmed if is_number else _spelled(trimmed)
                    self.found.setdefault(canonical(trimmed, self.rule), set()).add(spelled)

    def merge(self, other: Mapping[str, Iterable[str]]) -> None:
        """Add the spellings of another file."""
        for name, spelled in other.items():
            self.found.setdefault(name, set()).update(spelled)

    def noted(self) -> dict[str, list[str]]:
        """Return all spellings by class, to be merged with those of other files."""
        return {name: sorted(spelled) for name, spelled in self.found.items()}

    def to_dict(self) -> dict[str, list[str]]:
        """Return class -> spellings for classes with several spellings or one that differs from the canonical name."""
        return {name: sorted(self.found[name]) for name in sorted(self.found) if self._odd(name)}

    def warnings(self, classes: Iterable[str]) -> tuple[str, ...]:
        """Return warnings about spellings of the classes that occur: one sentence per kind of finding.

        Raises:
            CorpusError: a class occurs as a string and as a number, and `rule.numeric_strings` is false.
        """
        present = set(classes)
        odd = {name: spelled for name, spelled in self.to_dict().items() if name in present}
        several = {name: spelled for name, spelled in odd.items() if len(spelled) > 1}
        if not self.rule.numeric_strings:
            _check_apart(several)
        other = {name: spelled for name, spelled in odd.items() if len(spelled) == 1}
        warnings = []
        if several:
            warnings.append(f"several spellings are taken for one class: {_listed(several)}")
        if other:
            warnings.append(f"class names are normalised: {_listed(other)}")
        return (*warnings, *_alike(present))

    def _odd(self, name: str) -> bool:
        """Return whether a class has several spellings, or one that differs from its canonical name."""
        return len(self.found[name]) > 1 or self.found[name] - {name, _spelled(name)} != set()


def _check_apart(several: Mapping[str, Sequence[str]]) -> None:
    """Raise CorpusError if a class occurs both as a number or boolean and as a string."""
    for name, spelled in several.items():
        if name in spelled:
            raise CorpusError(
                f"the class {name!r} comes as a number or boolean and as a string, and labels.numeric_strings is false",
                "write it in one type in all files, or set labels.numeric_strings to true, which makes them one class",
            )


def _alike(present: Iterable[str]) -> Iterator[str]:
    """Yield a warning if distinct classes differ only in case or in compatibility forms (NFKC)."""
    folded: dict[str, list[str]] = {}
    for name in sorted(present):
        folded.setdefault(unicodedata.normalize("NFKC", name).casefold(), []).append(name)
    near = {name: [_spelled(one) for one in found] for name, found in folded.items() if len(found) > 1}
    if near:
        pairs = "; ".join(" and ".join(found) for found in list(near.values())[:_SHOWN])
        more = f"; and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
        yield f"classes of their own that differ in upper and lower case or in the form of signs only: {pairs}{more}"


def _listed(spellings: Mapping[str, Sequence[str]]) -> str:
    """Return the first few classes with their spellings as text."""
    shown = [f"{_spelled(name)} ({', '.join(spelled)})" for name, spelled in list(spellings.items())[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(spellings) - _SHOWN} more" if len(spellings) > _SHOWN else "")


def _spelled(name: str) -> str:
    """Return a name in quotes, escaped if it holds invisible characters or is not in NFC."""
    plain = unicodedata.normalize("NFC", name) == name and not _AROUND.search(name)
    return repr(name) if plain else ascii(name)


class Declared:
    """Checks that all files of a source declare the same ClassLabel names for a column of integers."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[str, ...] | None, str]] = {}

    def add(self, column: str, names: tuple[str, ...] | None, file: str) -> None:
        """Record a file's ClassLabel names of an integer column, or None; raises CorpusError if files differ."""
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
    """Return the name with an index, for an error message."""
    return _spelled(names[place]) if place < len(names) else "no name"


def holds_numbers(array: pa.Array) -> bool:
    """Return whether a column has a numeric type and at least one value: ClassLabel names apply to it."""
    type_: Any = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    numeric = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    return bool(numeric and array.null_count < len(array))


class LabelNotes:
    """Collects facts about a source's label columns while it is read: spellings and ClassLabel names."""

    def __init__(self, source: SourceConfig) -> None:
        rule = source.labels
        corrected = [] if rule.feedback is None else rule.feedback.correct.values()
        self.columns = tuple(dict.fromkeys([source.columns.label, *source.columns.levels, *corrected]))
        self.spellings, self.declared = Spellings(rule), Declared()
        self.names: dict[str, list[str] | None] = {}

    def add(self, file: str, raw: Mapping[str, pa.Array], names: Mapping[str, tuple[str, ...]]) -> None:
        """Record a batch of a file; raises CorpusError as `Declared.add` does."""
        for column in self.columns:
            if column in raw:
                self.spellings.add(raw[column], names.get(column))
                if holds_numbers(raw[column]):
                    class_label = names.get(column)
                    self.names[column] = None if class_label is None else list(class_label)
                    self.declared.add(column, class_label, file)
