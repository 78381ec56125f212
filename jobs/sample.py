"""Ray job: choose a sample of the corpus by its scores.

ray job submit --working-dir . -- python jobs/sample.py --config examples/demo.yaml output=/shared/runs
"""

from __future__ import annotations

import sys

from run import start


def main() -> int:
    """Choose a sample; returns the exit code (2: the user can mend it)."""
    return start("sample", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
