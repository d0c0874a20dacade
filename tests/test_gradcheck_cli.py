"""`nplm gradcheck MODULE:LAYER`.  Oracle: layers written for it, right and wrong, and planted mistakes."""

import sys

import pytest

LAYERS = """
import numpy as np


def dense_forward(x, w, scale=1.0):
    return np.tanh(x @ w), (x, w)


def dense_backward(dy, cache):
    x, w = cache
    da = dy * (1 - np.tanh(x @ w) ** 2)
    return da @ w.T, x.T @ da


def square(x):
    return x * x


def square_backward(dy, x):
    return dy * x


class Lookup:
    def forward(self, table, ids):
        return table[ids], (table.shape, ids)

    def backward(self, dy, cache):
        shape, ids = cache
        dtable = np.zeros(shape, dy.dtype)
        np.add.at(dtable, ids, dy)
        return dtable, None


class Needs:
    def __init__(self, size):
        self.size = size

    forward = backward = None


logarithm = Lookup()
logarithm.forward = lambda x: np.log(x)
logarithm.backward = lambda dy, x: dy / x


def broken(x):
    raise ValueError("no such thing")


broken_backward = square_backward
alone = None
"""


@pytest.fixture
def layers(tmp_path, monkeypatch):
    """A module `own_layers` in the current folder."""
    (tmp_path / "own_layers.py").write_text(LAYERS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_layers", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.path.insert(0, "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "line",
    [
        "own_layers:dense --input x=5,3 --input w=3,4",
        "own_layers:dense --input w=3,4 --input x=5,3",
        "own_layers:Lookup --input table=9,2 --input ids=6:int:9",
        "own_layers:Lookup --input table=9,2 --input ids=2,3:int:4:9",
        "own_layers:Lookup --input table=9,2 --input ids=6:int",
        "own_layers:logarithm --input x=5,3:positive",
    ],
)
def test_right_layers(nplm, layers, line, dtype):
    """Functions, a class and an object; integers with and without bounds, in both precisions."""
    got = nplm("gradcheck", *line.split(), "--dtype", dtype)
    assert got.code == 0 and got.out.startswith("gradient check, right"), got


def test_a_wrong_layer(nplm, layers):
    """Exit code 1; the report on stdout, or as JSON."""
    got = nplm("gradcheck", "own_layers:square", "--input", "x=4")
    assert got.code == 1 and "every entry is half as large" in got.out
    got = nplm("gradcheck", "own_layers:square", "--input", "x=4", "--json")
    assert got.code == 1 and got.figures["arrays"][0]["pattern"] == "ratio" and "half as large" in got.err
    assert nplm("gradcheck", "own_layers:square", "--input", "x=4", "--rtol", "0.6").code == 0


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("--input x=3", "--input needs a layer"),
        ("nowhere:f --input x=3", "nowhere: cannot be imported"),
        ("own_layers:alone --input x=3", "own_layers:alone: not a layer; it needs `forward` and `backward`"),
        ("own_layers:missing --input x=3", "missing_forward"),
        ("own_layers --input x=3", "own_layers: not a layer"),
        ("own_layers:Needs --input x=3", "size"),
        ("own_layers:square", "give --input x=SHAPE"),
        ("own_layers:dense --input x=5,3", "takes x, w, scale; give --input w=SHAPE"),
        ("own_layers:square --input y=3", "--input y: forward of own_layers:square takes x"),
        ("own_layers:square --input x=3,a", "--input x=3,a: write NAME=SHAPE[:TYPE]"),
        ("own_layers:square --input x", "--input x: write NAME=SHAPE[:TYPE]"),
        ("own_layers:square --input x=3:half", "unknown type half"),
        ("own_layers:Lookup --input table=3,2 --input ids=4:int:5:5", "no integer from 5 to 4"),
        ("own_layers:dense --input x=5,3 --input w=4,4", "own_layers:dense raised ValueError: matmul"),
        ("own_layers:broken --input x=3", "no such thing (own_layers.py, line"),
        ("own_layers:square --input x=3:int", "there are no arrays of real numbers"),
    ],
)
def test_mistakes_are_one_line(refused, layers, line, phrase):
    """Planted mistakes, each with the words that name it; exit code 2."""
    assert phrase in refused("gradcheck", *line.split())


def test_the_help_explains_layers_and_inputs(nplm):
    """What a layer is, and how inputs are written."""
    text = nplm("gradcheck", "--help").out
    assert "backward(dout, cache) -> dx, dw" in text and "ids=6:int:10" in text
