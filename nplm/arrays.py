"""The array type of most annotations; shapes are in the docstrings."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
