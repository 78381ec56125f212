"""`sample`: apply an arm to a score table and write the Selection, part by part beside the table's parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raysample import storage
from raysample.config import ArmConfig
from raysample.errors import SelectionError
from raysample.numerics.radix import splitmix64
from raysample.policies import create
from raysample.policies.base import Rows
from raysample.policies.steps import columns_of
from raysample.selection.engine import Parts, Plan, select
from raysample.selection.reasons import reasons
from raysample.selection.result import FOLDER, KEPT, MANIFEST, PRUNED, SCHEMA, Selection
from raysample.selection.stages import Judgement, Threshold
from raysample.table import ScoreTable

BLOCK_ROWS = 1 << 18
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
) -> Selection:
    """Choose rows of a score table and write the choice into folder `uri`.

    Args:
        table: the scores; policies without a score need only its ids and labels.
        arm: policy, score, normalisation and quota.
        uri: the folder; a selection already there is replaced.
        fraction: share of rows to keep, in (0, 1): round(fraction * rows) of them. Give this or `count`.
        count: rows to keep.
        seed: of ties and lots.

    Raises:
        ScoreError: the table has no such score.
        SelectionError: the arm, the budget or the scores do not allow a selection.
    """
    budget = asked_budget(fraction, count)
    if arm.score is not None:
        next(table.read((arm.score,)), None)  # names the missing column before anything is counted
    policy = create(arm, {name: spec["higher_is"] for name, spec in table.scores.items()})
    columns = columns_of(policy)
    plan = select(counting_parts(table, columns), policy, budget, seed)
    check_whole(plan, table)
    begin(uri)
    written = [
        write_part(part, plan, arm, table.labels, part_uri(uri, number))
        for number, part in enumerate(table.read(columns))
    ]
    return finish(table, arm, plan, uri, written, fraction)


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


def counting_parts(table: ScoreTable, columns: tuple[str, ...]) -> Parts:
    """Return the rows for the counting passes, in blocks; held in memory for all passes where the table is small."""
    if table.counts["scored"] > IN_MEMORY_ROWS:
        return lambda: _blocks(table, columns)
    held = list(_blocks(table, columns))
    return lambda: held


def _blocks(table: ScoreTable, columns: tuple[str, ...]) -> Iterator[Rows]:
    pending: list[pa.Table] = []
    names: list[str] = []
    for name, part in zip(table.parts, table.read(columns, ("label",)), strict=True):
        pending, names = [*pending, part], [*names, name]
        if sum(t.num_rows for t in pending) >= BLOCK_ROWS:
            yield _block(table, names, pending)
            pending, names = [], []
    if pending:
        yield _block(table, names, pending)


def _block(table: ScoreTable, names: Sequence[str], parts: Sequence[pa.Table]) -> Rows:
    """Return some parts as one block, whose ids are read when they are first asked for: most passes never do."""
    whole = pa.concat_tables(parts)
    scores = {name: whole[name].to_numpy() for name in whole.column_names if name != "label"}
    return Rows(partial(_ids, table, tuple(names)), whole["label"].to_numpy(), scores)


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


def write_part(part: pa.Table, plan: Plan, arm: ArmConfig, labels: Sequence[str], uri: str) -> Written:
    """Judge one part of a score table and write its decisions; a pure function of its arguments, may be repeated."""
    rows = Rows.from_arrow(part, plan.columns)
    judged = plan.judge(rows)
    storage.write_parquet(uri, decisions(rows, judged, plan.thresholds(labels), arm.name, plan.reweights))
    kept = np.bincount(rows.label[judged.kept], minlength=len(labels))
    digest = int(splitmix64(rows.identity[judged.kept]).sum(dtype=np.uint64))
    return Written(len(rows), tuple(kept.tolist()), digest)


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
