"""`raysample ...`: parse arguments, load the configuration, call the command.

Exit codes: 0 success, 1 an internal error (from `verify`: a score is out of its bound), 2 a problem that the user can
fix, 130 interrupted by Ctrl-C, 143 by SIGTERM.
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
        "estimate time, memory and storage of a run from a miniature run",
    ),
    "run": ("run_all", "run the whole loop: fine-tune, score, sample, compare, report"),
    "fine-tune": ("run_fine_tune", "fine-tune on all rows and keep the checkpoints: Corpus -> CheckpointSet"),
    "score": ("run_score", "score every training row: CheckpointSet -> ScoreTable"),
    "retry": ("run_retry", "retry the shards that have quarantined rows, after the cause is fixed"),
    "verify": ("run_verify", "score a sample of the rows again, one by one in float64, and report differences"),
    "sample": (
        "run_sample",
        "select rows with every arm and show the effect on classes: ScoreTable -> Selection",
    ),
    "compact": ("run_compact", "update the unique contents of the log: log -> Contents"),
    "expand": ("run_expand", "write the scores of the log's contents for every row of the log"),
    "compare": ("run_compare", "retrain every arm, evaluate, and compare with random sampling: Selection -> verdict"),
    "recommend": ("run_recommend", "recommend the smallest share to keep, from a comparison at three or more"),
    "report": ("run_report", "write the HTML report of a finished comparison again"),
}
"""Command name -> function name and help; the function takes config, reporter and options; False is a bad result."""

DIRECT: dict[str, tuple[str, str]] = {
    "prune": ("run_prune", "choose a smaller training set by evidence: labelled texts -> kept.parquet"),
    "adopt": ("run_adopt", "adopt the checkpoints of a training run made elsewhere: folders -> CheckpointSet"),
    "explain": ("run_explain", "explain why a row was kept or pruned"),
    "apply": (
        "run_apply",
        "write the pruned corpus: the rows that a selection keeps",
    ),
    "examples": ("run_examples", "list the example configurations, or copy one"),
}
"""Command name -> function name and help, for commands without a configuration file."""

VERBS = {**CONFIGURED, **DIRECT}

CLUSTERED = {*CONFIGURED} - {"verify", "recommend", "report"}
"""Commands that use the Ray cluster, if the configuration names one."""

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "adopt": {
        "paths": {
            "nargs": "+",
            "metavar": "PATH",
            "help": "a Trainer's output folder, model folders, or MLflow's: runs:/RUN_ID, models:/NAME/VERSION",
        },
        "--output": {"metavar": "FOLDER", "help": "folder of the CheckpointSet (default runs/adopted/NAME)"},
        "--labels": {"metavar": "A,B", "help": "class names in the order of the outputs (default: config.json's)"},
        "--learning-rates": {
            "metavar": "A,B",
            "help": "one per checkpoint, or one for all (default: those that the training logged)",
        },
        "--tracking-uri": {
            "metavar": "URI",
            "help": "tracking URI of MLflow (default MLFLOW_TRACKING_URI, or runs/mlflow.db)",
        },
    },
    "prune": {
        "data": {
            "metavar": "DATA",
            "help": "a CSV, JSONL or Parquet file, a folder of such, or a datasets folder",
        },
        "--text": {"default": "text", "metavar": "COLUMN", "help": "column of the texts (default text)"},
        "--label": {"default": "label", "metavar": "COLUMN", "help": "column of the labels (default label)"},
        "--pair": {"metavar": "COLUMN", "help": "column of the second texts, if rows are pairs of texts"},
        "--group": {"metavar": "COLUMN", "help": "column of the groups, for --objective worst_group"},
        "--id": {"metavar": "COLUMN", "help": "column of the row ids (default: made from the content)"},
        "--keep": {
            "default": "0.5",
            "metavar": "SHARE",
            "help": "share to keep, or auto: the least that loses nothing",
        },
        "--encoder": {"metavar": "FOLDER", "help": "encoder of the texts, a folder or hub name (default: n-grams)"},
        "--objective": {
            "default": "accuracy",
            "choices": ("accuracy", "macro_f1", "worst_group", "log_loss"),
            "help": "what the choice is judged by (default accuracy)",
        },
        "--tolerance": {
            "type": float,
            "default": 0.005,
            "metavar": "LOSS",
            "help": "loss to all data that counts as none (default 0.005)",
        },
        "--race-rows": {
            "type": int,
            "default": 20_000,
            "metavar": "N",
            "help": "rows that race (default 20000)",
        },
        "--pilot": {
            "action": argparse.BooleanOptionalAction,
            "default": False,
            "help": "fine-tune the encoder on the best candidates; take none that this does not confirm (default no)",
        },
        "--budget": {
            "type": float,
            "default": 0.3,
            "metavar": "SHARE",
            "help": "largest cost of the pilot, as a share of one training on all rows (default 0.3)",
        },
        "--epochs": {"type": int, "default": 3, "metavar": "N", "help": "epochs of a training (default 3)"},
        "--learning-rate": {"type": float, "default": 5e-5, "metavar": "RATE", "help": "of a training (default 5e-5)"},
        "--seed": {"type": int, "default": 0, "metavar": "N", "help": "seed of folds and draws (default 0)"},
        "--ray": {"metavar": "ADDRESS", "help": "run on Ray: auto, local, or the address of a cluster"},
        "--tracking-uri": {"metavar": "URI", "help": "log to this MLflow (default MLFLOW_TRACKING_URI, else nowhere)"},
        "--output": {"metavar": "FOLDER", "help": "folder of the files (default runs/pruned/NAME)"},
    },
    "plan": {
        "--rows": {"type": int, "default": 256, "metavar": "N", "help": "rows of the miniature run (default 256)"},
        "--price": {
            "type": float,
            "metavar": "P",
            "help": "price of one worker for an hour, to estimate the cost",
        },
    },
    "verify": {
        "--rows": {"type": int, "default": 64, "metavar": "N", "help": "rows of the sample (default 64)"},
        "--seed": {"type": int, "default": 0, "metavar": "N", "help": "seed of the sample (default 0)"},
    },
    "score": {"--log": {"action": "store_true", "help": "score the log: its contents without scores"}},
    "retry": {"--log": {"action": "store_true", "help": "retry the quarantined contents of the log"}},
    "sample": {
        "--dry-run": {"action": "store_true", "help": "show the effect of the selections, and write nothing"},
        "--log": {"action": "store_true", "help": "select among the contents of the log, at sample.budget"},
    },
    "recommend": {
        "--tolerance": {
            "type": float,
            "metavar": "LOSS",
            "help": "acceptable loss of accuracy (default: sample.tolerance, 0.01 if not set: one percentage point)",
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
            "help": "the scored corpus: the folder RUN/corpus/train, or RUN/log/contents",
        },
        "output": {"metavar": "OUTPUT", "help": "a folder that does not exist yet"},
        "--source": {"metavar": "PATH", "help": "a copy of the source, if the source was moved"},
        "--format": {
            "choices": ("parquet", "datasets"),
            "default": "parquet",
            "help": "format of the output (%(default)s)",
        },
    },
    "examples": {
        "name": {"nargs": "?", "metavar": "NAME", "help": "the example to copy (default: list all)"},
        "--output": {"metavar": "FILE", "help": "the file to write (default NAME.yaml)"},
    },
}
"""Command name -> argument -> argparse settings, for arguments outside a run's configuration."""


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
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
    """Return the arguments with `key=value` before options, since argparse accepts no positionals after options."""
    overrides = [word for word in arguments[2:] if "=" in word and not word.startswith("-")]
    return [*arguments[:2], *overrides, *(word for word in arguments[2:] if word not in overrides)]


def _keep_credentials_in() -> None:
    """Remove credentials from log records and tracebacks."""
    watch_logs()
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = print_exception


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = parser().parse_args(_in_order(words) if words and words[0] in CONFIGURED else words)
    from raysample.core.progress import Reporter  # imports rich, which help and wrong arguments do not need

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
    except (KeyboardInterrupt, SystemExit):  # a library's own signal handler may raise SystemExit
        return _interrupted()
    except BrokenPipeError:
        # The reader of the output closed the pipe; without this Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:
        if interruption.received() and not given.debug:  # an error caused by the interruption
            return _interrupted()
        raise
    return 1 if good is False else 0


def _command(given: argparse.Namespace, reporter: Reporter) -> Callable[[], bool | None]:
    """Return the command with its options, after loading the configuration and checking that its cluster answers."""
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
    """Print that the run was interrupted and return the exit code."""
    print("raysample: interrupted; what was finished is kept, run the same command to go on", file=sys.stderr)  # noqa: T201
    return interruption.exit_code()


if __name__ == "__main__":
    raise SystemExit(main())
