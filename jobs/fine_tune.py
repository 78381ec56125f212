"""Ray job: fine-tune a model on the corpus and keep the checkpoints that scoring needs.

ray job submit --working-dir . -- python jobs/fine_tune.py --config examples/demo.yaml output=/shared/runs
"""

from __future__ import annotations

import sys

from run import start


def main() -> int:
    """Fine-tune; returns the exit code (2: the user can mend it)."""
    return start("fine-tune", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
