"""What every policy is: strata, a key and quotas. Rows are what it sees; Facts are what it may know of all rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from raysample.config import ArmConfig
from raysample.numerics.exact_moments import Moments
from raysample.numerics.radix import seeded

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
WordArray = npt.NDArray[np.uint64]
Higher = Literal["harder", "easier"]
Grouping = Literal["none", "class", "corpus"]

HASH_KEY = "raysample-row-id"  # 16 bytes, fixed: the identity of a row must never depend on the run


def identity(row_id: pa.Array | npt.NDArray[np.object_]) -> WordArray:
    """Return the 64-bit SipHash of each row id under a fixed key: [n] uint64, the same on every machine."""
    values = row_id.to_numpy(zero_copy_only=False) if isinstance(row_id, pa.Array) else np.asarray(row_id, dtype=object)
    hashed: WordArray = pd.util.hash_array(values.astype(object), hash_key=HASH_KEY, categorize=False)
    return hashed


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a data set, as a policy sees them.

    Attributes:
        row_id: [n] strings, a pyarrow array or a numpy object array.
        identity: [n] uint64, the hash of the row id.
        label: [n] int32, the class.
        scores: float32 [n] by column name.
    """

    row_id: pa.Array | npt.NDArray[np.object_]
    identity: WordArray
    label: npt.NDArray[np.int32]
    scores: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.identity)

    @staticmethod
    def of(
        row_id: pa.Array | npt.NDArray[np.object_] | Sequence[str],
        label: npt.ArrayLike,
        scores: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Rows:
        """Build rows from ids, labels and score columns of equal length."""
        ids = row_id if isinstance(row_id, pa.Array) else np.asarray(row_id, dtype=object)
        columns = {name: np.asarray(values, dtype=np.float32) for name, values in (scores or {}).items()}
        return Rows(ids, identity(ids), np.asarray(label, dtype=np.int32), columns)

    @staticmethod
    def from_arrow(table: pa.Table, columns: Sequence[str] = ()) -> Rows:
        """Build rows from a table with `row_id`, `label` and the named score columns."""
        ids = pa.concat_arrays(table["row_id"].chunks) if table.num_rows else pa.array([], pa.string())
        return Rows.of(ids, table["label"].to_numpy(), {name: table[name].to_numpy() for name in columns})


@dataclass(frozen=True, eq=False)
class Facts:
    """What a policy may know beyond the row it looks at: the seed, and per column the moments it asked for."""

    seed: int
    moments: Mapping[str, Moments] = field(default_factory=dict)


class Policy(ABC):
    """A plan, not a sort: which rows compete with each other, in which order they are kept, how many of each group.

    Policies are frozen, picklable and pure: what they say of a row depends on that row and the Facts alone, so the
    result cannot depend on the order or layout of the data.
    """

    @classmethod
    @abstractmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Build the policy of an arm; raises SelectionError for settings that the policy cannot follow."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns that the policy reads."""
        return ()

    @property
    def moments_over(self) -> Grouping:
        """The groups whose mean and standard deviation the key needs, of every column."""
        return "none"

    @abstractmethod
    def strata(self, rows: Rows, facts: Facts) -> IntArray:
        """Return the group in which each row competes: [n], any integers."""

    @abstractmethod
    def key(self, rows: Rows, facts: Facts) -> FloatArray:
        """Return each row's priority in its group: [n], higher is kept first, never NaN; ties fall to a seeded hash."""

    @abstractmethod
    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:
        """Return how many rows each group keeps: [S], 0 <= quota <= count, summing to the budget."""

    @abstractmethod
    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Name a group for people."""


def lottery(rows: Rows, facts: Facts) -> WordArray:
    """Return the seeded random word of each row: what breaks ties, and what `random` draws by."""
    return seeded(rows.identity, facts.seed)
