"""Numbers for people."""

import math


def number(value: float, digits: int = 2) -> str:
    """A number for people, with a real minus sign."""
    if not math.isfinite(value):
        return "not defined" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if abs(value) >= 1e9:
        return f"{value:.3g}".replace("-", "−")
    return f"{value:,.{digits}f}".replace("-", "−")


def short(value: float) -> str:
    """A short form of a number: without decimals if it is large."""
    return number(value, 2 if value < 1000 else 0)


def chance(bits: float) -> str:
    """The probability for a surprisal: a percentage if it is large, otherwise "1 in n"."""
    if not math.isfinite(bits):
        return "probability not defined" if math.isnan(bits) else "probability 0"
    if bits < math.log2(10):
        return f"probability {2.0**-bits:.0%}"
    return f"1 in {2.0**bits:,.0f}" if bits < 40 else f"1 in 2^{bits:.0f}"
