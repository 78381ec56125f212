"""The rows of a race: identities, features, labels, and what candidates may read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from raysample.core.arrays import IntArray
from raysample.core.errors import SelectionError
from raysample.core.numerics.radix import seeded
from raysample.data.identity import hash_row_ids
from raysample.selection.policies.base import Rows


@dataclass(frozen=True, eq=False)
class RaceRows:
    """The N training rows.

    Attributes:
        row_id: [N] strings, all different.
        vectors: features [N, D], of length near 1.
        labels: [N], below `classes`.
        classes: number of classes.
        group: code of each row's group, [N], −1 for none; the worst group's recall is an objective.
        cluster: cluster of each row, [N], of rows that are judged together, such as equal texts.
        columns: further score columns, [N] each. They are read as they are: columns from models that were trained on
            these rows flatter the candidates that use them, so the pilot has to confirm such a candidate.
        higher_is: what a high value of these columns means.
    """

    row_id: Sequence[str] | npt.NDArray[np.object_]
    vectors: npt.NDArray[np.floating]
    labels: npt.NDArray[np.int64]
    classes: int
    group: IntArray | None = None
    cluster: IntArray | None = None
    columns: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    higher_is: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.row_id)
        several = {"vectors": self.vectors, "labels": self.labels, "group": self.group, "cluster": self.cluster}
        lengths = {name: len(value) for name, value in {**several, **self.columns}.items() if value is not None}
        wrong = {name: length for name, length in lengths.items() if length != rows}
        if wrong or len(set(self.row_id)) != rows:
            raise SelectionError(
                f"expected {rows:,} different row ids and as many values, got {wrong or 'row ids that repeat'}",
                "give every row its own id, one label and one row of features",
            )

    def __len__(self) -> int:
        return len(self.row_id)

    def take(self, places: npt.NDArray[np.int64]) -> RaceRows:
        """Return some rows."""
        return replace(
            self,
            row_id=np.asarray(self.row_id, dtype=object)[places],
            vectors=self.vectors[places],
            labels=self.labels[places],
            group=None if self.group is None else self.group[places],
            cluster=None if self.cluster is None else self.cluster[places],
            columns={name: values[places] for name, values in self.columns.items()},
        )

    def ordered(self, seed: int) -> RaceRows:
        """Return the rows in a random order that depends on their ids and the seed alone."""
        return self.take(np.argsort(seeded(hash_row_ids(self.row_id), seed), kind="stable"))

    def policy_rows(self, places: npt.NDArray[np.int64], scores: Mapping[str, npt.NDArray[np.float32]]) -> Rows:
        """Return some rows as policies see them, with the given scores [len(places)] and the further columns."""
        more = {name: values[places] for name, values in self.columns.items()}
        ids = np.asarray(self.row_id, dtype=object)[places]
        found = Rows.from_columns(ids, self.labels[places], {**more, **scores})
        return found if self.group is None else replace(found, group=self.group[places])
