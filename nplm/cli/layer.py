"""A layer that a user names on the command line: how it is found, its random inputs, and its check."""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nplm.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nplm.gradcheck import Report

Pair = tuple[Callable[..., Any], Callable[..., Any]]
FLOATS = ("float32", "float64")
SPELLING = "NAME=SHAPE[:TYPE], such as x=5,3 or ids=5:int:10"


def check_named_layer(target: str, inputs: Iterable[str], dtype: str, seed: int, **options: Any) -> "Report":
    """The report on the layer that `target` names, for random inputs; raises InputError for a user error."""
    import numpy as np

    from nplm.gradcheck import check_layer

    rng = np.random.default_rng(seed)
    forward, backward = find(target)
    made = dict(parse_input(text, dtype, rng) for text in inputs)
    arguments = arrange(target, forward, made)
    try:
        return check_layer(forward, backward, *arguments, rng=rng, raises=False, **options)
    except Exception as error:  # whatever the user's functions raise
        raise InputError(f"{target} raised {type(error).__name__}: {error}{_place(error)}") from error


def find(target: str) -> Pair:
    """The forward and the backward pass of "module:name" or "module".

    The named object has `forward` and `backward` (a class is called without arguments first), or it is a function with
    one called name_backward next to it, or there are name_forward and name_backward.
    """
    module_name, _, name = target.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does
    try:
        module = import_module(module_name)
    except Exception as error:  # a module of the user's may raise anything
        what = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{module_name}: cannot be imported ({what}); give the name as in an `import`") from error
    found: Any = module
    owner: Any = module
    for part in name.split(".") if name else []:
        owner, found = found, getattr(found, part, None)
    last = name.rpartition(".")[2]
    pair: Any = (getattr(owner, f"{last}_forward", found), getattr(owner, f"{last}_backward", None))
    if found is not None and hasattr(found, "forward") and hasattr(found, "backward"):
        if isinstance(found, type):
            try:
                found = found()
            except TypeError as error:
                raise InputError(f"{target}: {error}; name an object, or a function with NAME_backward") from error
        pair = (found.forward, found.backward)
    if not all(map(callable, pair)):
        raise InputError(
            f"{target}: not a layer; it needs `forward` and `backward`, or functions {last or 'NAME'}_forward and"
            f" {last or 'NAME'}_backward"
        )
    return pair[0], pair[1]


def parse_input(text: str, dtype: str, rng: "np.random.Generator") -> tuple[str, Any]:
    """Name and random array of "x=5,3", "x=5,3:positive", "ids=5:int", "ids=5:int:10" or "ids=5:int:3:10"."""
    name, equals, rest = text.partition("=")
    shape_text, *kind = rest.split(":")
    try:
        shape = tuple(int(size) for size in shape_text.split(",") if size)
        bounds = [int(word) for word in kind[1:]]
    except ValueError:
        raise InputError(f"--input {text}: write {SPELLING}") from None
    if not (equals and name) or min(shape, default=0) < 0 or len(bounds) > 2:
        raise InputError(f"--input {text}: write {SPELLING}")
    word = kind[0] if kind else dtype
    if word == "int":
        low, high = ([0, *bounds] if len(bounds) < 2 else bounds) if bounds else (0, 2)
        if low >= high:
            raise InputError(f"--input {text}: there is no integer from {low} to {high - 1}")
        return name, rng.integers(low, high, shape)
    if bounds or word not in (*FLOATS, "positive"):
        raise InputError(f"--input {text}: unknown type {':'.join(kind)}; use int, positive, {' or '.join(FLOATS)}")
    values = rng.normal(size=shape)
    return name, (abs(values) + 0.1 if word == "positive" else values).astype(dtype if word == "positive" else word)


def arrange(target: str, forward: Callable[..., Any], made: Mapping[str, Any]) -> list[Any]:
    """The inputs in the order of forward's parameters, or in the order given if these cannot be inspected."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return list(made.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return list(made.values())
    known = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in known]
    for name in made:
        if name not in names:
            raise InputError(f"--input {name}: forward of {target} takes {', '.join(names) or 'nothing'}")
    needed = [p.name for p in known if p.default is p.empty or p.name in made]
    missing = [name for name in needed if name not in made]
    if missing or needed != names[: len(needed)]:
        lacking = (missing or [name for name in names if name not in made])[0]
        raise InputError(f"forward of {target} takes {', '.join(names)}; give --input {lacking}=SHAPE")
    return [made[name] for name in needed]


def _place(error: Exception) -> str:
    """ " (file, line)" of the last line of the user's own code, neither this package's nor a library's."""
    package = Path(__file__).parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and (package not in path.parents or "gradcheck" not in path.parts):
            return f" ({path.name}, line {frame.lineno})" if package not in path.parents else ""
    return ""
