"""Convert arguments that callers may give in several forms."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from raysample.core import storage
from raysample.core.config import Columns, Section, SourceConfig
from raysample.core.errors import ConfigError, ResultWarning
from raysample.data.corpus import Corpus, Levels
from raysample.data.corpus import describe_source as describe_corpus
from raysample.data.log import Contents

CorpusLike = Corpus | SourceConfig | str
SectionType = TypeVar("SectionType", bound=Section)


def source_from(source: SourceConfig | str, columns: Columns | Mapping[str, Any] | None) -> SourceConfig:
    """Return a SourceConfig; a path gets the given columns."""
    if isinstance(source, SourceConfig):
        return source
    given = dict(columns) if isinstance(columns, Mapping) else columns
    return section(SourceConfig, {"path": source, **({"columns": given} if given is not None else {})})


def target_of(given: SourceConfig | str, like: Corpus | Contents) -> SourceConfig:
    """Return a target as a SourceConfig; a bare path gets columns, labels and format settings of the scored corpus."""
    if isinstance(given, SourceConfig):
        return given
    like_it = like.source.label_alone
    same = {key: getattr(like_it, key) for key in ("columns", "labels", "quoting", "delimiter", "escape", "limits")}
    return SourceConfig(path=given, **same)


def corpus_of(given: CorpusLike, labels: Sequence[str] | None = None, levels: Levels | None = None) -> Corpus:
    """Return a Corpus; a source or path is described in a temporary folder."""
    if isinstance(given, Corpus):
        return given
    return describe_corpus(source_from(given, None), folder_of(None, "corpus"), labels=labels, levels=levels)


def folder_of(given: str | None, noun: str) -> str:
    """Return a folder as an absolute URI, a new temporary one for None."""
    return storage.absolute(given) if given is not None else tempfile.mkdtemp(prefix=f"raysample-{noun}-")


def section(kind: type[SectionType], values: dict[str, Any]) -> SectionType:
    """Return a section of a configuration; raises ConfigError for invalid values."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise ConfigError(
            f"{kind.__name__}: {problems}", f"see the fields of raysample.core.config.{kind.__name__}"
        ) from error


def warn_of(doubts: Sequence[str], name: str = "") -> None:
    """Emit a ResultWarning for each doubt about a function's result."""
    for doubt in doubts:
        warnings.warn(f"{name}: {doubt}" if name else doubt, ResultWarning, stacklevel=3)
