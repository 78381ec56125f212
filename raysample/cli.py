"""`raysample …`: parse, build, call, print where the result is.

Exit codes: 0 done, 1 an error that is ours (from `verify`: a score is out of its bound), 2 a problem that the user can
mend, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from raysample import commands
from raysample import config as configuration
from raysample.errors import RaysampleError
from raysample.progress import Reporter
from raysample.version import __version__

VERBS: dict[str, tuple[Callable[..., bool | None], str]] = {
    "run": (commands.run_all, "the whole loop: fine-tune, score, sample, compare, report"),
    "fine-tune": (commands.run_fine_tune, "fine-tune on all rows and keep the checkpoints: Corpus -> CheckpointSet"),
    "score": (commands.run_score, "score every training row: CheckpointSet -> ScoreTable"),
    "verify": (commands.run_verify, "score a sample of the rows again, one by one in float64, and tell what differs"),
    "sample": (
        commands.run_sample,
        "choose rows by every arm and show what that does to classes: ScoreTable -> Selection",
    ),
    "compare": (commands.run_compare, "retrain every arm, test, and compare with random: Selection -> verdict"),
    "report": (commands.run_report, "write the HTML report of a finished comparison again"),
}
"""Verb -> its function of (config, reporter, options), which returns False for a bad result, and what it does."""

OPTIONS: dict[str, dict[str, tuple[int, str]]] = {
    "verify": {"rows": (64, "rows of the sample (default 64)"), "seed": (0, "seed of the sample (default 0)")}
}
"""Verb -> option -> its default and meaning, for options that are no part of a run's configuration."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(
        prog="raysample", description="Find out which of your training examples matter, and prove it."
    )
    top.add_argument("--version", action="version", version=f"raysample {__version__}")
    commands = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (_, text) in VERBS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("config", metavar="CONFIG.yaml", help="the run's configuration; see examples/")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="for example fine_tune.epochs=2")
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        for option, (default, meaning) in OPTIONS.get(name, {}).items():
            command.add_argument(f"--{option}", type=int, default=default, metavar="N", help=meaning)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = parser().parse_args(arguments)
    reporter = Reporter()
    try:
        config = configuration.load(given.config, given.overrides)
        options = {option: getattr(given, option) for option in OPTIONS.get(given.verb, {})}
        good = VERBS[given.verb][0](config, reporter, **options)
    except RaysampleError as error:
        if given.debug:
            raise
        print(f"raysample: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks
        return 2
    except KeyboardInterrupt:
        print("raysample: interrupted; what was finished is kept, run the same command to go on", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:
        # The reader of our output left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 1 if good is False else 0


if __name__ == "__main__":
    raise SystemExit(main())
