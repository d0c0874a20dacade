"""The docstrings of the public names.  Oracle: the signatures."""

import inspect
import re

import pytest

import nplm

SETTINGS = {"ModelConfig", "TrainConfig"}  # their fields are declared with meaning and range, see nplm/config/
SECTION = re.compile(r"^(\w+)\n-{3,}$", re.MULTILINE)


def documented():
    """(name, object) of every public function and class, and of their public methods."""
    for name in nplm.__all__:
        value = getattr(nplm, name)
        yield name, value
        if inspect.isclass(value):
            for key, method in vars(value).items():
                if not key.startswith("_") and isinstance(method, (classmethod, staticmethod, property)):
                    yield f"{name}.{key}", getattr(method, "__func__", getattr(method, "fget", None))
                elif not key.startswith("_") and inspect.isfunction(method):
                    yield f"{name}.{key}", method


def sections(value):
    """The headings of a NumPy-style docstring."""
    return SECTION.findall(inspect.getdoc(value) or "")


def parameters(value):
    """Names of the parameters of a function, or of those that make an object; `self` and `cls` are not counted."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return []
    names = inspect.signature(value).parameters
    return [name for name in names if name not in ("self", "cls", "memo")]


def undocumented(value):
    """Parameters that the section "Parameters" does not name."""
    text = (inspect.getdoc(value) or "").partition("Parameters\n----------\n")[2]
    own = SECTION.split(text)[0]
    named = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", own, re.MULTILINE)
    return [name for name in parameters(value) if name not in ", ".join(named).split(", ")]


PUBLIC = dict(documented())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    """A first line that ends in a full stop, and the NumPy style's sections in its order."""
    first = (inspect.getdoc(PUBLIC[name]) or "").partition("\n")[0]
    assert re.search(r"[.:]( .*)?$", first), first
    order = ["Parameters", "Attributes", "Returns", "Raises"]
    assert sections(PUBLIC[name]) == [heading for heading in order if heading in sections(PUBLIC[name])]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in SETTINGS])
def test_parameters_are_documented(name):
    """The signature: each parameter stands in the section, under its name."""
    assert undocumented(PUBLIC[name]) == []


def test_the_list_of_public_names():
    """A few of each kind, by hand."""
    assert {"train", "load", "Vocabulary", "Vocabulary.from_counts", "Observer.step", "Model.score"} <= set(PUBLIC)


def test_a_parameter_left_out_is_found():
    """Planted: two parameters, one of them documented."""

    def function(first, second):
        """Do nothing.

        Parameters
        ----------
        first : int
            Left alone.

        Returns
        -------
        None
        """

    assert sections(function) == ["Parameters", "Returns"]
    assert undocumented(function) == ["second"]
