"""The driver that is killed: scores a study on a cluster. `python -m helpers.chaos.driver STUDY OUTPUT ADDRESS`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers.chaos.study import Study

if __name__ == "__main__":
    study, output, address = sys.argv[1:]
    Study(Path(study)).score(Path(output), address)
