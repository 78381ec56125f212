"""Ray job: score every row of the corpus at every checkpoint.

ray job submit --working-dir . -- python jobs/score.py --config examples/demo.yaml output=/shared/runs
"""

from __future__ import annotations

import sys

from run import start


def main() -> int:
    """Score; returns the exit code (2: the user can mend it)."""
    return start("score", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
