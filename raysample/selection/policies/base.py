"""The Policy interface: strata, keys and quotas. `Rows` is its input, `GlobalStatistics` what it knows of all rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raysample.core.arrays import Float32Array, IntArray, WordArray
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.core.numerics.count_sketch import CountSketch
from raysample.core.numerics.exact_moments import GroupMoments
from raysample.core.numerics.radix import seeded, splitmix64
from raysample.core.numerics.ranks import Ranks
from raysample.data.identity import group_codes, hash_row_ids

Ids: TypeAlias = pa.Array | npt.NDArray[np.object_]
Higher = Literal["harder", "easier"]
Grouping = Literal["none", "class", "corpus"]
Chance = Literal["sure", "lot", "weight"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a data set, as a policy sees them.

    Attributes:
        ids: [n] strings, a pyarrow array or a numpy object array; or a function that reads them on first use.
        label: [n] int32, the class.
        scores: float32 [n] by column name.
        hashed: [n] uint64, the hashes of the row ids, if known already.
        group: [n] int64, a code per group (`group_codes`), if a policy reads groups.
    """

    ids: Ids | Callable[[], Ids]
    label: npt.NDArray[np.int32]
    scores: Mapping[str, Float32Array] = field(default_factory=dict)
    hashed: WordArray | None = None
    group: IntArray | None = None

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def row_id(self) -> Ids:
        """The row ids, [n] strings."""
        return self.ids() if callable(self.ids) else self.ids

    @cached_property
    def identity(self) -> WordArray:
        """[n] uint64, the hash of the row id, computed on first use: a ranking without ties never needs it."""
        return hash_row_ids(self.row_id) if self.hashed is None else self.hashed

    @property
    def groups(self) -> IntArray:
        """[n] int64, the code of each row's group; raises SelectionError if the rows have no groups."""
        if self.group is None:
            raise SelectionError(
                "the rows have no groups, and the arm asks for them",
                "name their column (columns: {group: ...}) where the corpus is described, and score it again",
            )
        return self.group

    def take(self, places: IntArray) -> Rows:
        """Return the rows at some positions."""
        if len(places) == len(self):
            return self
        scores = {name: values[places] for name, values in self.scores.items()}
        known = self.__dict__.get("identity", self.hashed)  # reuse hashes that were computed before
        hashed, group = known if known is None else known[places], self.group
        return Rows(
            partial(self._ids, places), self.label[places], scores, hashed, None if group is None else group[places]
        )

    def _ids(self, places: IntArray) -> Ids:
        """Return the row ids at some positions."""
        return self.row_id.take(pa.array(places)) if isinstance(self.row_id, pa.Array) else self.row_id[places]

    @staticmethod
    def from_columns(
        row_id: Ids | Sequence[str],
        label: npt.ArrayLike,
        scores: Mapping[str, npt.ArrayLike] | None = None,
        group: Sequence[str | None] | None = None,
    ) -> Rows:
        """Return rows from ids, labels, score columns and optional groups of equal length."""
        ids = row_id if isinstance(row_id, pa.Array) else np.asarray(row_id, dtype=object)
        columns = {name: np.asarray(values, dtype=np.float32) for name, values in (scores or {}).items()}
        codes = None if group is None else group_codes(pa.array(group, pa.string()))
        return Rows(ids, np.asarray(label, dtype=np.int32), columns, group=codes)

    @staticmethod
    def from_arrow(table: pa.Table, columns: Sequence[str] = ()) -> Rows:
        """Return rows from a table with `row_id`, `label`, the named score columns, and optionally `group_code`."""
        ids = pa.concat_arrays(table["row_id"].chunks) if table.num_rows else pa.array([], pa.string())
        found = Rows.from_columns(ids, table["label"].to_numpy(), {name: table[name].to_numpy() for name in columns})
        return replace(found, group=table["group_code"].to_numpy()) if "group_code" in table.column_names else found


@dataclass(frozen=True, eq=False)
class GlobalStatistics:
    """Statistics over all rows that a policy may use beyond the row itself.

    Attributes:
        seed: seed of ties and random draws.
        moments: per column its mean and standard deviation by group (`moments_over`).
        extremes: per column its smallest and largest value by the same groups, [G] float32 each.
        ranks: per column of `ranked` its distribution function, of the corpus or of each class (`ranked_over`).
        anchors: per column of `anchored` its mean over the rows with the highest values of another.
        class_ranks: per class the rank of its rows by the entropy of its groups, [C] in (0, 1), if `entropies`.
        sieve: sketch of the groups that may have more rows than a cap allows; None if all may.
        total, budget: number of rows before any step, and number of rows to keep.
    """

    seed: int
    moments: Mapping[str, GroupMoments] = field(default_factory=dict)
    extremes: Mapping[str, tuple[Float32Array, Float32Array]] = field(default_factory=dict)
    ranks: Mapping[str, Ranks] = field(default_factory=dict)
    anchors: Mapping[str, float] = field(default_factory=dict)
    class_ranks: npt.NDArray[np.float64] | None = None
    sieve: CountSketch | None = None
    total: int = 0
    budget: int = 0


