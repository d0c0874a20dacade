"""How kernels are compiled: the only place that names Numba's options.

nogil     the shards of a chunk run on Python threads, so a kernel must not hold the interpreter lock.
cache     compiled code is kept on disk, where that can be written; only the first run pays for the compiler.
fastmath  only `contract` and `reassoc`: a sum may become vector lanes and fused multiply-adds.  Never
          `nnan` or `ninf`: NaN and inf must keep their meaning, because training looks for them.
error_model  "numpy": no test for a zero divisor, which would keep a loop from being vectorised.

No `parallel=True` anywhere: Numba's thread pool and the BLAS thread pool fight (decision 0002).
Always decorate as `@njit()`, with parentheses, so that the function keeps its type for the type checker.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba

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


def _bfloat16_maker() -> str:
    """What multiplies bfloat16: vdpbf16ps, portable where that is missing or masked off, or numpy without the JIT."""
    if getattr(numba.config, "DISABLE_JIT", False):
        return "numpy"
    masked = os.environ.get("NPLM_BFLOAT16") in ("portable", "off")
    return "vdpbf16ps" if has_feature("avx512bf16") and has_feature("avx512f") and not masked else "portable"


BFLOAT16_MAKER = _bfloat16_maker()


def _cache_folder() -> Path:
    """Where compiled kernels are kept: a folder named after the kernels' own text and what changes their code.

    Numba looks at a function's own file only and would keep stale code when a callee in another file
    changes; a new name for every new text of the kernels leaves nothing stale to find.
    """
    config: Any = numba.config
    digest = hashlib.sha256(repr((config.BOUNDSCHECK, config.OPT, BFLOAT16_MAKER)).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    root = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("NPLM_CACHE") or Path.home() / ".cache" / "nplm"
    return Path(root) / f"kernels-{digest.hexdigest()[:16]}"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


CACHE_FOLDER = str(_cache_folder())
CACHE = _is_writable(Path(CACHE_FOLDER))  # else every run compiles again


def njit(*, inline: bool = False) -> Callable[[Function], Function]:
    """Decorator that compiles a kernel with the options above; `inline` copies a formula into its caller."""

    def decorate(function: Function) -> Function:
        config: Any = numba.config
        kept, config.CACHE_DIR = config.CACHE_DIR, CACHE_FOLDER
        try:
            compiled: Any = numba.njit(
                nogil=True,
                cache=CACHE,
                fastmath={"contract", "reassoc"},
                error_model="numpy",
                inline="always" if inline else "never",
            )(function)
        finally:
            config.CACHE_DIR = kept
        return cast(Function, compiled)

    return decorate
