"""Ledger: 30 bytes per scanned row, and the decisions that need all rows: repeated ids, limits, counts, checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from raysample.core import storage
from raysample.core.arrays import Float32Array, Int16Array, Mask, WordArray
from raysample.core.config import SourceConfig
from raysample.core.errors import CorpusError
from raysample.data.labels.classes import Codes
from raysample.data.labels.levels import Levels
from raysample.data.schema import (
    BAD_QUOTE,
    BY_LIMIT,
    DUPLICATE,
    FILTERS,
    FINE,
    MINUS_ONE,
    MISSING_LABEL,
    NO_CONSENSUS,
    OTHER_SIDE,
    REASONS,
    ROWS_IN_QUOTE,
    SELECTED,
    UNSEEN,
    VALIDATION_SIDE,
    Part,
)


@dataclass(frozen=True)
class Range:
    """Consecutive rows of one file: from row `start`, which begins at byte `offset`; row `first` of the ledger."""

    part: Part
    start: int
    rows: int
    offset: int
    first: int


@dataclass(frozen=True)
class Ledger:
    """All rows of a source in reading order, without their texts.

    Attributes:
        ranges: where the rows lie.
        vocabulary: class names in order of first appearance.
        reason: [rows] uint8, code of the reason for quarantine, 0 for none.
        filtered: [rows] uint8, code of the reason why a row is left out (`where`, label origin, side of a split,
            limit); 0 for selected rows.
        labels: [rows] int32, index of the class name in `vocabulary`; -1 for none.
        ids: [rows] uint64, hash of the row id. content: [rows, 2] uint64, hash of the whole content.
        confidence, feedback: as in `origins.Labelled`, of all rows.
        levels: [rows, L - 1] int32, as `labels`, for the levels other than the label. vocabularies: one per such level.
    """

    ranges: tuple[Range, ...]
    vocabulary: tuple[str, ...]
    reason: Codes
    filtered: Codes
    labels: np.ndarray[Any, np.dtype[np.int32]]
    ids: WordArray
    content: WordArray
    confidence: Float32Array
    feedback: Int16Array
    levels: np.ndarray[Any, np.dtype[np.int32]]
    vocabularies: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)

    @property
    def inside(self) -> Mask:
        """[rows] whether a row is selected by the configuration."""
        result: Mask = self.filtered == SELECTED
        return result

    @property
    def usable(self) -> Mask:
        """[rows] whether a row is selected and has no reason for quarantine."""
        result: Mask = self.inside & (self.reason == FINE)
        return result

    @property
    def set_aside(self) -> Mask:
        """[rows] whether a row is selected and goes to quarantine."""
        result: Mask = self.inside & (self.reason != FINE)
        return result

    def class_counts(self) -> dict[str, int]:
        """Return usable rows per class that occurs."""
        return self._counted(self.labels, self.vocabulary)

    def level_counts(self) -> list[dict[str, int]]:
        """Return usable rows per class that occurs, for each level beside the label."""
        return [self._counted(self.levels[:, place], known) for place, known in enumerate(self.vocabularies)]

    def _counted(self, codes: np.ndarray[Any, np.dtype[np.int32]], vocabulary: Sequence[str]) -> dict[str, int]:
        """Return class name -> number of usable rows, for the classes that occur."""
        counts = np.bincount(codes[self.usable], minlength=len(vocabulary))
        return {name: int(count) for name, count in zip(vocabulary, counts, strict=True) if count}

    def reasons(self) -> dict[str, int]:
        """Return rows in quarantine per reason, the most frequent first."""
        counts = np.bincount(self.reason[self.set_aside], minlength=len(REASONS))
        by_reason = Counter({REASONS[code]: int(count) for code, count in enumerate(counts) if count})
        return dict(by_reason.most_common())

    def filters(self) -> dict[str, int]:
        """Return rows that are left out per cause, the most frequent first."""
        counts = np.bincount(self.filtered, minlength=len(FILTERS))
        by_reason = Counter(
            {FILTERS[code]: int(count) for code, count in enumerate(counts) if count and code != SELECTED}
        )
        return dict(by_reason.most_common())

    def counts(self) -> dict[str, int]:
        """Return the rows in, usable, quarantined and filtered."""
        usable, quarantined = int(self.usable.sum()), int(self.set_aside.sum())
        rows = len(self.reason)
        return {"in": rows, "usable": usable, "quarantined": quarantined, "filtered": rows - usable - quarantined}

    def fingerprint(self, classes: Sequence[str], levels: Levels | None = None) -> str:
        """Return the identity of the usable rows and class names: a sum of 128-bit hashes, so order does not matter."""
        sums = self.content[self.usable].sum(axis=0, dtype=np.uint64)
        identity: list[Any] = ["Corpus", list(classes), int(self.usable.sum()), [f"{part:016x}" for part in sums]]
        return storage.fingerprint(identity if levels is None else [*identity, levels.label, levels.classes])


def repeats(ledger: Ledger) -> Mask:
    """Return [rows] whether a row, usable otherwise, repeats the id of an earlier row on any side of a split."""
    matching = np.isin(ledger.filtered, (SELECTED, OTHER_SIDE, VALIDATION_SIDE))
    # np.unique returns the first index of each id: all later usable rows with that id are repeats.
    places = np.flatnonzero(matching & (ledger.reason == FINE))
    _, first = np.unique(ledger.ids[places], return_index=True)
    result = np.zeros(len(ledger.reason), np.bool_)
    result[places] = True
    result[places[first]] = False
    return result


def without(ledger: Ledger, repeated: Mask) -> Ledger:
    """Return the ledger with repeated rows marked for quarantine."""
    return replace(ledger, reason=np.where(repeated, np.uint8(DUPLICATE), ledger.reason))


def pooled(ledger: Ledger) -> Ledger:
    """Return the ledger of training and validation rows together: with both sides of the validation split."""
    return replace(ledger, filtered=np.where(ledger.filtered == VALIDATION_SIDE, np.uint8(SELECTED), ledger.filtered))


def within_limit(ledger: Ledger, limit: int | None) -> Ledger:
    """Return a ledger that keeps the `limit` usable rows with the smallest id hashes; the others are filtered.

    Training and validation share the limit, so that validation stays the same share of the rows.
    """
    places = np.flatnonzero(pooled(ledger).usable)
    if limit is None or len(places) <= limit:
        return ledger
    dropped = places[np.argsort(ledger.ids[places], kind="stable")[limit:]]
    filtered = ledger.filtered.copy()
    filtered[dropped] = BY_LIMIT
    return replace(ledger, filtered=filtered)


def reconcile(ledger: Ledger, path: str, rows_of_files: Mapping[str, int], quarantined: int) -> None:
    """Raise CorpusError, with the figures, unless rows in = usable + quarantined + filtered, by separate counts.

    Args:
        ledger: all rows of the source.
        path: of the source.
        rows_of_files: file URI -> number of rows, from the position of the file's last row.
        quarantined: number of rows written to the quarantine.
    """
    usable, filtered = int(ledger.usable.sum()), int((ledger.filtered != SELECTED).sum())
    late = int((ledger.filtered == BY_LIMIT).sum())
    rows, counted, ranges = sum(rows_of_files.values()), len(ledger.reason), sum(each.rows for each in ledger.ranges)
    set_aside = sum(ledger.reasons().values())
    if not (rows == counted == ranges == usable + set_aside + filtered and set_aside == quarantined):
        raise CorpusError(
            f"rows of {path!r} were lost: the files have {rows:,}, {counted:,} were judged in ranges of {ranges:,}; "
            f"{usable:,} are usable, {set_aside:,} in quarantine ({quarantined:,} were written), {filtered:,} filtered "
            f"({late:,} of them by limit)",
            "please report this; do not use the corpus",
        )


def check_ledger(
    ledger: Ledger,
    source: SourceConfig,
    uri: str,
    known: Sequence[frozenset[str]] = (),
    first: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raise CorpusError if a test label is unknown, too many rows are in quarantine, or none is usable.

    `known`: the classes of training, of the label and of every other level, if the rows are checked against them.
    `first`: reason -> position of the first row that was quarantined for it.
    """
    if source.unseen_labels == "error":
        _check_unseen(ledger, source, known)
    counts = ledger.counts()
    # Rows with unknown test labels do not count as bad: with unseen_labels=quarantine the user expects them.
    missing = taken_for_missing(ledger.reasons(), source)
    bad = counts["quarantined"] - ledger.reasons().get(REASONS[UNSEEN], 0)
    if bad > source.max_quarantined * (counts["usable"] + counts["quarantined"]):
        top = "; ".join(f"{reason}: {rows}" for reason, rows in list(ledger.reasons().items())[:5])
        where = first.get(REASONS[BAD_QUOTE]) or first.get(next(iter(ledger.reasons()), ""))
        raise CorpusError(
            f"{bad} of {counts['usable'] + counts['quarantined']} rows of {source.path!r} cannot be used, more than"
            f" max_quarantined={source.max_quarantined} allows ({top}){f'; see {where}' if where else ''}",
            f"{otherwise(missing)}{if_quotes(ledger.reasons())}check the source's column names and the rows listed in"
            f" {storage.join(uri, 'quarantine')!r}, mend them, or raise max_quarantined",
        )
    if not counts["usable"]:
        why = "; ".join(f"{cause}: {rows}" for cause, rows in ledger.filters().items())
        raise CorpusError(
            f"{source.path!r} has no usable row: {counts['in']} read, {counts['quarantined']} in quarantine,"
            f" {counts['filtered']} filtered out{f' ({why})' if why else ''}",
            f"{otherwise(missing)}check the path, where, labels and the hold-out",
        )


