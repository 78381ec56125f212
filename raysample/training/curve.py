"""The training curve: loss, learning rate, gradient norm and time of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pyarrow as pa

CURVE_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


@dataclass
class TrainingCurve:
    """The steps of a run, one entry each.

    `step` counts from 1, `epoch` is fractional, `loss` is the mean over the global batch, `learning_rate` is the
    encoder's, `gradient_norm` is before clipping (NaN if float16 overflowed and the step was skipped), `seconds` is the
    time since the first step of the process that made the step.
    """

    rows: list[tuple[int, float, float, float, float, float]] = field(default_factory=list)

    def add(self, step: int, epoch: float, loss: float, rate: float, norm: float, seconds: float) -> None:
        """Add a step."""
        self.rows.append((step, epoch, loss, rate, norm if math.isfinite(norm) else math.nan, seconds))

    @property
    def last(self) -> int:
        """The last step; 0 before the first."""
        return self.rows[-1][0] if self.rows else 0

    @property
    def seconds(self) -> float:
        """The seconds of all steps, over all processes that made them."""
        times = [row[-1] for row in self.rows]
        # Each process counts from 0: the time falls (or ends) after the last step of each process.
        return sum(time for time, after in zip(times, [*times[1:], -1.0], strict=False) if after < time)

    def table(self) -> pa.Table:
        """Return the curve as a table."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(CURVE_SCHEMA)
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, CURVE_SCHEMA, strict=True)], schema=CURVE_SCHEMA)

    @staticmethod
    def from_table(table: pa.Table) -> TrainingCurve:
        """Read the result of `table`."""
        columns = [table[name].to_pylist() for name in CURVE_SCHEMA.names]
        return TrainingCurve(list(zip(*columns, strict=True)))

    def means(self, points: int) -> list[tuple[int, float, float]]:
        """Return (last step, mean loss, last learning rate) of `points` intervals of about equal length, or fewer."""
        size = max(1, math.ceil(len(self.rows) / points))
        cut = [self.rows[start : start + size] for start in range(0, len(self.rows), size)]
        return [(part[-1][0], sum(row[2] for row in part) / len(part), part[-1][3]) for part in cut]
