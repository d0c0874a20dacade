"""Base 10, the n-gram toolkits' unit: scores are log10, everything else is nats."""

import math

LN10 = math.log(10.0)  # nats of a factor of ten


def power(exponent: float) -> float:
    """10^exponent; inf where that is beyond floating point, and NaN of NaN."""
    return math.inf if exponent > 308 else 10.0**exponent
