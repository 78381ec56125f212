"""What the benchmarks share: the command line, timing by turns, processes of their own, tables, and JSON results.

`tests.helpers` (other packages, hostile inputs, tiny families, clusters whose processes are killed) is found through
this package: a script that needs it imports from `harness` before.
"""

import sys
from pathlib import Path

# First, since some of the other packages bring a package `tests` of their own.
sys.path.insert(0, str(Path(__file__).parents[2]))
