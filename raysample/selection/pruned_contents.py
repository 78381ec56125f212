"""`apply` for a log: write the contents that a selection keeps, with counts and weights, as a training corpus."""

from __future__ import annotations

import pyarrow.compute as pc

from raysample.core import storage
from raysample.core.errors import ProvenanceError, SelectionError
from raysample.data.log.compaction import Contents
from raysample.selection import Selection
from raysample.selection.pruned_corpus import PRUNED_MANIFEST, WEIGHT, Applied
from raysample.selection.result import KEPT


def apply_to_contents(selection: Selection, contents: Contents, uri: str) -> Applied:
    """Write the kept contents into folder `uri` as Parquet, with all columns and each row's weight.

    Raises:
        ProvenanceError: the selection was made from other contents.
        SelectionError: `uri` exists already, or a kept content is missing.
    """
    if selection.corpus != contents.fingerprint:
        raise ProvenanceError(
            f"the selection {selection.uri!r} was made from other contents than {contents.uri!r} holds now",
            "score and sample the log again, then apply",
        )
    if storage.exists(uri):
        raise SelectionError(f"there is something at {uri!r} already", "give a folder that does not exist yet")
    kept, written, files = selection.kept().combine_chunks(), 0, list[str]()
    for number, place in enumerate(contents.places):
        rows = storage.read_parquet(place)
        at = pc.index_in(rows["id"], value_set=kept["row_id"].combine_chunks())
        chosen = rows.filter(pc.is_valid(at))
        if len(chosen):
            files.append(f"part-{number:05d}.parquet")
            weighed = chosen.append_column(WEIGHT, kept["weight"].take(at.drop_null()))
            storage.write_parquet(storage.join(uri, files[-1]), weighed)
            written += len(chosen)
    if written != selection.counts[KEPT]:
        raise SelectionError(
            f"the selection keeps {selection.counts[KEPT]:,} contents, {written:,} of them are there",
            "score and sample the log again",
        )
    provenance = {"selection": selection.name, "fingerprint": selection.fingerprint, "contents": contents.fingerprint}
    storage.write_json(storage.join(uri, PRUNED_MANIFEST), {**provenance, "rows": written, "files": files})
    return Applied(uri, written, tuple(files))
