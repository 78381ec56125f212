"""Selection: the decision on every row of a score table, with weight, stratum, key and the reason as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from raysample.core import manifests, storage
from raysample.core.config import ArmConfig
from raysample.core.errors import ProvenanceError, SelectionError

SELECTION_MANIFEST = "selection.json"
SELECTION_FOLDER = "selection"
KEPT_FOLDER = "kept.parquet"
KEPT_SCHEMA = pa.schema([("row_id", pa.string()), ("weight", pa.float32())])
"""Schema of KEPT_FOLDER, which Parquet readers read as one file: ids and weights of the kept rows."""
KEPT = "kept"
PRUNED = "pruned"
SELECTION_SCHEMA = pa.schema(
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
    """The selection of one arm at one budget and seed, stored in folder `uri`.

    Attributes:
        uri: the folder.
        parts: Parquet files in SELECTION_SCHEMA relative to `uri`, with the same rows as the score table's parts.
        arm: the ArmConfig as a dictionary.
        seed: seed of ties and random draws.
        fraction, tokens: the requested budget; None if another kind was requested, both None for a count of rows.
        counts: rows `in`, `kept`, `pruned` and `quarantined` (before scoring); the first is the sum of the others.
        class_counts, kept_class_counts: rows per class before and after, [C].
        thresholds: per step and stratum: number, name, rows, rows taken, key and tie word of the cut (None: all or no
            rows taken). The column `stratum` is an index into this list.
        labels: class names.
        corpus, scores: fingerprints of corpus and score table; `scores` is None if the arm reads no score.
        warnings: sentences about classes that lose rows, and about scores that mostly measure length.
        plugin: class, version and source hash of the policy if it is a plug-in.
        digest: 64-bit sum (hex) of the kept rows' mixed identities: identifies the set of kept rows in any order.

    >>> import raysample
    >>> from raysample.testing import tiny_checkpoints, tiny_corpus_files
    >>> table = raysample.score(tiny_checkpoints("run"), tiny_corpus_files("train", rows=60), ["el2n"])
    >>> easy = raysample.sample(table, "easy", score="el2n", fraction=0.25)
    >>> len(raysample.Selection.load(easy.uri).kept_ids())
    15
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
    plugin: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """The arm's name, for example `hard(vog|class)`."""
        return ArmConfig(**self.arm).name

    @property
    def fingerprint(self) -> str:
        """Identity: hash of arm, seed, provenance, counts and the set of kept rows; independent of the file layout."""
        plugin = [] if self.plugin is None else [self.plugin]
        provenance = [self.arm, self.seed, list(self.labels), self.corpus, self.scores]
        return storage.fingerprint([*provenance, self.counts, list(self.kept_class_counts), self.digest, *plugin])

    def save(self) -> Selection:
        """Write the manifest, which completes the selection; raises SelectionError if the row counts do not add up."""
        kinds = sum(self.counts[name] for name in (KEPT, PRUNED, "quarantined"))
        if self.counts["in"] != kinds or sum(self.kept_class_counts) != self.counts[KEPT]:
            raise SelectionError(
                f"rows were lost: {self.counts}, kept per class {self.kept_class_counts}",
                "please report this; do not use the selection",
            )
        left_out = {"uri"} if self.plugin is not None else {"uri", "plugin"}
        data = {key: value for key, value in asdict(self).items() if key not in left_out}
        manifest = {"noun": "Selection", "name": self.name, **data, "fingerprint": self.fingerprint}
        storage.write_json(storage.join(self.uri, SELECTION_MANIFEST), manifest)
        return self

    @staticmethod
    def load(uri: str) -> Selection:
        """Read the selection in folder `uri`; raises ProvenanceError if its manifest was edited."""
        place = storage.join(uri, SELECTION_MANIFEST)
        recorded = manifests.mapping(place, "fingerprint")["fingerprint"]
        selection = manifests.kind_of(Selection, place, uri=uri)
        with manifests.damaged(place):
            found = selection.fingerprint
        if found != recorded:
            raise ProvenanceError(
                f"the manifest of selection {uri!r} does not match its fingerprint: it was edited",
                "sample again",
            )
        manifests.check_parts(selection.parts, place)
        return selection

    def read(self, columns: tuple[str, ...] = tuple(SELECTION_SCHEMA.names)) -> Iterator[pa.Table]:
        """Yield the parts in the score table's order, in SELECTION_SCHEMA.

        Raises:
            StorageError: a part cannot be read, or the parts do not hold the number of rows kept and pruned.
        """
        expected = pa.schema([SELECTION_SCHEMA.field(name) for name in columns])
        rows = self.counts[KEPT] + self.counts[PRUNED]
        yield from self._all_rows((_cast(storage.join(self.uri, part), expected) for part in self.parts), rows)

    def kept(self) -> pa.Table:
        """Return `row_id` and `weight` of the kept rows, in the score table's order; reads only `kept.parquet`."""
        names = (part.replace(SELECTION_FOLDER, KEPT_FOLDER, 1) for part in self.parts)
        found = (_cast(storage.join(self.uri, name), KEPT_SCHEMA) for name in names)
        return pa.concat_tables([KEPT_SCHEMA.empty_table(), *self._all_rows(found, self.counts[KEPT])])

    def _all_rows(self, tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
        """Yield tables of all parts; raises StorageError after the last one if they hold another number of rows."""
        return manifests.all_rows(tables, rows, storage.join(self.uri, SELECTION_MANIFEST))

    def kept_ids(self) -> pa.Array:
        """Return the ids of the kept rows, in the score table's order, as one string array (for `pc.is_in`)."""
        return pa.concat_arrays([pa.array([], pa.string()), *self.kept()["row_id"].chunks])

    def to_arrow(self) -> pa.Table:
        """Return the whole selection in memory."""
        return pa.concat_tables([SELECTION_SCHEMA.empty_table(), *self.read()])

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole selection as a pandas frame, with the class names in a column `class`."""
        frame = self.to_arrow().to_pandas()
        frame.insert(2, "class", [self.labels[i] for i in frame["label"]])
        return frame


def _cast(uri: str, expected: pa.Schema) -> pa.Table:
    """Read the columns of a schema from a Parquet file; raises StorageError if the file has others."""
    table = storage.read_parquet(uri, expected.names)
    with manifests.damaged(uri):
        return table.select(expected.names).cast(expected)
