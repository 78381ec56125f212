"""The types of arrays: one name per dtype, whatever the shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
Int32Array = NDArray[np.int32]
Int16Array = NDArray[np.int16]
AnyIntArray = NDArray[np.integer[Any]]
WordArray = NDArray[np.uint64]
"""Hashes and tie words, 64 bits each."""
Mask = NDArray[np.bool_]
