"""Ray job: retrain on the samples, test, and compare with random samples of the same size.

ray job submit --working-dir . -- python jobs/compare.py --config examples/demo.yaml output=/shared/runs
"""

from __future__ import annotations

import sys

from run import start


def main() -> int:
    """Compare; returns the exit code (2: the user can mend it)."""
    return start("compare", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
