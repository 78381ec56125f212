"""`sample`: apply an arm to a score table and write the Selection, part by part like the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raysample.core import storage
from raysample.core.config import ArmConfig
from raysample.core.errors import SelectionError
from raysample.core.map_fn import MapFn, threads
from raysample.core.numerics.radix import splitmix64
from raysample.data.score_table import COUNT_COLUMN, GROUP_CODE_COLUMN, ScoreTable
from raysample.evaluation.class_balance import class_losses
from raysample.selection.budgets import Tokens, fit_token_budget, requested_budget
from raysample.selection.engine import SelectionPlan, plan_with
from raysample.selection.lengths import length_warnings
from raysample.selection.policies import create_policy, policy_plugin
from raysample.selection.policies.base import Rows
from raysample.selection.policies.steps import policy_columns
from raysample.selection.reasons import reasons
from raysample.selection.redraws import check_single
from raysample.selection.result import (
    KEPT,
    KEPT_FOLDER,
    KEPT_SCHEMA,
    PRUNED,
    SELECTION_FOLDER,
    SELECTION_MANIFEST,
    SELECTION_SCHEMA,
    Selection,
)
from raysample.selection.stages import StageDecision, Threshold
from raysample.selection.table_blocks import IN_MEMORY_ROWS, Blocks, block_names, needs_groups

PIECE_ROWS = 1 << 16  # rows judged and written at a time: a decision with its reason takes 100 times the score's bytes


@dataclass(frozen=True)
class Written:
    """Counts of one written part: rows, kept rows per class, and the digest of the kept identities."""

    rows: int
    kept: tuple[int, ...]
    digest: int


def write_selection(
    table: ScoreTable,
    arm: ArmConfig,
    uri: str,
    *,
    fraction: float | None = None,
    count: int | None = None,
    tokens: int | None = None,
    seed: int = 0,
    map_fn: MapFn = threads,
) -> Selection:
    """Select rows of a score table and write the selection into folder `uri`.

    Args:
        table: the scores; policies without a score need only its ids and labels.
        arm: policy, score, normalisation and quota.
        uri: the folder; a selection already there is replaced.
        fraction: share of rows to keep, in (0, 1): round(fraction * rows) rows. Give exactly one budget.
        count: rows to keep.
        tokens: maximum number of tokens of all kept rows together.
        seed: seed of ties and random draws.
        map_fn: maps a function over the table's parts: threads by default, or `Executor.map`. The result is the same.

    Raises:
        ScoreError: the table lacks the arm's score.
        SelectionError: the arm, the budget or the scores do not allow a selection.
    """
    check_single(arm)
    budget = requested_budget(fraction, count, tokens)
    _check_copies(table, arm)
    if arm.score is not None:
        next(table.read((arm.score,)), None)  # raises ScoreError for a missing column before the counting passes
    plan = plan_arm(table, arm, budget, seed, map_fn)
    begin(uri)
    write = partial(write_part, table=table, plan=plan, arm=arm, uri=uri)
    written = list(map_fn(write, list(enumerate(table.parts))))
    return write_manifest(table, arm, plan, uri, written, fraction, tokens)


def _check_copies(table: ScoreTable, arm: ArmConfig) -> None:
    """Raise SelectionError if an arm uses copies and the table has no counts."""
    if arm.copies is not None and not table.counted:
        raise SelectionError(
            f"the arm weighs rows by their copies, and the score table {table.uri!r} does not count any",
            "compact the log and score its contents, or leave `copies` out",
        )


def plan_arm(
    table: ScoreTable, arm: ArmConfig, budget: float | Tokens, seed: int = 0, map_fn: MapFn = threads
) -> SelectionPlan:
    """Return the plan of an arm for a score table: all counting passes, nothing written. Raises like `sample`."""
    rows, blocks = table.counts["scored"], block_names(table)
    total = sum(map_fn(partial(_count_tokens, table), blocks)) if isinstance(budget, Tokens) else 0
    policy = create_policy(arm, table.higher_is)
    more = (GROUP_CODE_COLUMN,) if needs_groups(table, policy) else ()
    read = Blocks(table, policy_columns(policy), more, hold=rows <= IN_MEMORY_ROWS)

    def settled(size: float) -> SelectionPlan:
        """Return the plan for a budget in rows."""
        return plan_with(lambda visit: map_fn(partial(read.visit, visit), blocks), policy, size, seed)

    def weigh(plan: SelectionPlan) -> int:
        """Return the number of tokens of the rows that a plan keeps."""
        return sum(map_fn(partial(_kept_tokens, read, plan), blocks))

    plan = (
        fit_token_budget(settled, weigh, budget.count, rows, total) if isinstance(budget, Tokens) else settled(budget)
    )
    check_whole(plan, table)
    return plan


def _count_tokens(table: ScoreTable, names: Sequence[str]) -> int:
    """Return the tokens of some parts."""
    return sum(pc.sum(part["tokens"]).as_py() or 0 for part in table.read((), ("tokens",), names))


def _kept_tokens(read: Blocks, plan: SelectionPlan, names: tuple[str, ...]) -> int:
    """Return the tokens of the rows that a plan keeps in some parts."""
    tokens = [part["tokens"].to_numpy() for part in read.table.read((), ("tokens",), names)]
    return int(np.concatenate(tokens)[plan.keep(read(names))].sum(dtype=np.int64))


def check_whole(plan: SelectionPlan, table: ScoreTable) -> None:
    """Raise SelectionError unless the plan counted the rows and classes that the table's manifest records."""
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
    """Delete an earlier selection in folder `uri`: its manifest first, so that an interrupted run leaves none."""
    storage.remove(storage.join(uri, SELECTION_MANIFEST))
    for folder in (SELECTION_FOLDER, KEPT_FOLDER):
        storage.remove(storage.join(uri, folder))


