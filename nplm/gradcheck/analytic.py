"""Which NumPy functions in a loss are not analytic: an array that records where its imaginary part is lost."""

import linecache
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CONJUGATE = {"conjugate", "conj", "vdot", "vecdot"}  # complex results that are not analytic
HARMLESS = {"isnan", "isfinite", "isinf", "shape", "ndim", "size", "result_type", "may_share_memory", "iscomplexobj"}
NAMES = {"absolute": "abs", "conjugate": "conj"}  # as people write them
HERE, NUMPY = Path(__file__).parent, Path(np.__file__).parent


def suspects(run: Callable[[Callable[[Array], Array]], Any]) -> list[str]:
    """Names, with file and line, of what discards an imaginary part while `run` evaluates the function.

    Parameters
    ----------
    run
        Takes the function that turns a complex array into one that takes notes, and evaluates.
    """
    notes: list[str] = []

    def traced(array: Array) -> Array:
        view = np.asarray(array).view(_Traced)
        view.notes = notes
        return view

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run(traced)
        except Exception as error:
            if not notes:
                notes.append(f"{type(error).__name__}: {str(error).splitlines()[0]}{_raised_at(error)}")
    for warning in caught:
        if "discards the imaginary part" in str(warning.message):
            line = linecache.getline(warning.filename, warning.lineno).strip()
            what = (
                f"a complex value stored as a real one in `{line}`" if line else "a complex value stored as a real one"
            )
            notes.append(f"{what} at {Path(warning.filename).name}:{warning.lineno}")
    return list(dict.fromkeys(notes))


class _Traced(np.ndarray[Any, Any]):
    """An array that notes which functions turn it into something without an imaginary part."""

    notes: list[str]

    def __array_finalize__(self, parent: Any) -> None:
        self.notes = getattr(parent, "notes", [])

    def _note(self, what: str, reason: str) -> None:
        self.notes.append(f"{what} ({reason}){_caller()}")

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(self._wrap(part) for part in result)
        if isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind == "c":
            view = np.asarray(result).view(_Traced)
            view.notes = self.notes
            return view
        return result

    def _judge(self, name: str, result: Any, complex_given: bool) -> Any:
        short = name.rsplit(".", 1)[-1]
        if complex_given and short not in HARMLESS:
            kinds = {x.dtype.kind for x in (result if isinstance(result, tuple) else (result,)) if hasattr(x, "dtype")}
            if short in CONJUGATE:
                self._note(name, "takes the complex conjugate")
            elif kinds and kinds <= {"f"}:
                self._note(name, "returns a real number")
        return self._wrap(result)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        plain = [_plain(x) for x in inputs]
        name = f"np.{NAMES.get(ufunc.__name__, ufunc.__name__)}" + ("" if method == "__call__" else f".{method}")
        if out is not None:
            kwargs["out"] = tuple(_plain(x) for x in out)
        try:
            result = getattr(ufunc, method)(*plain, **kwargs)
        except TypeError:
            into = out is not None and any(np.asarray(x).dtype.kind != "c" for x in out if x is not None)
            self._note(name, "out= is a real array" if into else "has no complex version")
            raise
        if out is not None:
            return out[0] if len(out) == 1 else out
        return self._judge(name, result, any(np.iscomplexobj(x) for x in plain))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = f"{function.__module__.replace('numpy', 'np')}.{function.__name__}"
        plain_args, plain_kwargs = _plain(args), _plain(kwargs)
        try:
            result = function(*plain_args, **plain_kwargs)
        except TypeError:
            self._note(name, "has no complex version")
            raise
        if kwargs.get("out") is not None:
            return kwargs["out"]
        return self._judge(name, result, True)

    @property  # type: ignore[misc]
    def real(self) -> Any:
        self._note(".real", "drops the imaginary part")
        return np.asarray(self).real

    @property  # type: ignore[misc]
    def imag(self) -> Any:
        self._note(".imag", "drops the real part")
        return np.asarray(self).imag

    def var(self, *args: Any, **kwargs: Any) -> Any:
        self._note(".var()", "takes the squared absolute value")
        return np.asarray(self).var(*args, **kwargs)

    def std(self, *args: Any, **kwargs: Any) -> Any:
        self._note(".std()", "takes the absolute value")
        return np.asarray(self).std(*args, **kwargs)

    def conj(self) -> Any:
        self._note(".conj()", "takes the complex conjugate")
        return self._wrap(np.asarray(self).conj())

    conjugate = conj

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        if np.dtype(dtype).kind != "c":
            self._note(f".astype({np.dtype(dtype).name})", "drops the imaginary part")
            return np.asarray(self).real.astype(dtype, *args, **kwargs)
        return super().astype(dtype, *args, **kwargs)

    def __float__(self) -> float:
        self._note("float()", "drops the imaginary part")
        return float(np.asarray(self).real)

    def item(self, *args: Any) -> Any:
        return np.asarray(self).item(*args)


def _plain(value: Any) -> Any:
    """The value with ordinary arrays in place of those that take notes."""
    if isinstance(value, _Traced):
        return value.view(np.ndarray)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_plain(part) for part in value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _caller() -> str:
    """ " at file:line" of the nearest frame that is neither NumPy's nor ours."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent != HERE and not path.is_relative_to(NUMPY) and "importlib" not in str(path):
            return f" at {path.name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _raised_at(error: Exception) -> str:
    """ " at file:line" of the last line of the caller's own code that an error passed through."""
    found, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.parent != HERE and not path.is_relative_to(NUMPY) and path.exists():
            found = f" at {path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
