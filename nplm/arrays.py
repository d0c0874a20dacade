"""The type of every array in this package; the shapes stand in the docstrings."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