def selection_part_uri(uri: str, number: int, folder: str = SELECTION_FOLDER) -> str:
    """Return the URI of part `number`, which has the rows of the score table's part of that number."""
    return storage.join(uri, folder, f"part-{number:05d}.parquet")


def write_part(numbered: tuple[int, str], table: ScoreTable, plan: SelectionPlan, arm: ArmConfig, uri: str) -> Written:
    """Judge one part of a score table and write its decisions. Idempotent, so a worker may repeat it."""
    number, name = numbered
    base = (
        "row_id",
        "label",
        *((GROUP_CODE_COLUMN,) if plan.grouped else ()),
        *((COUNT_COLUMN,) if arm.copies is not None else ()),
    )
    part = next(table.read(plan.columns, base, (name,)))
    thresholds, counts, kept_rows = plan.thresholds(table.labels), list[Written](), list[pa.Table]()

    def pieces() -> Iterator[pa.Table]:
        """Yield the part's decisions, block by block."""
        for start in range(0, max(1, part.num_rows), PIECE_ROWS):
            rows = Rows.from_arrow(part.slice(start, PIECE_ROWS), plan.columns)
            judged = plan.judge(rows)
            decided = decisions(rows, judged, thresholds, arm.name, plan.reweights)
            if arm.copies is not None:
                decided = _weighed(decided, part[COUNT_COLUMN].slice(start, PIECE_ROWS), arm.copies)
            kept_rows.append(decided.select(KEPT_SCHEMA.names).filter(pa.array(judged.kept)))
            yield decided
            kept = np.bincount(rows.label[judged.kept], minlength=len(table.labels))
            digest = int(splitmix64(rows.identity[judged.kept]).sum(dtype=np.uint64))
            counts.append(Written(len(rows), tuple(kept.tolist()), digest))

    storage.write_parquet_pieces(selection_part_uri(uri, number), SELECTION_SCHEMA, pieces())
    storage.write_parquet_pieces(selection_part_uri(uri, number, KEPT_FOLDER), KEPT_SCHEMA, kept_rows)
    kept = _column_sums([piece.kept for piece in counts], len(table.labels))
    return Written(sum(piece.rows for piece in counts), kept, sum(piece.digest for piece in counts))


