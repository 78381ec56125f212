"""`raysample …`: parse, build, call, print where the result is.

Exit codes: 0 done, 1 an error that is ours (from `verify`: a score is out of its bound), 2 a problem that the user can
mend, 130 interrupted by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from raysample.cli import commands
from raysample.core import interruption
from raysample.core.errors import RaysampleError
from raysample.core.redaction import print_exception, watch_logs
from raysample.version import __version__

if TYPE_CHECKING:
    from raysample.core.progress import Reporter

CONFIGURED: dict[str, tuple[str, str]] = {
    "plan": (
        "run_plan",
        "estimate time, memory and storage of a run from a miniature of it",
    ),
    "run": ("run_all", "the whole loop: fine-tune, score, sample, compare, report"),
    "fine-tune": ("run_fine_tune", "fine-tune on all rows and keep the checkpoints: Corpus -> CheckpointSet"),
    "score": ("run_score", "score every training row: CheckpointSet -> ScoreTable"),
    "retry": ("run_retry", "score the quarantined rows again, once the cause is mended"),
    "verify": ("run_verify", "score a sample of the rows again, one by one in float64, and tell what differs"),
    "sample": (
        "run_sample",
        "choose rows by every arm and show what that does to classes: ScoreTable -> Selection",
    ),
    "compact": ("run_compact", "bring the unique contents of the log up to date: log -> Contents"),
    "expand": ("run_expand", "put the scores of the log's contents on every row of the log"),
    "compare": ("run_compare", "retrain every arm, test, and compare with random: Selection -> verdict"),
    "recommend": ("run_recommend", "recommend the smallest share to keep, from a comparison at three or more"),
    "report": ("run_report", "write the HTML report of a finished comparison again"),
}
"""Verb -> its command's name, of (config, reporter, options), which returns False for a bad result; what it does."""

DIRECT: dict[str, tuple[str, str]] = {
    "adopt": ("run_adopt", "take over the checkpoints of a training that others ran: folders -> CheckpointSet"),
    "explain": ("run_explain", "tell what became of a row, and why"),
    "apply": (
        "run_apply",
        "write the pruned corpus: the rows that a selection keeps",
    ),
    "examples": ("run_examples", "list the example configurations, or copy one"),
}
"""Verb -> its command's name, of (reporter, options), for verbs that need no configuration; what it does."""

VERBS = {**CONFIGURED, **DIRECT}

