"""The stack of a real `raysample score`, from the command's `main` to the first visit of a checkpoint."""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

from raysample.cli.main import main
from raysample.influence.visits.sweep import score_block
from raysample.influence.visits.visit import collect
from tests.helpers.code_map import PACKAGE

CONFIG = """
name: house
output: {output}
engine: {{kind: local}}
corpus: {{simulated: {{rows: 500, test_rows: 200}}}}
model: {{path: tiny, hidden_size: 16, layers: 1, vocabulary_size: 300, max_length: 16}}
fine_tune: {{epochs: 1, batch_size: 32}}
score: {{scores: [el2n]}}
tracking: {{enabled: false}}
"""
Frame = tuple[str, str]


def frames_to_the_first_visit() -> list[Frame]:
    """Run `raysample score` on a tiny corpus; return (file, function) from its `main` to the first visit."""
    stacks: list[list[Frame]] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is collect.__code__:
            stack = package_frames(frame.f_back)
            # The proof of a model's batches comes before, and collects without `score_block`.
            if any(name == score_block.__name__ for _, name in stack):
                sys.setprofile(None)
                stacks.append(stack)

    with tempfile.TemporaryDirectory(prefix="raysample-house-") as folder:
        config, output = Path(folder) / "house.yaml", StringIO()
        config.write_text(CONFIG.format(output=folder))
        for verb in ("fine-tune", "score"):
            sys.setprofile(profile if verb == "score" else None)
            try:
                with redirect_stdout(output), redirect_stderr(output):
                    code = main([verb, str(config)])
            finally:
                sys.setprofile(None)
            if code != 0:
                raise RuntimeError(f"raysample {verb} failed: {output.getvalue()}")
    if not stacks:
        raise RuntimeError("raysample score visited no checkpoint in this thread")
    return stacks[0]


def package_frames(frame: FrameType | None) -> list[Frame]:
    """Return the frames of the package's own functions, outermost first; comprehensions and lambdas do not count."""
    stack: list[Frame] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents and not frame.f_code.co_name.startswith("<"):
            stack.append((str(path.relative_to(PACKAGE)), frame.f_code.co_name))
        frame = frame.f_back
    return stack[::-1]
