"""The array type of most annotations; shapes are in the docstrings.  Whether arrays are finite."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def non_finite(arrays: Mapping[str, Array]) -> str | None:
    """Name of the first array with an entry that is not finite, or None."""
    # the extremes are NaN if any entry is: no array is made
    return next((n for n, a in arrays.items() if a.size and not np.isfinite([a.min(), a.max()]).all()), None)
