"""What the benchmarks share: options and results, timing by turns, isolated processes, corpora, models, made-up logs.

`tests.helpers` (other packages, hostile inputs, tiny families, clusters whose processes are killed) is found through
this package: a script that needs it imports from `harness` before.
"""

import sys
from pathlib import Path

# First, since some of the other packages bring a package `tests` of their own.
sys.path.insert(0, str(Path(__file__).parents[2]))