def if_quotes(reasons: Mapping[str, int]) -> str:
    """Return advice, to be put before other advice, if stray quotes cost rows; else an empty string."""
    if not {REASONS[BAD_QUOTE], REASONS[ROWS_IN_QUOTE]} & set(reasons):
        return ""
    return "set quoting: none for the source if quotes are signs like any other there; "


def taken_for_missing(reasons: Mapping[str, int], source: SourceConfig) -> str:
    """Return a sentence about label values that count as missing, with advice; empty if there are no such rows."""
    codes = {MINUS_ONE: "-1", NO_CONSENSUS: "'-'", MISSING_LABEL: "one of these values"}
    present = [(value, reasons[REASONS[code]]) for code, value in codes.items() if REASONS[code] in reasons]
    if not present:
        return ""
    taken = " and ".join(f"{value} in {rows:,} rows" for value, rows in present)
    rest = [value for value in source.labels.missing if value != "-1"] if REASONS[MINUS_ONE] in reasons else []
    given = ", ".join(source.labels.missing)
    return (
        f"the label is {taken}, which labels.missing ({given}) takes for no label: if it is a class, set"
        f" the source's labels.missing to [{', '.join(map(repr, rest))}] (in Python"
        f" describe(..., missing={rest!r})), or write a name for the class"
    )


