"""The pictures of the pages.  Oracles: the scripts that draw them; derivatives and sums that are worked out apart."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"


@pytest.fixture
def load(monkeypatch):
    """Imports a module of docs/pictures."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_the_files_are_what_the_script_makes(load, monkeypatch, tmp_path):
    """Oracle: draw.py --check; and a file that was changed by hand, and one that is missing, are named."""
    command = [sys.executable, FOLDER / "draw.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    draw = load("draw")
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(draw.PICTURES)
    monkeypatch.setattr(draw, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["draw.py"])
    draw.main()
    (tmp_path / "cut.svg").write_text("")
    (tmp_path / "bag.svg").unlink()
    monkeypatch.setattr(sys, "argv", ["draw.py", "--check"])
    with pytest.raises(SystemExit) as caught:
        draw.main()
    assert re.findall(r"(\w+)\.svg", str(caught.value)) == ["cut", "bag"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.stem)
def test_a_picture_has_both_themes_and_stays_in_its_frame(path):
    """Oracle: the file as XML: colours by name only, both themes, every number inside the frame."""
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    width, height = (float(root.get(key)) for key in ("width", "height"))
    assert "prefers-color-scheme:dark" in text and not re.search(r'(fill|stroke)="#', text)
    for element in root.iter():
        points = re.findall(r"([-\d.]+),([-\d.]+)", element.get("points") or "")
        if element.tag.endswith("text"):
            size, words = float(element.get("font-size")), len(element.text)
            shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor")]
            start = float(element.get("x")) - shift * words * 0.55 * size
            points = [(start, element.get("y")), (start + words * 0.55 * size, element.get("y"))]
        assert all(-2 <= float(x) <= width + 2 and -2 <= float(y) <= height + 2 for x, y in points), points


def test_every_picture_is_shown_with_a_text():
    """Oracle: the pages: each picture stands on one, with a sentence for those who cannot see it."""
    docs = FOLDER.parent
    shown = {}
    for page in docs.rglob("*.md"):
        for words, file in re.findall(r"!\[([^\]]+)\]\([./]*pictures/(\w+)\.svg\)", page.read_text(encoding="utf-8")):
            shown[file] = words
    assert set(shown) == {path.stem for path in FOLDER.glob("*.svg")}
    assert all(len(words) > 30 and words.endswith(".") for words in shown.values()), shown


def test_gradient_norms(load):
    """Oracle: a difference quotient of the last hidden state's loss in the cell carried in."""
    curves = load("curves")
    norms = curves.gradient_norms(steps=12, size=8)
    assert set(norms) == {"RNN, 0.5 U", "RNN, U", "RNN, 2 U", "LSTM, b_f = 0", "LSTM, b_f = 3"}
    assert norms["RNN, 0.5 U"][-1] < norms["RNN, U"][-1] < norms["RNN, 2 U"][-1]
    assert norms["LSTM, b_f = 0"][-1] < norms["LSTM, b_f = 3"][-1]
    # one step: dc = dh o (1 - tanh(c)^2)
    x, dh = np.array([[0.3, -0.2]]), np.array([1.0, 2.0])
    matrices = np.zeros((4, 2, 2))
    gate = 1 / (1 + np.exp(-x[0]))
    c = gate * np.tanh(x[0])
    expected = np.linalg.norm(dh * gate * (1 - np.tanh(c) ** 2))
    assert np.isclose(curves.lstm_norms(x, matrices, 0.0, dh)[0], expected)


def test_the_path_of_adam(load):
    """Oracle: Adam written out for a gradient that is 1 at two steps and 0 at the others; the two meet when read."""
    dense, stored = load("curves").adam_path(steps=5, seen=(0, 3))
    assert np.isclose(dense[0], -0.1)  # the first step of Adam has the length of the rate
    assert stored[1] == stored[2] == dense[0] > dense[2]
    assert stored[3] == dense[3] and stored[4] <= dense[3]


def test_the_recorded_log_z():
    """Oracle: the derivation: near 0; near -log K without log K; above 0 with hits masked; far above with one group."""
    record = json.loads((FOLDER / "log_z.json").read_text(encoding="utf-8"))
    right, without, masked, one = (np.mean(values[-8:]) for values in record["log_z"].values())
    assert all(values[0] == 0 for values in record["log_z"].values())  # the untrained model has Z = 1
    assert abs(right) < 0.1 < masked < 1 < one
    assert abs(without + np.log(record["num_noise"])) < 0.1


def test_the_record_is_that_of_the_file(load):
    """Oracle: the first two measurements of every case, done again."""
    measure = load("measure")
    record = json.loads((FOLDER / "log_z.json").read_text(encoding="utf-8"))
    assert record["num_noise"] == measure.load()["K"] and list(record["log_z"]) == list(measure.CASES)
    for name, case in measure.CASES.items():
        chunks, means = measure.curve(*case, most=25)
        assert chunks == record["chunks"][:2]
        np.testing.assert_allclose(means, record["log_z"][name][:2], atol=2e-3)