@dataclass(frozen=True)
class Anchor:
    """A statistic: the mean of column `of` over the `count` rows with the highest (or lowest) values of column `by`."""

    of: str
    by: str
    highest: bool = True
    count: int = 10


class Policy(ABC):
    """A plan, not a sort: the strata in which rows compete, the order of rows in a stratum, and the quota per stratum.

    Policies are frozen, picklable and pure: stratum and key of a row depend on that row and the GlobalStatistics alone,
    so the result cannot depend on the order or layout of the data.

    Attributes:
        version: increased whenever the policy keeps other rows; part of the identity of a plug-in's selections.
        example: settings of an arm beside `policy` in a small example, for documentation and tests.
        drops: whether no seed keeps some of the rows; unbiased weights then stand for the other rows.

    >>> from raysample.core.config import ArmConfig
    >>> from raysample.selection import choose_rows
    >>> from raysample.selection.policies import create_policy
    >>> rows = Rows.from_columns(["a", "b", "c", "d"], [0, 0, 0, 0], {"loss": [1, 4, 2, 3]})
    >>> policy = create_policy(ArmConfig(policy="hard", score="loss"), {"loss": "harder"})
    >>> choose_rows([rows], policy, budget=2)[0].tolist()
    [False, True, False, True]
    """

    version: ClassVar[str] = "1"
    example: ClassVar[Mapping[str, Any]] = {"score": "vog"}
    drops: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def from_arm(cls, arm: ArmConfig, higher_is: Mapping[str, str]) -> Self:
        """Return the policy of an arm; raises SelectionError for settings that the policy does not support."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns that the policy reads."""
        return ()

    @property
    def grouped(self) -> bool:
        """Whether the policy reads the rows' groups."""
        return False

    @property
    def entropies(self) -> bool:
        """Whether the key needs `GlobalStatistics.class_ranks`."""
        return False

    @property
    def moments_over(self) -> Grouping:
        """The groups whose mean and standard deviation the key needs, for every column."""
        return "none"

    @property
    def extremes(self) -> bool:
        """Whether the key or the strata need the smallest and the largest value in each of these groups, too."""
        return False

    @property
    def ranked(self) -> tuple[str, ...]:
        """The columns whose distribution function the key needs."""
        return ()

    @property
    def ranked_over(self) -> Grouping:
        """The groups whose distribution functions the key needs: the `corpus`, or each `class`."""
        return "corpus"

    @property
    def anchored(self) -> tuple[Anchor, ...]:
        """The anchors that the key needs."""
        return ()

    @property
    def chance(self) -> Chance:
        """How rows of a stratum are taken: `sure` by key, `lot` uniformly, `weight` by `log_weight`."""
        return "sure"

    def log_weight(self, rows: Rows, facts: GlobalStatistics) -> npt.NDArray[np.float64]:
        """Return ln w of each row, [n] float64, for draws by weight."""
        raise NotImplementedError(f"{type(self).__name__} does not draw by weight")

    @abstractmethod
    def strata(self, rows: Rows, facts: GlobalStatistics) -> IntArray:
        """Return the stratum in which each row competes: [n], any integers."""

    @abstractmethod
    def key(self, rows: Rows, facts: GlobalStatistics) -> Float32Array:
        """Return each row's priority in its stratum: [n], higher is kept first, never NaN; a hash breaks ties."""

    @abstractmethod
    def quotas(self, strata: IntArray, counts: IntArray, budget: int) -> IntArray:
        """Return how many rows each stratum keeps: [S], 0 <= quota <= count, summing to the budget."""

    @abstractmethod
    def stratum_name(self, stratum: int, labels: Sequence[str]) -> str:
        """Return a readable name of a stratum."""


def row_hash(rows: Rows, facts: GlobalStatistics) -> WordArray:
    """Return a seeded random word of each row, [n] uint64, which breaks ties and drives uniform draws."""
    return seeded(rows.identity, facts.seed)


def drawn_key(rows: Rows, facts: GlobalStatistics) -> Float32Array:
    """Return the leading 24 bits of each row's `row_hash` as a number in [0, 1), [n]; the other bits break ties.

    Rows are thus ordered by a random 64-bit word: every subset of a given size is equally likely over seeds.
    """
    return (row_hash(rows, facts) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def uniform(rows: Rows, facts: GlobalStatistics) -> npt.NDArray[np.float64]:
    """Return a seeded random number in (0, 1) for each row, [n], independent of its `row_hash`."""
    return _fraction(splitmix64(row_hash(rows, facts) ^ np.uint64(0xD1B54A32D192ED03)))


def hash_uniform(rows: Rows, facts: GlobalStatistics) -> npt.NDArray[np.float64]:
    """Return a seeded random number in (0, 1) for each row, [n], which rises with its `row_hash`.

    Draws by equal weights then keep the rows that a uniform draw of the same seed keeps (common random numbers), and
    draws by nearly equal weights nearly the same rows.
    """
    return _fraction(row_hash(rows, facts))


def _fraction(word: WordArray) -> npt.NDArray[np.float64]:
    """Return the leading 53 bits of each word as a number in (0, 1)."""
    return ((word >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
