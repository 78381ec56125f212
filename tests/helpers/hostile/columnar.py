"""Sources in columns: Parquet, Arrow files, and folders of `datasets`, with damage to bytes, schemas and metadata."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.hostile.damage import HOSTILE, byte_damage, damage_file, file_damage, json_damage, linked
from tests.helpers.hostile.kinds import Kind
from tests.helpers.hostile.rows import NASTY, Truth, check

FEATURES = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}}}
OTHER_NAMES = ("a.jsonl", "a.csv", "a.parquet.gz", "_a.parquet", ".a.parquet", "a.PARQUET")
ODD_TYPES = (
    *(pa.binary(), pa.large_string(), pa.float64(), pa.int8(), pa.uint64(), pa.bool_(), pa.null(), pa.date32()),
    *(pa.timestamp("us", tz="Mars/Phobos"), pa.timestamp("ns"), pa.duration("s"), pa.list_(pa.string())),
    *(pa.struct([("a", pa.int64())]), pa.dictionary(pa.int32(), pa.string()), pa.decimal128(5, 1), pa.string_view()),
)


def _parquet(rng: Random, templates: Path, scratch: Path) -> None:
    del templates
    good = [f"{rng.choice(NASTY)} {i}" for i in range(rng.randrange(3, 60))]
    labels = ["ab"[i % 2] for i in range(len(good))]
    broken = rng.randrange(3)
    table = pa.table({"text": [*good, *([None] * broken)], "label": [*labels, *(["a"] * broken)]})
    known: Truth | None = Truth(tuple(good), broken)
    if rng.random() < 0.4:
        table, known = _odd(rng, table), None
    if rng.random() < 0.2:
        text = json_damage(rng, FEATURES) if rng.random() < 0.8 else "{"
        table = table.replace_schema_metadata({b"huggingface": text.encode("utf-8", "surrogatepass")})
        known = None
    (scratch / "source").mkdir()
    arrow = rng.random() < 0.1
    path = scratch / "source" / f"a.{'arrow' if arrow else rng.choice(('parquet', 'pq'))}"
    _write(rng, table, path, arrow)
    way = rng.random()
    if way < 0.5:
        path.write_bytes(byte_damage(rng, path.read_bytes()))
        known = None
    elif way < 0.55:
        file_damage(rng, path)
        known = None
    elif way < 0.6:
        path.rename(
            path.with_name(rng.choice(("a.jsonl", "a.csv", "a.parquet.gz", "_a.parquet", ".a.parquet", "a.PARQUET")))
        )
    if rng.random() < 0.3:
        pq.write_table(pa.table({"text": ["more", "and more"], "label": ["a", "b"]}), scratch / "source" / "b.parquet")
        known = None
    where = {"where": {"label": rng.choice(("a", "1", "z"))}} if known is None and rng.random() < 0.1 else {}
    check(scratch / "source", scratch, known, **where)


def _odd(rng: Random, table: pa.Table) -> pa.Table:
    way = rng.randrange(4)
    if way == 0:  # a name that stands twice, or none
        names = rng.choice((["text", "text"], ["label", "label"], ["text", ""], ["", "label"], ["a\0b", "label"]))
        return table.rename_columns(names)
    if way == 1:
        names = ["text", "label", rng.choice(("text", "label", "x", "row_id", "Text"))]
        return pa.table([table["text"], table["label"], table["text"]], names=names)
    kind, name = rng.choice(ODD_TYPES), rng.choice(("text", "label"))
    values = _values_of(kind, table.num_rows)
    return table.set_column(table.schema.get_field_index(name), name, values)


def _values_of(kind: pa.DataType, rows: int) -> pa.Array:
    try:
        return pa.array(range(rows), pa.int64()).cast(kind)
    except pa.ArrowException:
        plain: Any = {"a": 1} if pa.types.is_struct(kind) else ["x"] if pa.types.is_list(kind) else None
        try:
            return pa.array(["x" if plain is None else plain] * rows, kind)
        except (pa.ArrowException, TypeError):
            return pa.nulls(rows, kind)


def _write(rng: Random, table: pa.Table, path: Path, arrow: bool) -> None:
    if arrow:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return
    how = rng.choice(("none", "snappy", "zstd", "gzip", "lz4"))
    try:
        pq.write_table(
            table,
            path,
            compression=how,
            row_group_size=rng.choice((1, 7, 1000)),
            use_dictionary=rng.random() < 0.5,
            write_statistics=rng.random() < 0.5,
            data_page_version=rng.choice(("1.0", "2.0")),
            write_page_checksum=rng.random() < 0.3,
        )
    except (pa.ArrowException, ValueError):  # what Parquet cannot hold
        path.write_bytes(b"PAR1" + rng.randbytes(100) + b"PAR1")


def prepare_datasets(folder: Path) -> None:
    """Write a folder of one data set and one of two splits."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    made = datasets.Dataset.from_dict(
        {"text": [f"text {i}" for i in range(20)], "label": [i % 2 for i in range(20)]}, features=features
    )
    made.save_to_disk(folder / "one")
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(folder / "splits")


def _datasets(rng: Random, templates: Path, scratch: Path) -> None:
    which = rng.choice(("one", "one", "splits"))
    place = linked(templates / "datasets" / which, scratch / "source")
    every = sorted(path for path in place.rglob("*") if path.is_file())
    for _ in range(rng.choice((0, 1, 1, 2))):
        path = rng.choice(every)
        if path.is_file() and not path.is_symlink():
            damage_file(rng, path)
    if rng.random() < 0.1:
        (place / "dataset_info.json").unlink(missing_ok=True)
        (place / "dataset_info.json").write_text(json.dumps({"features": rng.choice(HOSTILE[:12])}))
    split = {"split": rng.choice(("train", "test", "none"))} if which == "splits" else {}
    check(place, scratch, None, **split)


KINDS = (Kind("parquet", 11_000, _parquet), Kind("datasets", 2_000, _datasets, needs=("datasets",)))
