"""Selection: for every row of a score table whether it is kept, with weight, stratum, key and the reason in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig
from raysample.core.errors import ProvenanceError, SelectionError

MANIFEST = "selection.json"
FOLDER = "selection"
KEPT_FOLDER = "kept.parquet"
KEPT_SCHEMA = pa.schema([("row_id", pa.string()), ("weight", pa.float32())])
"""A folder that Parquet readers take as one file: ids and weights of the kept rows, part by part beside FOLDER."""
KEPT = "kept"
PRUNED = "pruned"
SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("label", pa.int32()),
        ("decision", pa.string()),
        ("weight", pa.float32()),
        ("keep_probability", pa.float32()),
        ("stratum", pa.int32()),
        ("key", pa.float32()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Selection:
    """The choice of one arm at one budget and seed, as it lies in folder `uri`.

    Attributes:
        uri: the folder. parts: Parquet files in SCHEMA, relative to it, row by row beside the score table's parts.
        arm: the ArmConfig as plain data. seed: of ties and lots.
        fraction, tokens: the budget as it was asked for; None if it was another, both None if it was a count of rows.
        counts: rows `in`, `kept`, `pruned` and `quarantined` (before scoring); the first is the sum of the others.
        class_counts, kept_class_counts: per class, before and after.
        thresholds: per step and stratum its number, name, rows, rows taken, and the key and tie word of its cut (None:
            all or nothing taken). A part's `stratum` is a place in this list.
        labels: class names.
        corpus, scores: fingerprints of what it was made from; `scores`, the table's, is None where no score was read.
        warnings: what the choice does to the classes, and scores that are mostly length, in words.
        digest: 64-bit sum (hex) over the kept rows' mixed identities: which rows are kept, whatever their order.
    """

    uri: str
    parts: tuple[str, ...]
    arm: dict[str, Any]
    fraction: float | None
    seed: int
    counts: dict[str, int]
    class_counts: tuple[int, ...]
    kept_class_counts: tuple[int, ...]
    thresholds: tuple[dict[str, Any], ...]
    labels: tuple[str, ...]
    corpus: str
    scores: str | None
    digest: str
    tokens: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The arm's name, for example `hard(vog|class)`."""
        return ArmConfig(**self.arm).name

    @property
    def fingerprint(self) -> str:
        """Identity: what it was made from, how, and exactly which rows are kept; not how the files are cut."""
        made = [self.arm, self.seed, list(self.labels), self.corpus, self.scores]
        return storage.fingerprint([*made, self.counts, list(self.kept_class_counts), self.digest])

    def save(self) -> Selection:
        """Write the manifest, which makes the selection complete; raises SelectionError when rows were lost."""
        kinds = sum(self.counts[name] for name in (KEPT, PRUNED, "quarantined"))
        if self.counts["in"] != kinds or sum(self.kept_class_counts) != self.counts[KEPT]:
            raise SelectionError(
                f"rows were lost: {self.counts}, kept per class {self.kept_class_counts}",
                "please report this; do not use the selection",
            )
        data = {key: value for key, value in asdict(self).items() if key != "uri"}
        made = {"noun": "Selection", "name": self.name, **data, "fingerprint": self.fingerprint}
        storage.write_json(storage.join(self.uri, MANIFEST), made)
        return self

    @staticmethod
    def load(uri: str) -> Selection:
        """Read the selection that lies in folder `uri`; raises ProvenanceError if its manifest was edited."""
        place = storage.join(uri, MANIFEST)
        recorded = manifests.mapping(place, "fingerprint")["fingerprint"]
        selection = manifests.kind_of(Selection, place, uri=uri)
        with manifests.damaged(place):
            found = selection.fingerprint
        if found != recorded:
            raise ProvenanceError(
                f"the manifest of selection {uri!r} does not match its fingerprint: it was edited",
                "sample again",
            )
        return selection

    def read(self, columns: tuple[str, ...] = tuple(SCHEMA.names)) -> Iterator[pa.Table]:
        """Yield the parts in the score table's order, in SCHEMA."""
        expected = pa.schema([SCHEMA.field(name) for name in columns])
        for part in self.parts:
            yield _cast(storage.join(self.uri, part), expected)

    def kept(self) -> pa.Table:
        """Return `row_id` and `weight` of the kept rows, in the score table's order; needs `kept.parquet` alone."""
        names = (part.replace(FOLDER, KEPT_FOLDER, 1) for part in self.parts)
        found = [_cast(storage.join(self.uri, name), KEPT_SCHEMA) for name in names]
        return pa.concat_tables([KEPT_SCHEMA.empty_table(), *found])

    def kept_ids(self) -> pa.Array:
        """Return the ids of the kept rows, in the score table's order, as one string array (for `pc.is_in`)."""
        return pa.concat_arrays([pa.array([], pa.string()), *self.kept()["row_id"].chunks])

    def to_arrow(self) -> pa.Table:
        """Return the whole selection in memory."""
        return pa.concat_tables([SCHEMA.empty_table(), *self.read()])

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole selection as a pandas frame, with the class names in a column `class`."""
        frame = self.to_arrow().to_pandas()
        frame.insert(2, "class", [self.labels[i] for i in frame["label"]])
        return frame


def _cast(uri: str, expected: pa.Schema) -> pa.Table:
    """Read the columns of a schema; raises StorageError where the file has others."""
    table = storage.read_parquet(uri, expected.names)
    with manifests.damaged(uri):
        return table.select(expected.names).cast(expected)
