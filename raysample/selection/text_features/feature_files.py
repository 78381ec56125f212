"""Features of a corpus on storage: one Parquet file per shard, made once, resumed after an interruption.

::

    features.json                       what they are: corpus, source, pooling, dimension
    features-<key>/part-<shard>.parquet row_id, vector (float16 [D]), in the shard's order
    features-<key>/projection.safetensors   the fitted n-grams, where there is no encoder
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from raysample.core import manifests, storage
from raysample.core.config import ModelConfig
from raysample.core.errors import ProvenanceError, StorageError
from raysample.core.map_fn import MapFn, threads
from raysample.core.numerics.radix import seeded
from raysample.data.corpus import Corpus
from raysample.data.identity import hash_row_ids
from raysample.data.row_sampling import sample_corpus
from raysample.data.score_table_layout import part_name
from raysample.selection.text_features.ngrams import FITTED_ROWS, NgramProjection
from raysample.selection.text_features.text_features import (
    TextFeatures,
    Vectors,
    encoder_features,
    fit_projection,
    projected,
)

FEATURES_MANIFEST = "features.json"
PROJECTION = "projection.safetensors"
_VERSION = 1
_loading = Lock()


@dataclass(frozen=True)
class FeatureFiles:
    """Features of every usable row of a corpus, in folder `uri`.

    Attributes:
        uri: the folder.
        parts: the files, in the order of the shards, relative to `uri`.
        corpus: fingerprint of the corpus.
        source: `ngrams`, or the encoder's folder or name.
        pooling: how a text's vector comes from its parts.
        dimension: D.
        key: identity of the corpus and of what the features are made by.
    """

    uri: str
    parts: tuple[str, ...]
    corpus: str
    source: str
    pooling: str
    dimension: int
    key: str

    @staticmethod
    def load(uri: str) -> FeatureFiles:
        """Read the manifest in folder `uri`; raises StorageError if it is missing or damaged."""
        place = storage.join(uri, FEATURES_MANIFEST)
        found = manifests.kind_of(FeatureFiles, place, uri=uri)
        manifests.check_parts(found.parts, place)
        return found

    def read(self, part: int, row_ids: pa.ChunkedArray) -> Vectors:
        """Return the vectors of a shard's rows, [n, D] float16; raises ProvenanceError if these are other rows."""
        table = storage.read_parquet(storage.join(self.uri, self.parts[part]), ["row_id", "vector"])
        if not table["row_id"].equals(row_ids):
            raise ProvenanceError(
                f"the features {self.parts[part]!r} in {self.uri!r} belong to other rows than shard {part}",
                "delete the folder, and run the command again",
            )
        return _vectors(table["vector"]).reshape(-1, self.dimension)


@dataclass(frozen=True)
class FeatureJob:
    """What a worker needs to make the features of a shard; picklable.

    Attributes:
        corpus: URI of the corpus. folder: of the feature files.
        encoder: the frozen encoder; None for the n-grams whose projection lies in the folder.
        device: where the encoder runs.
    """

    corpus: str
    folder: str
    encoder: ModelConfig | None
    device: str

    def write(self, index: int) -> int:
        """Write the features of a shard unless they are there; return D."""
        corpus = Corpus.load(self.corpus)
        uri = storage.join(self.folder, part_name(corpus.shards[index]))
        if storage.exists(uri):
            return int(storage.read_parquet(uri, ["vector"]).schema.field("vector").type.list_size)
        rows, features = corpus.read(index), self.features()
        pairs = None if corpus.source.columns.text_pair is None else rows["text_pair"].to_pylist()
        vectors = features(rows["text"].to_pylist(), pairs)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        storage.write_parquet(uri, pa.table({"row_id": rows["row_id"], "vector": column}))
        return int(vectors.shape[1])

    def features(self) -> TextFeatures:
        """Return the features, loaded once per process."""
        with _loading:
            # The folder's name has the key, so other files of an encoder are another entry.
            return _loaded(self.folder, None if self.encoder is None else self.encoder.model_dump_json(), self.device)