def _weighed(decided: pa.Table, count: pa.ChunkedArray, most: int | str) -> pa.Table:
    """Return decisions with weights multiplied by the number of copies, at most `most`."""
    copies = count if most == "all" else pc.min_element_wise(count, pa.scalar(most, pa.int64()))
    weight = pc.multiply(decided["weight"], copies.cast(pa.float32()))
    return decided.set_column(decided.schema.get_field_index("weight"), SELECTION_SCHEMA.field("weight"), weight)


def decisions(
    rows: Rows, judged: StageDecision, thresholds: Sequence[Threshold], name: str, reweights: bool = False
) -> pa.Table:
    """Return the decisions of some rows in the schema of a Selection.

    The weight of kept rows is 1, or the inverse of their keep probability if `reweights`; that of pruned rows is 0.
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
    return pa.table(
        {field.name: pa.array(columns[field.name], field.type) for field in SELECTION_SCHEMA}, schema=SELECTION_SCHEMA
    )


def write_manifest(
    table: ScoreTable,
    arm: ArmConfig,
    plan: SelectionPlan,
    uri: str,
    written: Sequence[Written],
    fraction: float | None,
    tokens: int | None = None,
) -> Selection:
    """Check the counts of the parts (`written`, in part order) against the plan and write the manifest.

    Raises:
        SelectionError: the parts do not add up to the plan.
    """
    kept = _column_sums([part.kept for part in written], len(table.labels))
    if sum(kept) != plan.budget or sum(part.rows for part in written) != plan.rows:
        raise SelectionError(
            f"{sum(kept):,} rows were kept where the plan has {plan.budget:,}",
            "the score table changed while it was read; sample again",
        )
    quarantined, plugin = table.counts["quarantined"], policy_plugin(arm)
    pruned = plan.rows - plan.budget
    return Selection(
        uri=uri,
        parts=tuple(f"{SELECTION_FOLDER}/part-{number:05d}.parquet" for number in range(len(written))),
        arm=arm.to_dict(),
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
        tokens=tokens,
        warnings=_warnings(table, plan, kept),
        plugin=None if plugin is None else plugin.to_dict(),
    ).save()


def _warnings(table: ScoreTable, plan: SelectionPlan, kept: Sequence[int]) -> tuple[str, ...]:
    """Return warnings about classes that lose rows and about scores that mostly measure length."""
    before = _column_sums([plan.class_counts], len(table.labels))
    losses = class_losses(table.labels, before, kept, plan.budget / max(plan.rows, 1))
    return (*(f"it {loss}" for loss in losses), *_missed(plan, table), *length_warnings(table, plan.columns))


def _missed(plan: SelectionPlan, table: ScoreTable) -> tuple[str, ...]:
    """Return a warning if weights promise unbiased sums though rows have no chance: strata that take no row at all."""
    if not plan.reweights:
        return ()
    cuts = plan.thresholds(table.labels)
    # Rows that an earlier step does not take have their chance in the last one.
    empty = [cut for cut in cuts if cut.step == cuts[-1].step and cut.rows and not cut.kept]
    if not empty:
        return ()
    names, rows = ", ".join(cut.name for cut in empty[:3]), sum(cut.rows for cut in empty)
    return (
        f"its weights stand for no row of {len(empty):,} strata that keep none "
        f"({names}{', ...' if len(empty) > 3 else ''}; {rows:,} rows): weighted sums miss these rows; keep more rows, "
        "or set quota: balanced",
    )


def _column_sums(rows: Iterable[Sequence[int]], width: int) -> tuple[int, ...]:
    """Return the element-wise sum of count vectors, padded to `width`."""
    total: npt.NDArray[np.int64] = np.zeros(width, np.int64)
    for row in rows:
        total[: len(row)] += np.asarray(row, dtype=np.int64)
    return tuple(total.tolist())
