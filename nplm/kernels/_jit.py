"""How kernels are compiled: the only place that names Numba's options.

nogil     the shards of a chunk run on Python threads, so a kernel must not hold the interpreter lock.
cache     compiled code is kept on disk; only the first run on a machine pays for the compiler.
fastmath  only `contract` and `reassoc`: a sum may become vector lanes and fused multiply-adds.  Never
          `nnan` or `ninf`: NaN and inf must keep their meaning, because training looks for them.
error_model  "numpy": no test for a zero divisor, which would keep a loop from being vectorised.

No `parallel=True` anywhere: Numba's thread pool and the BLAS thread pool fight (decision 0002).
Always decorate as `@njit()`, with parentheses, so that the function keeps its type for the type checker.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def njit(*, inline: bool = False) -> Callable[[Function], Function]:
    """Decorator that compiles a kernel with the options above; `inline` copies a formula into its caller."""
    decorator: Callable[[Function], Function] = numba.njit(
        nogil=True,
        cache=True,
        fastmath={"contract", "reassoc"},
        error_model="numpy",
        inline="always" if inline else "never",
    )
    return decorator