@lru_cache(maxsize=1)
def _loaded(folder: str, encoder: str | None, device: str) -> TextFeatures:
    """Load an encoder, whose settings are JSON, or the projection in a folder of features."""
    if encoder is not None:
        return encoder_features(ModelConfig.model_validate_json(encoder), device)
    return projected(_read_projection(storage.join(folder, PROJECTION)))


def write_features(
    corpus: Corpus,
    uri: str,
    encoder: ModelConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    map_fn: MapFn = threads,
) -> FeatureFiles:
    """Make the features of a corpus, or finish those in folder `uri`.

    Args:
        corpus: the corpus.
        uri: the folder; features of another corpus or encoder are left where they are.
        encoder: a frozen encoder; None for n-grams, fitted on a seeded sample of the corpus.
        seed: seed of the sample.
        device: where the encoder runs.
        map_fn: maps a function over shards: threads by default, or `Executor.map`.

    Raises:
        CorpusError: no n-gram is in two texts.
        ModelError: the encoder cannot be loaded, or gives vectors that are not finite.
    """
    key = storage.fingerprint([_VERSION, corpus.fingerprint, _identity(encoder), seed if encoder is None else 0])
    folder = f"features-{key[:12]}"
    job = FeatureJob(corpus.uri, storage.join(uri, folder), encoder, device)
    if encoder is None:
        place = storage.join(job.folder, PROJECTION)
        if not storage.exists(place):
            _write_projection(place, _fitted(corpus, seed))
    dimensions = set(map_fn(job.write, range(len(corpus.shards))))
    if len(dimensions) != 1:
        raise StorageError(
            f"the features in {job.folder!r} have several dimensions: {sorted(dimensions)}", "delete the folder"
        )
    features = job.features()
    names = tuple(f"{folder}/{part_name(shard)}" for shard in corpus.shards)
    found = FeatureFiles(uri, names, corpus.fingerprint, features.source, features.pooling, dimensions.pop(), key)
    data = {name: value for name, value in asdict(found).items() if name != "uri"}
    storage.write_json(storage.join(uri, FEATURES_MANIFEST), {"noun": "Features", **data})
    return found


def _fitted(corpus: Corpus, seed: int) -> NgramProjection:
    """Return n-grams fitted on a sample of a corpus, which does not depend on the order of its rows."""
    rows = sample_corpus(corpus, FITTED_ROWS, seed)
    rows = rows.take(pa.array(np.argsort(seeded(hash_row_ids(rows["row_id"]), seed), kind="stable")))
    pairs = None if corpus.source.columns.text_pair is None else rows["text_pair"].to_pylist()
    return fit_projection(rows["text"].to_pylist(), pairs, seed)


def _identity(encoder: ModelConfig | None) -> Any:
    """Return what the features depend on beside the texts: the encoder's settings and the content of its files."""
    if encoder is None:
        return "ngrams"
    folder = Path(encoder.path.removeprefix("file://"))
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return [encoder.to_dict(), {path.name: storage.file_sha256(path) for path in files}]


def _write_projection(uri: str, projection: NgramProjection) -> None:
    """Write a projection as safetensors."""
    arrays = {"columns": projection.columns, "idf": projection.idf, "axes": np.ascontiguousarray(projection.axes)}
    data = save({**arrays, "rows": np.array([projection.rows])})

    def write(stream: IO[bytes]) -> None:
        """Write all arrays."""
        stream.write(data)

    storage.write_file(uri, write)


def _read_projection(uri: str) -> NgramProjection:
    """Read a projection; raises StorageError if the file is damaged."""
    fs, path = storage.filesystem(uri)
    with manifests.damaged(uri):
        try:
            found = load(fs.cat_file(path))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        return NgramProjection(found["columns"], found["idf"], found["axes"], int(found["rows"][0]))


def _vectors(column: pa.ChunkedArray) -> Vectors:
    """Return the numbers of a column of float16 vectors, flat."""
    # A copy: what Arrow gives is read-only, which torch warns of.
    return np.array(column.combine_chunks().flatten().to_numpy(zero_copy_only=False), np.float16)
