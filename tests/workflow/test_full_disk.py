"""A disk that is full: a clear error, no half part, and a rerun that goes on where it stopped."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import raysample
from raysample.core.errors import StorageError
from raysample.data.corpus import Corpus
from raysample.testing import tiny_checkpoints
from tests.helpers.corpora import tiny_corpus

pytestmark = pytest.mark.slow


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return tiny_corpus(tmp_path, 2_000, files=1, shard_rows=500)


@contextmanager
def full() -> Iterator[None]:
    """Refuse to take what is written to the disk, from the third part on."""
    real, calls = os.fsync, []

    def fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        calls.extend([path] if path.match("parts-*/part-*") else [])
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


@contextmanager
def refused() -> Iterator[None]:
    """Let the system itself refuse to write more than the beginning of a part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("how", "done", "words"), [(full, 2, "No space left on device"), (refused, 0, "File too large")]
)
def test_a_full_disk_stops_scoring_and_costs_nothing(
    how: Callable[[], object], done: int, words: str, corpus: Corpus, tmp_path: Path
) -> None:
    trace = tiny_checkpoints(tmp_path / "run", 2)
    whole = raysample.score(trace, corpus, ["el2n", "vog"], str(tmp_path / "whole"))
    with (
        pytest.raises(StorageError, match=rf"part-.*{words}(.|\n)*check that the place is writable and has room"),
        how(),  # type: ignore[attr-defined]
    ):
        raysample.score(trace, corpus, ["el2n", "vog"], str(tmp_path / "scores"))
    there = {path: path.stat().st_ino for path in (tmp_path / "scores").rglob("parts-*/*.*") if path.is_file()}
    there = {path: inode for path, inode in there.items() if path.name != "proof.json"}  # made before the first part
    assert len(there) == done
    assert all(path.match("part-*.parquet") for path in there)
    again = raysample.score(trace, corpus, ["el2n", "vog"], str(tmp_path / "scores"))
    assert again.to_arrow().equals(whole.to_arrow())
    assert {path: path.stat().st_ino for path in there} == there
