"""How kernels are compiled: the only place that names Numba's options.

nogil     the shards of a chunk run on Python threads, so a kernel must not hold the interpreter lock.
cache     compiled code is cached on disk, if possible (_cache.py), so that only the first run takes time to compile.
fastmath  only `contract` and `reassoc`: a sum may become vector lanes and fused multiply-adds.  Never
          `nnan` or `ninf`: NaN and inf must keep their meaning, because training checks for them.
error_model  "numpy": no test for a zero divisor, which would prevent vectorisation of a loop.

No `parallel=True` anywhere: Numba's thread pool and the BLAS thread pool would compete (decision 0002).
Always decorate as `@njit()`, with parentheses, so that the function keeps its type for the type checker.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import llvmlite.binding
import numba
import numpy as np

from nplm.kernels._cache import KernelCache, own_folder

Function = TypeVar("Function", bound=Callable[..., Any])


def has_feature(name: str) -> bool:
    """Whether compiled code may use a feature of the processor, by LLVM's name; NUMBA_CPU_FEATURES decides first."""
    chosen = getattr(numba.config, "CPU_FEATURES", None)
    if chosen is not None:  # code for another processor
        return f"+{name}" in chosen.split(",")
    return bool(llvmlite.binding.get_host_cpu_features().get(name))


def processor() -> str:
    """LLVM's name of the processor that code is compiled for."""
    return str(getattr(numba.config, "CPU_NAME", None) or llvmlite.binding.get_host_cpu_name())


def _is_disabled() -> bool:
    """Whether kernels are plain Python, by NUMBA_DISABLE_JIT."""
    return bool(getattr(numba.config, "DISABLE_JIT", False))


def _bfloat16_maker() -> str:
    """The implementation of bfloat16 products: vdpbf16ps, portable if that is missing or masked off, or numpy."""
    if _is_disabled():
        return "numpy"
    masked = os.environ.get("NPLM_BFLOAT16") in ("portable", "off")
    return "vdpbf16ps" if has_feature("avx512bf16") and has_feature("avx512f") and not masked else "portable"


BFLOAT16_MAKER = _bfloat16_maker()


def cache_name(sources: Path, settings: object) -> str:
    """Name of the folder of compiled kernels, which depends on the kernels' source and on what affects their code.

    Numba looks only at a function's own file and would keep stale code when a callee in another file
    changes; with a new name for every version of the source, stale code is never found.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for source in sorted(sources.glob("*.py")):
        digest.update(source.read_bytes())
    return f"kernels-{digest.hexdigest()[:16]}"


def _cache_root() -> Path | None:
    """$NUMBA_CACHE_DIR, $NPLM_CACHE or ~/.cache/nplm; None for a user without a home."""
    if named := os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("NPLM_CACHE"):
        return Path(named)
    try:
        home = Path.home()
    except (RuntimeError, OSError, KeyError):  # no HOME, and no entry in the table of users
        return None
    return home / ".cache" / "nplm" if home.is_absolute() else None


def _settings() -> tuple[Any, ...]:
    """What affects the code of a kernel besides its source and the processor, which are in Numba's key."""
    config: Any = numba.config
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag
    return (config.BOUNDSCHECK, config.OPT, BFLOAT16_MAKER, *versions)


CACHE_FOLDER, TROUBLE = own_folder(_cache_root(), cache_name(Path(__file__).parent, _settings()))


def njit(*, inline: bool = False) -> Callable[[Function], Function]:
    """Decorator that compiles a kernel with the options above; `inline` copies a formula into its caller."""

    def decorate(function: Function) -> Function:
        compiled: Any = numba.njit(
            nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy", inline="always" if inline else "never"
        )(function)
        if not _is_disabled():
            compiled._cache = KernelCache(function, CACHE_FOLDER, TROUBLE)
        return cast(Function, compiled)

    return decorate
