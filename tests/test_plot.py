"""Curves and TensorBoard's events.  Oracles: the lines of metrics.jsonl they are made of, and planted mistakes."""

import json
import math
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nplm import InputError, optional
from nplm.cli import errors as _errors
from nplm.cli import plot as cli_plot
from nplm.views.metrics_log import read_history, read_runs, series
from nplm.views.plot import COLOURS, draw, plot, smooth, speeds
from nplm.views.tensorboard import write_events

ROOT = Path(__file__).parent.parent
PER_EPOCH = 1000


def line(kind, tokens, **figures):
    epoch = tokens // PER_EPOCH if kind == "valid" else 1 + (tokens - 1) // PER_EPOCH
    place = {"kind": kind, "epoch": epoch, "chunk": tokens % PER_EPOCH, "tokens_trained": tokens}
    return place | {"seconds": tokens / 500 + epoch, "tokens_per_second": 450.0, "lr": 1.5} | figures


def write_run(folder, epochs=3, valid=True, per_epoch=5, scale=1.0):
    """A made-up run: `per_epoch` lines of training an epoch, then one of validation; the second epoch is the best."""
    folder.mkdir(parents=True)
    lines = []
    for epoch in range(epochs):
        for k in range(1, per_epoch + 1):
            tokens = epoch * PER_EPOCH + k * PER_EPOCH // per_epoch
            lines.append(line("train", tokens, loss=scale * (1 + 1000 / tokens), gradient_norm=0.1 * k))
        figures = {"perplexity": scale * [90.0, 70.0, 80.0][epoch % 3], "mean_log_z": 0.1 * epoch, "std_log_z": 0.5}
        lines.append(line("valid", (epoch + 1) * PER_EPOCH, **(figures if valid else {})))
    if epochs == 0:
        lines.append(line("train", 200, loss=5.0, gradient_norm=None))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    config = {
        "model": {"num_layers": 2, "hidden_dim": 200, "vocab_size": 10_000},
        "train": {"num_noise": 64, "lr": 20.0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


@pytest.fixture
def figure_of():
    """Draws folders of runs; returns the figure's four panels and the texts of its legend."""
    pytest.importorskip("matplotlib")

    def call(*folders, x=None):
        figure = draw(read_runs(folders), x)
        return figure.axes, [text.get_text() for text in figure.legends[0].get_texts()]

    return call


def curve(panel, k=0):
    """x and y of the panel's k-th line."""
    return panel.lines[k].get_data()


@pytest.mark.parametrize(
    ("x", "unit", "label"),
    [
        (None, PER_EPOCH, "epochs"),
        ("epochs", PER_EPOCH, "epochs"),
        ("tokens", 1000, "thousands of tokens"),
        ("seconds", 1, "seconds of training"),
    ],
)
def test_the_curves_are_those_of_the_metrics(figure_of, run, x, unit, label):
    """The lines of metrics.jsonl: every curve, its place on the axis and the axis's name."""
    history = read_history(run)
    (loss, perplexity, log_z, speed), (legend,) = figure_of(run, x=x)
    figure = "seconds" if x == "seconds" else "tokens_trained"
    train, valid = (np.array(series(lines, figure)) / unit for lines in (history.train, history.valid))
    np.testing.assert_allclose(curve(loss), (train, series(history.train, "loss")))
    np.testing.assert_allclose(curve(speed), (train, speeds(history.train)))
    np.testing.assert_allclose(curve(perplexity), (valid, [90.0, 70.0, 80.0]))
    np.testing.assert_allclose(curve(perplexity, 1), ([valid[1]], [70.0]))  # the ring round the best
    np.testing.assert_allclose(curve(log_z, 1), (valid, [0.0, 0.1, 0.2]))  # after the line of log Z = 0
    band = log_z.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((-0.5, 0.7))
    assert log_z.get_xlabel() == speed.get_xlabel() == label
    assert all(panel.get_title(loc="left") and panel.get_ylabel() for panel in (loss, perplexity, log_z, speed))
    assert legend.split("   ") == ["run", "2 × 200 units, V = 10,000", "K = 64 noise words, lr 20",
                                   "best validation perplexity 70.00 in epoch 2"]  # fmt: skip


def test_several_runs_differ_in_colour_then_in_dashes(figure_of, tmp_path):
    """The palette: nine runs of seven colours, no two alike, in the order they were named."""
    folders = [write_run(tmp_path / f"run{k}", scale=1 + k) for k in range(9)]
    (loss, perplexity, *_), legend = figure_of(*folders)
    looks = [(one.get_color(), one.get_linestyle()) for one in loss.lines]
    assert len(set(looks)) == 9 and [colour for colour, _ in looks] == [*COLOURS, *COLOURS[:2]]
    assert [text.split()[0] for text in legend] == [f"run{k}" for k in range(9)]
    assert perplexity.get_yscale() == "log"  # from 70 to 810


def test_speed_is_that_between_two_lines():
    """By hand: 100 tokens in a second, 300 in two, then a clock that stood still."""
    tokens, seconds = [100, 400, 500], [1.0, 3.0, 3.0]
    records = [{"tokens_trained": t, "seconds": s} for t, s in zip(tokens, seconds, strict=True)]
    np.testing.assert_array_equal(speeds(records), [100.0, 150.0, math.nan])
    np.testing.assert_array_equal(speeds(records, 1), [400 / 3, 500 / 3, 400 / 2])


def test_a_running_mean():
    """By hand: NaN is left out, and the ends have fewer neighbours."""
    np.testing.assert_allclose(smooth([1.0, math.nan, 3.0, 8.0], 1), [1.0, 2.0, 5.5, 5.5])
    np.testing.assert_array_equal(smooth([1.0, math.nan, 3.0], 0), [1.0, math.nan, 3.0])


def test_many_lines_have_their_running_mean_over_them(figure_of, tmp_path):
    """smooth and speeds: the thin curve is what was measured."""
    history = read_history(write_run(tmp_path / "run", per_epoch=50))
    (loss, _, _, speed), _ = figure_of(tmp_path / "run")
    for panel, measured, mean in (
        (loss, series(history.train, "loss"), smooth(series(history.train, "loss"), 5)),
        (speed, speeds(history.train), speeds(history.train, 5)),
    ):
        np.testing.assert_allclose(curve(panel)[1], measured)
        np.testing.assert_allclose(curve(panel, 1)[1], mean)


def test_what_is_not_there_is_said(figure_of, tmp_path):
    """Planted gaps: no valid text, no finished epoch, figures that were not finite."""
    (_, perplexity, log_z, _), (legend,) = figure_of(write_run(tmp_path / "a", valid=False))
    assert [panel.texts[0].get_text() for panel in (perplexity, log_z)] == ["no validation text"] * 2
    assert "best" not in legend
    (_, perplexity, *_, speed), _ = figure_of(write_run(tmp_path / "b", epochs=0), tmp_path / "a")
    assert speed.get_xlabel() == "thousands of tokens" and perplexity.texts[0].get_text() == "no validation text"
    with pytest.raises(InputError, match=r"b: its first epoch is not finished; use `x` tokens"):
        figure_of(tmp_path / "b", x="epochs")


def test_names_are_shown_as_they_are(figure_of, tmp_path):
    """Planted names: matplotlib would take them for formulas, or leave them out of the legend."""
    pytest.importorskip("matplotlib")
    folders = [write_run(tmp_path / name) for name in (r"$\nothing$", "_a")]
    _, legend = figure_of(*folders)
    assert [text.split()[0] for text in legend] == [r"\$\nothing\$", "_a"]
    plot(read_runs(folders), tmp_path / "names.svg")


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG\r\n"), (".SVG", b"<?xml")])
def test_the_same_runs_give_the_same_bytes(run, tmp_path, suffix, start):
    """Two files, a user's own settings of matplotlib in between; no date in them, and nothing else in the folder."""
    matplotlib = pytest.importorskip("matplotlib")
    for name in "ab":
        plot(read_runs([run]), tmp_path / f"{name}{suffix}")
        matplotlib.rcParams["lines.markersize"] = 30
    matplotlib.rcdefaults()
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second and first.startswith(start) and b"dc:date" not in first and len(first) > 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}", "run"]


def read_events(path):
    """Events of a TFRecord file: length, its checksum, bytes, their checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    data, place = path.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = event_pb2.Event()
        event.ParseFromString(data[place + 12 : place + 12 + length])
        yield event
        place += 12 + length + 4


def test_tensorboard_events_are_the_metrics(run, tmp_path):
    """Every finite figure of every line, read back by the format's own messages; a second time replaces the first."""
    pytest.importorskip("tensorboardX")
    for _ in range(2):
        (path,) = write_events(read_runs([run]), tmp_path / "logs")
    assert list((tmp_path / "logs" / "run").iterdir()) == [path]
    got = [(v.tag, e.step, e.wall_time, v.simple_value) for e in read_events(path) for v in e.summary.value]
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    expected = [
        (f"{x['kind']}/{name}", x["tokens_trained"], x["seconds"], np.float32(value))
        for x in lines
        for name, value in x.items()
        if name not in ("kind", "epoch", "chunk", "tokens_trained", "seconds")
    ]
    assert sorted(got) == sorted(expected) and len(got) == 15 * 4 + 3 * 5
    assert [step for _, step, _, _ in got] == sorted(step for _, step, _, _ in got)


def test_a_figure_that_was_not_finite_is_no_event(tmp_path):
    """A planted null."""
    pytest.importorskip("tensorboardX")
    (path,) = write_events(read_runs([write_run(tmp_path / "run", epochs=0)]), tmp_path)
    tags = [value.tag for event in read_events(path) for value in event.summary.value]
    assert tags == ["train/tokens_per_second", "train/lr", "train/loss"]


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `nplm plot` in a folder with two runs; returns exit code, stdout and stderr."""
    write_run(tmp_path / "run")
    write_run(tmp_path / "deep" / "run", scale=2.0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").touch()
    monkeypatch.chdir(tmp_path)

    def go(line):
        args = shlex.split(line)
        code = _errors.exit_code(lambda: cli_plot.command.main(args, "plot", standalone_mode=False))
        return code, *capsys.readouterr()

    return go


def test_the_command_writes_what_the_functions_write(call):
    """nplm.views.plot.plot with the same settings; two folders of one name go by their paths."""
    pytest.importorskip("matplotlib")
    assert call("run deep/run -o both.svg --x tokens") == (0, "", "wrote both.svg\n")
    plot(read_runs(["run", "deep/run"]), "twin.svg", "tokens")
    assert Path("both.svg").read_bytes() == Path("twin.svg").read_bytes()
    assert list(read_runs(["run", "deep/run"])) == ["run", "deep/run"]


def test_the_command_writes_events(call):
    """The files it names."""
    pytest.importorskip("tensorboardX")
    code, out, err = call("run deep/run --tensorboard logs")
    assert (code, out) == (0, "")
    assert [len(list(read_events(Path(text.removeprefix("wrote "))))) for text in err.splitlines()] == [76, 76]


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("run", "give -o FILE.png"),
        ("-o a.png", "RUN"),
        ("run -o a.pdf", "a.pdf: the suffix '.pdf'"),
        ("run -o a", "a: the suffix ''"),
        ("gone -o a.png", "gone/metrics.jsonl: no such folder"),
        ("run/metrics.jsonl -o a.png", "run/metrics.jsonl: a file, not the folder of a run"),
        ("deep -o a.png", "deep/metrics.jsonl: no such file"),
        ("empty -o a.png", "empty/metrics.jsonl: has no metrics yet"),
        ("run run -o a.png", "run: named twice"),
        ("run -o a.png --x hours", "hours"),
        ("run -o gone/a.png", "gone/a.png: not written"),
        ("run --tensorboard run/metrics.jsonl", "run/metrics.jsonl/run: not written"),
    ],
)
def test_a_mistake_is_one_line(call, line, phrase):
    """Planted mistakes, each with the words that name it; nothing is left behind."""
    pytest.importorskip("tensorboardX" if "tensorboard" in line else "matplotlib")
    code, out, err = call(line)
    assert (code, out, err.count("\n")) == (2, "", 1) and phrase in err
    assert sorted(path.name for path in Path().iterdir()) == ["deep", "empty", "run"]


def test_a_missing_package_is_named_with_its_remedy(call, monkeypatch):
    """Planted: neither can be imported."""
    for name in ("matplotlib", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'nplm-nce[plot]'" in call("run -o a.png")[2]
    assert "pip install 'nplm-nce[tensorboard]'" in call("run --tensorboard logs")[2]
    with pytest.raises(InputError):
        optional.load("matplotlib", "plot", "a plot")


def test_the_file_of_the_command_loads_no_numpy():
    """sys.modules after it is imported: `nplm --help` need not wait."""
    code = "import sys, nplm.cli.plot; print({'numpy', 'matplotlib'} & set(sys.modules))"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert got.stdout == "set()\n"
