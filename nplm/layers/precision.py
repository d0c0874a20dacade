"""The type of the operands of a model's products, and their implementation: chosen by a fixed rule, never by timing.

float32    operands are not rounded: they have the model's own type
bfloat16   operands are rounded (kernels/bfloat16.py); parameters, states, sums and updates stay float32
auto       bfloat16 where it is known to be faster, so that the choice is always the same for a machine and recipe:
           a float32 model of hidden_dim >= 64, and a processor whose vdpbf16ps has twice the rate of its float32

Decision 0012 has the measurements for the rule.  NPLM_BFLOAT16=portable masks vdpbf16ps off, =off all of bfloat16.
"""

import os
from typing import Any, NamedTuple

import numpy as np

from nplm.errors import InputError
from nplm.kernels._jit import BFLOAT16_MAKER, processor

TWICE_AS_FAST = ("znver4", "znver5")  # by LLVM's names; Intel processors without AMX have one rate for both
LEAST_HIDDEN = 64  # below it a step is mostly overhead, and rounding the operands costs what the products gain


class Products(NamedTuple):
    """The choice, which is recorded in a run and in its model files."""

    precision: str  # of the operands: bfloat16, or the model's own type
    maker: str  # the implementation: fma (and BLAS), vdpbf16ps, portable, or numpy without the JIT

    @property
    def bfloat16(self) -> bool:
        """Whether operands are rounded."""
        return self.precision == "bfloat16"

    def __str__(self) -> str:
        return f"{self.precision} by {self.maker}"


def bfloat16_maker() -> str | None:
    """The implementation of bfloat16 products in this process; None if NPLM_BFLOAT16=off."""
    return None if os.environ.get("NPLM_BFLOAT16") == "off" else BFLOAT16_MAKER


def choose(precision: str, dtype: Any, hidden_dim: int) -> Products:
    """The choice that `precision` means for a model of this type and size.

    Raises InputError on bfloat16 for a float64 model, or if it is masked off.
    """
    maker, dtype = bfloat16_maker(), np.dtype(dtype)
    if precision == "auto":
        is_faster = maker == "vdpbf16ps" and processor() in TWICE_AS_FAST
        fits = dtype == np.float32 and hidden_dim >= LEAST_HIDDEN
        precision = "bfloat16" if is_faster and fits else "float32"
    if precision != "bfloat16":
        return Products(str(dtype), "numpy" if maker == "numpy" else "fma")
    if dtype != np.float32:
        raise InputError(f"`precision` bfloat16 is for float32 models, but this one is {dtype}")
    if maker is None:
        raise InputError("`precision` is bfloat16, which NPLM_BFLOAT16=off masks off: unset it")
    return Products("bfloat16", maker)
