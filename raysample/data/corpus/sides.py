"""The sides of a source: which rows train, which choose (validation), and which judge (the hold-out).

A row's side is a function of its near text (`near_text_hashes`) alone: equal and nearly equal texts are on one side,
whatever their ids, labels and files. The two splits hash with salts of their own, so they are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from raysample.core.arrays import FloatArray
from raysample.core.errors import CorpusError
from raysample.core.numerics.radix import splitmix64
from raysample.data.corpus.judge_rows import JudgedRows
from raysample.data.corpus.ledger import Ledger, pooled
from raysample.data.corpus.near_texts import near_text_hashes
from raysample.data.identity import hash_row_ids
from raysample.data.labels.classes import Codes
from raysample.data.schema import FINE, OTHER_SIDE, SELECTED, VALIDATION_SIDE

Side = Literal["all", "train", "validation", "holdout"]

LACKING_SHOWN = 5
"""Number of class names in a warning."""
_HOLDOUT_SALT, _VALIDATION_SALT = np.uint64(0x686F6C646F757400), np.uint64(0x76616C6964617465)
_SPAN = float(2**64)
_TITLES = {"train": "training", "validation": "validation", "holdout": "hold-out"}
_ADVICE = {
    "train": "lower corpus.validation or corpus.holdout",
    "validation": "raise corpus.validation, or leave it out",
    "holdout": "raise corpus.holdout, or give corpus.test",
}


@dataclass(frozen=True)
class Split:
    """One part of a source that is split into training, validation and hold-out rows.

    Attributes:
        part: the part that is described; `all` leaves the source whole.
        holdout: share of all rows that is held out as test; None for no hold-out.
        validation: share of the other rows that chooses; None for no validation part.

    Raises:
        CorpusError: the part needs a share that is not given.
    """

    part: Side = "all"
    holdout: float | None = None
    validation: float | None = None

    def __post_init__(self) -> None:
        shares = {"holdout": self.holdout, "validation": self.validation}
        given = [share for name, share in shares.items() if self.part in (name, "train") and share is not None]
        if self.part != "all" and not given:
            raise CorpusError(
                f"part={self.part!r} with holdout={self.holdout} and validation={self.validation} cannot be",
                "give holdout a share such as 0.1, or validation, or both",
            )

    def filters(self, rows: JudgedRows) -> Codes:
        """Return the filter code of each row, [rows] uint8: 0 for selected rows of this part."""
        if self.part == "all":
            return rows.filtered
        nowhere = np.zeros(len(rows.filtered), np.bool_)
        held = nowhere if self.holdout is None else _units(rows, _HOLDOUT_SALT) < self.holdout
        chooses = nowhere if self.validation is None else _units(rows, _VALIDATION_SALT) < self.validation
        if self.part == "holdout":
            side = np.where(held, SELECTED, OTHER_SIDE)
        else:
            side = np.where(chooses == (self.part == "validation"), SELECTED, VALIDATION_SIDE)
            side = np.where(held, OTHER_SIDE, side)
        return np.where(rows.filtered == SELECTED, side, rows.filtered).astype(np.uint8)

    def check(self, ledger: Ledger, path: str) -> None:
        """Raise CorpusError if this part has no usable row while another part has some."""
        others = int((np.isin(ledger.filtered, (OTHER_SIDE, VALIDATION_SIDE)) & (ledger.reason == FINE)).sum())
        if ledger.usable.any() or not others:
            return
        raise CorpusError(
            f"the {_TITLES[self.part]} part of {path!r} has no row: all {others:,} usable rows are on another side "
            "(texts that differ in case, punctuation and numbers only are one text, and on one side)",
            f"{_ADVICE[self.part]}; a corpus of few different texts has none to spare",
        )

    def warnings(self, ledger: Ledger, classes: Sequence[str]) -> tuple[str, ...]:
        """Return a warning with the classes that the other side of the validation split has and this part lacks."""
        counts, both = ledger.class_counts(), pooled(ledger).class_counts()
        lacking = [name for name in classes if not counts.get(name) and both.get(name)]
        if not lacking or self.part not in ("train", "validation"):
            return ()
        names = ", ".join(lacking[:LACKING_SHOWN])
        more = f" and {len(lacking) - LACKING_SHOWN} more" if len(lacking) > LACKING_SHOWN else ""
        what, then = (
            ("the validation part", "what is chosen by it does not see them")
            if self.part == "validation"
            else ("training", "all of their rows are validation rows, and no model learns them")
        )
        return (f"{what} has no row of {len(lacking)} of {len(classes)} classes ({names}{more}): {then}",)


def _units(rows: JudgedRows, salt: np.uint64) -> FloatArray:
    """Return a number in [0, 1) for each row, [rows], a hash of its near text and the salt.

    A row without usable text goes by its position instead, or all such rows would be on one side.
    """
    texts = rows.content.select(["text", "text_pair"])
    filled = pc.fill_null(texts["text"], "")
    blank = pc.equal(pc.utf8_trim_whitespace(filled), "").to_numpy()
    hashes = np.where(blank, hash_row_ids(rows.name), near_text_hashes(texts.set_column(0, "text", filled)))
    units: FloatArray = splitmix64(hashes ^ salt).astype(np.float64) / _SPAN
    return units
