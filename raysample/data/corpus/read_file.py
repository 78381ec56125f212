"""Read and judge the rows of a file: any damage of the file becomes an error that names it."""

from __future__ import annotations

from collections.abc import Iterator

from raysample.core.config import SourceConfig
from raysample.data.corpus.judge_rows import JudgedRows, judge_rows
from raysample.data.readers.damage import naming_file
from raysample.data.schema import Batch, Part
from raysample.data.sources.resolve import columns_to_read, part_of, reader_of


def read_judged(config: SourceConfig, part: Part, size: int) -> Iterator[tuple[Batch, JudgedRows]]:
    """Yield all rows of one file of a resolved source, raw and judged, `size` at a time."""
    reader = reader_of(config)
    with naming_file(part.uri):
        names = reader.names(part)
        for batch in reader.batches(part, columns_to_read(config, part), size):
            yield batch, judge_rows(batch, part, config, names)


def read_range(config: SourceConfig, uri: str, start: int, stop: int, offset: int) -> JudgedRows | None:
    """Read and judge one row range of one file of a resolved source; None if the file ends before the range."""
    reader, part = reader_of(config), part_of(config, uri)
    with naming_file(uri):
        batch = reader.range(part, columns_to_read(config, part), start, stop, offset)
        return None if batch is None else judge_rows(batch, part, config, reader.names(part))
