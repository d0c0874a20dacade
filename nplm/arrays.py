"""The array type of most annotations (shapes are in the docstrings), and a test whether arrays are finite."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def non_finite(arrays: Mapping[str, Array]) -> str | None:
    """Name of the first array with an entry that is not finite, or None."""
    # minimum and maximum are NaN if any entry is, so no temporary array is needed
    return next((n for n, a in arrays.items() if a.size and not np.isfinite([a.min(), a.max()]).all()), None)
