"""Ray job: the whole run, from labelled text to a compared sample. `start` is what the other jobs call, too.

ray job submit --working-dir . -- python jobs/run.py --config examples/demo.yaml output=/shared/runs fine_tune.epochs=2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The job's working folder holds the package where the cluster's image does not; the script's own folder is jobs/.
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Run everything; returns the exit code (2: the user can mend it)."""
    return start("run", sys.argv[1:])


def start(verb: str, arguments: Sequence[str]) -> int:
    """Call one verb of the command line inside the cluster that runs this job."""
    parser = argparse.ArgumentParser(prog=f"jobs/{verb.replace('-', '_')}.py", description=f"raysample {verb} as a job")
    parser.add_argument("--config", required=True, help="the YAML file of the run")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example output=/shared/runs")
    given = parser.parse_args(arguments)
    if "runtime_resources" in Path.cwd().parts and not any(o.startswith("output=") for o in given.overrides):
        print(
            "note: this job's working folder is temporary; give output=/a/shared/folder to keep results",
            file=sys.stderr,
        )
    from raysample.core import interruption

    # `ray job stop` sends SIGTERM and kills three seconds later: unwind at once, so that finished work stays usable.
    try:
        with interruption.watch_signals():
            from raysample.cli.main import main as raysample

            return int(raysample([verb, given.config, "engine.address=auto", *given.overrides]) or 0)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return interruption.exit_code()


if __name__ == "__main__":
    sys.exit(main())
