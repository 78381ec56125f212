"""Predictions of a model on every test row, stored beside a run so that runs can be compared row by row. No text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from raysample.core.arrays import IntArray, Mask
from raysample.core.errors import StorageError

ROW, GOLD, PREDICTED, GROUP, CLUSTER = "row", "gold", "predicted", "group", "cluster"
_MASK = "in_"
_NEEDED = (ROW, GOLD, PREDICTED)


@dataclass(frozen=True)
class Predictions:
    """Predictions of N test rows in the order of the test corpus.

    Attributes:
        gold, predicted: classes [N].
        group: group index of each row [N], −1 for none; None if the rows have no groups.
        cluster: cluster of each row [N] (`evaluate`'s `clusters`); None for independent rows.
        masks: name -> rows [N] whose accuracy is reported separately.
    """

    gold: IntArray
    predicted: IntArray
    group: IntArray | None = None
    cluster: IntArray | None = None
    masks: Mapping[str, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.gold)

    def same_rows(self, other: Predictions) -> bool:
        """Return whether both cover the same rows, judged by gold classes and groups."""
        none = np.zeros(0, np.int64)
        ours, theirs = (none if one.group is None else one.group for one in (self, other))
        return np.array_equal(self.gold, other.gold) and np.array_equal(ours, theirs)

    def on(self, mask: Mask) -> Predictions:
        """Return the predictions of the rows in a mask [N], without masks."""
        cluster = None if self.cluster is None else np.unique(self.cluster[mask], return_inverse=True)[1]
        group = None if self.group is None else self.group[mask]
        return Predictions(self.gold[mask], self.predicted[mask], group, cluster)

    def table(self) -> pa.Table:
        """Return the predictions as a table, one row per test row; `row` is the position in the test corpus."""
        columns: dict[str, Any] = {
            ROW: np.arange(len(self), dtype=np.int32),
            GOLD: self.gold.astype(np.int32),
            PREDICTED: self.predicted.astype(np.int32),
        }
        codes = {GROUP: self.group, CLUSTER: self.cluster}
        columns |= {name: code.astype(np.int32) for name, code in codes.items() if code is not None}
        return pa.table({**columns, **{_MASK + name: mask for name, mask in self.masks.items()}})

    @staticmethod
    def from_table(table: pa.Table) -> Predictions:
        """Return predictions from the table that `table` returned.

        Raises:
            StorageError: a required column is missing, or rows are missing or out of order.
        """
        missing = [name for name in _NEEDED if name not in table.column_names]
        if missing or not np.array_equal(table[ROW].to_numpy(), np.arange(table.num_rows)):
            wrong = f"the columns {missing} are missing" if missing else "its rows are not all there, in their order"
            raise StorageError(f"a file of predictions is damaged: {wrong}", "delete it and run the comparison again")
        codes = {
            name: table[name].to_numpy().astype(np.int64) if name in table.column_names else None
            for name in (GOLD, PREDICTED, GROUP, CLUSTER)
        }
        masks = {
            name.removeprefix(_MASK): table[name].to_numpy(zero_copy_only=False).astype(np.bool_)
            for name in table.column_names
            if name.startswith(_MASK)
        }
        gold, predicted = codes[GOLD], codes[PREDICTED]
        assert gold is not None
        assert predicted is not None
        return Predictions(gold, predicted, codes[GROUP], codes[CLUSTER], masks)
