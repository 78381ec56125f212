"""`sample`: apply an arm to a score table and write the Selection, part by part beside the table's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raysample import storage
from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.numerics.radix import splitmix64
from raysample.policies import create
from raysample.policies.base import Policy, Rows, group_codes
from raysample.policies.steps import Chain, columns_of, grouped
from raysample.selection.engine import Plan, plan_with
from raysample.selection.reasons import reasons
from raysample.selection.result import FOLDER, KEPT, MANIFEST, PRUNED, SCHEMA, Selection
from raysample.selection.spreading import Spread, threads
from raysample.selection.stages import Judgement, Threshold
from raysample.table import ScoreTable

BLOCK_ROWS = 1 << 18
PIECE_ROWS = 1 << 16  # judged and written at a time: a decision with its reason takes a hundred times its score's bytes
IN_MEMORY_ROWS = 1 << 22  # tables up to this size are read once for all counting passes


@dataclass(frozen=True)
class Written:
    """What one written part adds to the manifest: rows, kept rows per class, and the digest of the kept identities."""

    rows: int
    kept: tuple[int, ...]
    digest: int


def sample(
    table: ScoreTable,
    arm: ArmConfig,
    uri: str,
    *,
    fraction: float | None = None,
    count: int | None = None,
    seed: int = 0,
    spread: Spread = threads,
) -> Selection:
    """Choose rows of a score table and write the choice into folder `uri`.

    Args:
        table: the scores; policies without a score need only its ids and labels.
        arm: policy, score, normalisation and quota.
        uri: the folder; a selection already there is replaced.
        fraction: share of rows to keep, in (0, 1): round(fraction * rows) of them. Give this or `count`.
        count: rows to keep.
        seed: of ties and lots.
        spread: maps the work over the table's parts; with threads here, or `Engine.map`. The result is the same.

    Raises:
        ScoreError: the table has no such score.
        SelectionError: the arm, the budget or the scores do not allow a selection.
    """
    budget = asked_budget(fraction, count)
    if arm.score is not None:
        next(table.read((arm.score,)), None)  # names the missing column before anything is counted
    plan = settle(table, arm, budget, seed, spread)
    begin(uri)
    write = partial(write_part, table=table, plan=plan, arm=arm, uri=uri)
    written = list(spread(write, list(enumerate(table.parts))))
    return finish(table, arm, plan, uri, written, fraction)


def settle(table: ScoreTable, arm: ArmConfig, budget: float, seed: int = 0, spread: Spread = threads) -> Plan:
    """Return the plan of an arm for a score table: all counting passes, nothing written. Raises as `sample`."""
    policy = create(arm, {name: spec["higher_is"] for name, spec in table.scores.items()})
    columns = columns_of(policy)
    blocks = block_names(table)
    more = ("group",) if needs_groups(table, policy) else ()
    read = Blocks(table, columns, more, hold=table.counts["scored"] <= IN_MEMORY_ROWS)
    plan = plan_with(lambda visit: spread(partial(_visit, read, visit), blocks), policy, budget, seed)
    check_whole(plan, table)
    return plan


def asked_budget(fraction: float | None, count: int | None) -> float:
    """Return the one budget that was given: a fraction (float) or a count (int); raises SelectionError otherwise."""
    if (fraction is None) == (count is None):
        raise SelectionError(
            f"a budget is a fraction or a count, got fraction={fraction!r} and count={count!r}", "give exactly one"
        )
    if count is not None:
        return count
    assert fraction is not None
    return fraction if isinstance(fraction, bool) else float(fraction)


def needs_groups(table: ScoreTable, policy: Policy | Chain) -> bool:
    """Tell whether a policy looks at groups; raises SelectionError where the table has none."""
    if grouped(policy) and not table.grouped:
        raise SelectionError(
            f"the arm goes by groups, and the score table {table.uri!r} has none",
            "name their column (columns: {group: ...}) where the corpus is described, and score it again",
        )
    return grouped(policy)


def block_names(table: ScoreTable) -> list[tuple[str, ...]]:
    """Return the names of the table's parts in groups of about BLOCK_ROWS rows, as if all parts had as many."""
    size = max(1, BLOCK_ROWS * len(table.parts) // max(1, table.counts["scored"]))
    return [table.parts[start : start + size] for start in range(0, len(table.parts), size)]


@dataclass
class Blocks:
    """Reads some parts of a table as one block of rows; holds them for later passes where told to.

    What it holds stays in its process: where it is sent to, it reads anew.
    """

    table: ScoreTable
    columns: tuple[str, ...]
    more: tuple[str, ...]
    hold: bool
    held: dict[tuple[str, ...], Rows] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return Blocks, (self.table, self.columns, self.more, False)

    def __call__(self, names: tuple[str, ...]) -> Rows:
        """Return the block; its ids are read when they are first asked for: most passes never do."""
        if names in self.held:
            return self.held[names]
        whole = pa.concat_tables(self.table.read(self.columns, ("label", *self.more), names))
        scores = {name: whole[name].to_numpy() for name in self.columns}
        group = group_codes(whole["group"]) if self.more else None
        rows = Rows(partial(_ids, self.table, names), whole["label"].to_numpy(), scores, group=group)
        if self.hold:
            self.held[names] = rows
        return rows


def _visit(read: Blocks, visit: Callable[[Rows], Any], names: tuple[str, ...]) -> Any:
    return visit(read(names))


def _ids(table: ScoreTable, names: Sequence[str]) -> pa.Array:
    found = [part["row_id"].combine_chunks() for part in table.read((), ("row_id",), names)]
    return pa.concat_arrays([pa.array([], pa.string()), *found])


def check_whole(plan: Plan, table: ScoreTable) -> None:
    """Raise SelectionError unless the plan saw the rows and classes that the table's manifest promises."""
    if plan.rows != table.counts["scored"]:
        raise SelectionError(
            f"the score table {table.uri!r} promises {table.counts['scored']:,} rows, its parts hold {plan.rows:,}",
            "its files were changed after scoring; score again",
        )
    if len(plan.class_counts) > len(table.labels):
        raise SelectionError(
            f"the score table {table.uri!r} has {len(table.labels)} classes, its rows name {len(plan.class_counts)}",
            "its files were changed after scoring; score again",
        )


def begin(uri: str) -> None:
    """Make folder `uri` ready: a selection that lies there is taken away, its manifest first."""
    storage.remove(storage.join(uri, MANIFEST))
    storage.remove(storage.join(uri, FOLDER))


def part_uri(uri: str, number: int) -> str:
    """Return where part `number` lies, as the score table's part of that number."""
    return storage.join(uri, FOLDER, f"part-{number:05d}.parquet")


def write_part(numbered: tuple[int, str], table: ScoreTable, plan: Plan, arm: ArmConfig, uri: str) -> Written:
    """Judge one part of a score table and write its decisions; a pure function of its arguments, may be repeated."""
    number, name = numbered
    base = ("row_id", "label", "group") if plan.grouped else ("row_id", "label")
    part = next(table.read(plan.columns, base, (name,)))
    thresholds, told = plan.thresholds(table.labels), list[Written]()

    def pieces() -> Iterator[pa.Table]:
        for start in range(0, max(1, part.num_rows), PIECE_ROWS):
            rows = Rows.from_arrow(part.slice(start, PIECE_ROWS), plan.columns)
            judged = plan.judge(rows)
            yield decisions(rows, judged, thresholds, arm.name, plan.reweights)
            kept = np.bincount(rows.label[judged.kept], minlength=len(table.labels))
            digest = int(splitmix64(rows.identity[judged.kept]).sum(dtype=np.uint64))
            told.append(Written(len(rows), tuple(kept.tolist()), digest))

    storage.write_parquet_pieces(part_uri(uri, number), SCHEMA, pieces())
    kept = _column_sums([piece.kept for piece in told], len(table.labels))
    return Written(sum(piece.rows for piece in told), kept, sum(piece.digest for piece in told))


def decisions(
    rows: Rows, judged: Judgement, thresholds: Sequence[Threshold], name: str, reweights: bool = False
) -> pa.Table:
    """Return the decisions of some rows in the schema of a Selection.

    Kept rows weigh 1, or the inverse of their chance where `reweights`; pruned ones 0.
    """
    weight = judged.kept.astype(np.float32)
    if reweights:
        np.divide(1, judged.chance, out=weight, where=judged.kept, casting="same_kind")
    columns = {
        "row_id": rows.row_id,
        "label": rows.label,
        "decision": pc.if_else(pa.array(judged.kept), KEPT, PRUNED),
        "weight": weight,
        "keep_probability": judged.chance.astype(np.float32),
        "stratum": judged.stratum.astype(np.int32),
        "key": judged.key,
        "reason": reasons(judged, thresholds, name),
    }
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def finish(
    table: ScoreTable, arm: ArmConfig, plan: Plan, uri: str, written: Sequence[Written], fraction: float | None
) -> Selection:
    """Check what the parts hold and write the manifest. `written` is in part order.

    Raises SelectionError when the parts do not add up to the plan.
    """
    kept = _column_sums([part.kept for part in written], len(table.labels))
    if sum(kept) != plan.budget or sum(part.rows for part in written) != plan.rows:
        raise SelectionError(
            f"{sum(kept):,} rows were kept where the plan has {plan.budget:,}",
            "the score table changed while it was read; sample again",
        )
    quarantined = table.counts["quarantined"]
    pruned = plan.rows - plan.budget
    return Selection(
        uri=uri,
        parts=tuple(f"{FOLDER}/part-{number:05d}.parquet" for number in range(len(written))),
        arm=arm.plain(),
        fraction=fraction,
        seed=plan.seed,
        counts={"in": plan.rows + quarantined, KEPT: plan.budget, PRUNED: pruned, "quarantined": quarantined},
        class_counts=_column_sums([plan.class_counts], len(table.labels)),
        kept_class_counts=kept,
        thresholds=tuple(asdict(threshold) for threshold in plan.thresholds(table.labels)),
        labels=table.labels,
        corpus=table.corpus,
        scores=table.fingerprint if plan.columns else None,
        digest=f"{sum(part.digest for part in written) % 2**64:016x}",
    ).save()


def _column_sums(rows: Iterable[Sequence[int]], width: int) -> tuple[int, ...]:
    total: npt.NDArray[np.int64] = np.zeros(width, np.int64)
    for row in rows:
        total[: len(row)] += np.asarray(row, dtype=np.int64)
    return tuple(total.tolist())