def otherwise(advice: str) -> str:
    """Return advice as the first half of a sentence that continues with an alternative."""
    return f"{advice}; else " if advice else ""


def check_classes(counts: dict[str, int], source: SourceConfig, reasons: Mapping[str, int]) -> None:
    """Raise CorpusError if all rows are of one class."""
    if len(counts) == 1:
        name, rows = next(iter(counts.items()))
        raise CorpusError(
            f"all {rows} usable rows of {source.path!r} have the label {name!r}; a classifier needs two classes",
            f"{otherwise(taken_for_missing(reasons, source))}check the label column, where and limit",
        )


def _check_unseen(ledger: Ledger, source: SourceConfig, known: Sequence[frozenset[str]]) -> None:
    """Raise CorpusError, with class names and counts, if test rows have labels that training does not know."""
    unseen = ledger.inside & (ledger.reason == UNSEEN)
    if not unseen.any():
        return
    counts: Counter[str] = Counter()
    every = ((ledger.vocabulary, ledger.labels), *zip(ledger.vocabularies, ledger.levels.T, strict=True))
    for (names, codes), classes in zip(every, known, strict=True):
        found = np.bincount(codes[unseen], minlength=len(names))
        counts.update({name: int(n) for name, n in zip(names, found, strict=True) if n and name not in classes})
    named = ", ".join(f"{name!r} ({rows} rows)" for name, rows in counts.most_common(10))
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    others = f" and {len(known[0]) - 10} more" if len(known[0]) > 10 else ""
    raise CorpusError(
        f"{int(unseen.sum())} rows of {source.path!r} have labels that training does not know: {named}{more}; "
        f"it knows {', '.join(map(repr, sorted(known[0])[:10]))}{others}",
        "set corpus.test.unseen_labels=quarantine to leave such rows out of the test, or add training rows of them; "
        "if the checkpoints were adopted and name the same classes differently, give their class names (--labels, "
        "adopt.labels)",
    )
