"""Base 10, the unit of the n-gram toolkits: scores are log10, everything else is in nats."""

import math

LN10 = math.log(10.0)  # nats of a factor of ten


def power(exponent: float) -> float:
    """10^exponent; inf on overflow, and NaN for NaN."""
    return math.inf if exponent > 308 else 10.0**exponent
