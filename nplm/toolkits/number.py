"""A number in a field of SRILM's and Kaldi's files, written as C's strtod reads it.

Python's own float() also takes 1_0, digits of other scripts, and U+3000 around a number.
"""

import math
import re

NUMBER = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE)


def to_number(field: str) -> float:
    """The value of a field; NaN if it is not a number."""
    return float(field) if NUMBER.fullmatch(field) else math.nan