CLUSTERED = {*CONFIGURED} - {"verify", "recommend", "report"}
"""Verbs that work on the cluster, where the configuration names one."""

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "adopt": {
        "paths": {
            "nargs": "+",
            "metavar": "PATH",
            "help": "a Trainer's output folder, model folders, or MLflow's: runs:/RUN_ID, models:/NAME/VERSION",
        },
        "--output": {"metavar": "FOLDER", "help": "of the CheckpointSet (default runs/adopted/NAME)"},
        "--labels": {"metavar": "A,B", "help": "class names in the order of the outputs (default: config.json's)"},
        "--learning-rates": {
            "metavar": "A,B",
            "help": "one of each checkpoint, or one of all (default: what the training logged)",
        },
        "--tracking-uri": {"metavar": "URI", "help": "of MLflow (default MLFLOW_TRACKING_URI, or runs/mlflow.db)"},
    },
    "plan": {
        "--rows": {"type": int, "default": 256, "metavar": "N", "help": "rows of the miniature (default 256)"},
        "--price": {
            "type": float,
            "metavar": "P",
            "help": "of a worker for an hour, to tell the cost",
        },
    },
    "verify": {
        "--rows": {"type": int, "default": 64, "metavar": "N", "help": "rows of the sample (default 64)"},
        "--seed": {"type": int, "default": 0, "metavar": "N", "help": "seed of the sample (default 0)"},
    },
    "score": {"--log": {"action": "store_true", "help": "score the log: its contents that have no scores yet"}},
    "retry": {"--log": {"action": "store_true", "help": "retry the quarantined contents of the log"}},
    "sample": {
        "--dry-run": {"action": "store_true", "help": "tell what would be left, and write nothing"},
        "--log": {"action": "store_true", "help": "choose among the contents of the log, at sample.budget"},
    },
    "recommend": {
        "--tolerance": {
            "type": float,
            "metavar": "LOSS",
            "help": "acceptable loss of accuracy (default: sample.tolerance, 0.01 if not set: a point of a hundred)",
        }
    },
    "explain": {
        "row_id": {"metavar": "ROW_ID", "help": "the row's id"},
        "selection": {"metavar": "SELECTION", "help": "a selection's folder, below RUN/selections"},
    },
    "apply": {
        "selection": {"metavar": "SELECTION", "help": "a selection's folder, below RUN/selections"},
        "corpus": {
            "metavar": "CORPUS",
            "help": "what was scored: the folder RUN/corpus/train, or RUN/log/contents",
        },
        "output": {"metavar": "OUTPUT", "help": "a folder that does not exist yet"},
        "--source": {"metavar": "PATH", "help": "a copy of the source, where the corpus is no longer where it was"},
        "--format": {"choices": ("parquet", "datasets"), "default": "parquet", "help": "of the output (%(default)s)"},
    },
    "examples": {
        "name": {"nargs": "?", "metavar": "NAME", "help": "the example to copy (default: list all)"},
        "--output": {"metavar": "FILE", "help": "the file to write (default NAME.yaml)"},
    },
}
"""Verb -> argument -> how it is read, for what is no part of a run's configuration."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(
        prog="raysample", description="Find out which of your training examples matter, and prove it."
    )
    top.add_argument("--version", action="version", version=f"raysample {__version__}")
    commands = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (_, text) in VERBS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in CONFIGURED:
            command.add_argument("config", metavar="CONFIG.yaml", help="the run's configuration; see examples/")
            command.add_argument("overrides", nargs="*", metavar="key=value", help="for example fine_tune.epochs=2")
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        for option, how in OPTIONS.get(name, {}).items():
            command.add_argument(option, **how)
    return top


def _in_order(arguments: Sequence[str]) -> list[str]:
    """Return the words with `key=value` before options: argparse takes none after them, and people write them there."""
    overrides = [word for word in arguments[2:] if "=" in word and not word.startswith("-")]
    return [*arguments[:2], *overrides, *(word for word in arguments[2:] if word not in overrides)]


def _keep_credentials_in() -> None:
    """Let neither log records nor tracebacks tell the credentials of an address."""
    watch_logs()
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = print_exception


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = parser().parse_args(_in_order(words) if words and words[0] in CONFIGURED else words)
    from raysample.core.progress import Reporter  # with rich: help and wrong arguments do not wait for it

    reporter = Reporter()
    _keep_credentials_in()
    try:
        with interruption.watch_signals():
            command = _command(given, reporter)
            good = command()
    except RaysampleError as error:
        if interruption.received():
            return _interrupted()
        if given.debug:
            raise
        print(f"raysample: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks
        return 2
    except (KeyboardInterrupt, SystemExit):  # a library's own handler of signals may leave by the latter
        return _interrupted()
    except BrokenPipeError:
        # The reader of our output left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        if interruption.received() and not given.debug:  # what broke while it was interrupted
            return _interrupted()
        raise
    return 1 if good is False else 0


def _command(given: argparse.Namespace, reporter: Reporter) -> Callable[[], bool | None]:
    """Return the verb's command with its options, once its configuration is read and its cluster is reachable."""
    names = (option.lstrip("-").replace("-", "_") for option in OPTIONS.get(given.verb, {}))
    options = {name: getattr(given, name) for name in names}
    if given.verb in CONFIGURED:
        from raysample.core import config as configuration

        config = options["config"] = configuration.load(given.config, given.overrides)
        if given.verb in CLUSTERED and config.engine.kind == "ray" and not options.get("dry_run"):
            from raysample.execution.ray.reachability import reach

            reach(config.engine, reporter.say)
    command: Callable[..., bool | None] = getattr(commands, VERBS[given.verb][0])
    return partial(command, reporter=reporter, **options)


def _interrupted() -> int:
    print("raysample: interrupted; what was finished is kept, run the same command to go on", file=sys.stderr)  # noqa: T201
    return interruption.exit_code()


if __name__ == "__main__":
    raise SystemExit(main())
