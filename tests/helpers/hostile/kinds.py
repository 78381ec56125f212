"""What a kind of input is, what trying one comes to, and all kinds."""

from __future__ import annotations

import re
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from raysample.core.errors import RaysampleError

Outcome = Literal["accepted", "refused", "traceback", "hang", "lost"]


class LostError(Exception):
    """Rows went in and were neither read, nor set aside, nor left out; or more came out than went in."""


class HangError(BaseException):
    """An input took longer than it may; no `except Exception` takes it."""


@dataclass(frozen=True)
class Kind:
    """Inputs of one kind.

    Attributes:
        share: how many of 110,000. attempt: makes the input of a seed in an empty folder and tries it; raises a
            RaysampleError where it is refused. needs: the templates, by the names that `prepare` knows.
        cheap: takes milliseconds and needs no templates.
    """

    name: str
    share: int
    attempt: Callable[[Random, Path, Path], None]
    needs: tuple[str, ...] = ()

    @property
    def cheap(self) -> bool:
        """Whether it needs no templates."""
        return not self.needs


@dataclass(frozen=True)
class Verdict:
    """What an input came to; `where` groups findings: the exception and the innermost line of raysample."""

    outcome: Outcome
    where: str = ""
    details: str = ""


def judged(kind: Kind, seed: int, templates: Path, keep: Path | None = None) -> Verdict:
    """Try the input of one seed; `keep`: a folder that stays, to look at."""
    scratch = keep or Path(tempfile.mkdtemp(prefix="raysample-fuzz-"))
    try:
        kind.attempt(Random(f"{kind.name}-{seed}"), templates, scratch)
    except RaysampleError as error:
        return Verdict("refused", details=str(error)[:2000])
    except LostError as error:
        return Verdict("lost", re.sub(r"\d+", "N", str(error))[:80], str(error))
    except HangError as error:
        return Verdict("hang", _where(error), traceback.format_exc()[-4000:])
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Verdict("traceback", _where(error), traceback.format_exc()[-4000:])
    finally:
        if keep is None:
            shutil.rmtree(scratch, ignore_errors=True)
    return Verdict("accepted")


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/raysample/" in f.filename]
    last = frames[-1] if frames else None
    place = "outside" if last is None else f"{last.filename.rpartition('/raysample/')[2]}:{last.lineno}"
    return f"{type(error).__name__} at {place}"
