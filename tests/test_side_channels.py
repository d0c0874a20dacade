"""Streams that are lost, and signals to end.  Oracles: a run that nothing happened to, exit codes of the shell.

Issue 15, fault 4.  Real processes, since a pipe and a signal belong to one.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model

import nplm
from nplm.cli.streams import Expendable

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "model.safetensors"
NPLM = [sys.executable, "-m", "nplm"]
SMALL = [
    *("--hidden", "6", "--emsize", "5", "--layers", "1", "--nce", "8", "--bptt", "5", "--batch-size", "4"),
    *("--sequence-length", "20", "--lr", "1", "--log-interval", "1", "--save-interval", "0"),
]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "train.txt"
    rng = np.random.default_rng(0)
    path.write_text("".join(" ".join(rng.choice(list("abcdefgh"), 7)) + "\n" for _ in range(60)))
    return path


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """The best model's bytes of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run([*NPLM, *train(text, folder)], env=environment(), capture_output=True, check=True, timeout=300)
    return (folder / "best.safetensors").read_bytes()


def train(text, folder, epochs=2):
    return ["train", "--train", str(text), "--valid", str(text), *SMALL, "--epochs", str(epochs), "--save", str(folder)]


LOST = {
    "2>&1 | head -1": 141,  # the figures have no reader either
    "2>/dev/full": 0,
    "2>&1 >/dev/null | head -c 1": 0,
    "2>&-": 0,
    ">/dev/full": 2,
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("how", LOST)
def test_a_lost_stream_never_stops_training(how, text, whole, tmp_path):
    """Oracle: the run with all its streams: the same best model; the code says what became of stdout."""
    words = " ".join(f"'{word}'" for word in [*NPLM, *train(text, tmp_path / "run")])
    script = f"set -o pipefail; {words} {how} >/dev/null" if "|" in how else f"{words} {how}"
    got = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True, timeout=300)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == whole
    assert got.returncode == LOST[how], got
    assert "Traceback" not in got.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_end_finishes_the_chunk_and_saves(name, text, whole, tmp_path):
    """Oracle: the exit code of a shell; resumed, the run that nothing happened to, bit for bit."""
    number, folder = getattr(signal, name), tmp_path / "run"
    process = subprocess.Popen([*NPLM, *train(text, folder, epochs=2000)], env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not (folder / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert b"--resume" in err.splitlines()[-1] and b"Traceback" not in err
    from nplm.storage import checkpoint

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    at = checkpoint.load_run(folder / "last.safetensors")[1]
    assert at["metrics_lines"] == len(lines), "what was done is saved, to the last chunk"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_library_ends_by_the_signal_too(name, tmp_path):
    """Without the command: the process dies by the signal, after everything is saved."""
    script = f"""
import signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_train import SETTINGS, make_model, np, nplm, toy
class Kill(nplm.Observer):
    def step(self, step):
        if step.span.chunk == 1:
            signal.raise_signal(signal.{name})
            print("went on", flush=True)
model = make_model(np.float32, scale=0.3)
nplm.train(model, toy(), nplm.TrainConfig(**SETTINGS), save={str(tmp_path / "run")!r}, observer=Kill())
print("never reached")
"""
    got = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=300)
    assert got.returncode == -getattr(signal, name), got
    assert got.stdout == "went on\n"
    from nplm.storage import checkpoint

    assert checkpoint.load_run(tmp_path / "run" / "last.safetensors")[1]["chunk"] == 2


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_stdout_is_utf8_whatever_the_locale(encoding, tmp_path):
    """A word that cp1252 has not.  Oracle: its UTF-8 bytes."""
    lists = tmp_path / "a.nbest"
    lists.write_text("-1 -1 1 дом\n-2 -1 1 мир\n", encoding="utf-8")
    line = [*NPLM, "rescore", str(GOLDEN), str(lists), "--output", str(tmp_path / "out")]
    got = subprocess.run(line, env=environment(PYTHONIOENCODING=encoding), capture_output=True, timeout=300)
    assert got.returncode in (0, 2), got.stderr  # 2: a list without a known word may be refused
    assert got.returncode or "дом".encode() in got.stdout
    assert b"Traceback" not in got.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_rescore_keeps_its_folder_when_stdout_is_lost(tmp_path):
    """Issue 15: the folder of --output was lost.  Oracle: the folder that the same command writes with a stdout."""
    vocabulary = nplm.load(GOLDEN).vocabulary
    known = vocabulary.tokens[2]
    for name in "abc":
        (tmp_path / name).write_text(f"-1 -1 1 {known}\n-2 -1 2 {known} {known}\n")
    folders = []
    for out in ("/dev/null", "/dev/full"):
        folder = tmp_path / f"out{len(folders)}"
        line = [*NPLM, "rescore", str(GOLDEN), *(str(tmp_path / n) for n in "abc"), "--output", str(folder)]
        with Path(out).open("w") as stdout:
            got = subprocess.run(line, env=environment(), stdout=stdout, stderr=subprocess.PIPE, timeout=300)
        assert got.returncode == (2 if out == "/dev/full" else 0), got.stderr
        folders.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert folders[0] == folders[1] and len(folders[0]) == 3


def test_a_closed_pipe_has_a_code_of_its_own(tmp_path):
    """141, as of a program that SIGPIPE ended: for the help, and for a command that prints as it goes."""
    for args in (["train", "--help"], ["sample", str(GOLDEN), "-n", "200", "--seed", "1"]):
        read, write = os.pipe()
        os.close(read)
        got = subprocess.run([*NPLM, *args], env=environment(), stdout=write, stderr=subprocess.PIPE, timeout=300)
        os.close(write)
        assert got.returncode == 141 and b"Traceback" not in got.stderr, got


def test_a_stream_that_may_be_lost():
    """Oracle: a stream that fails from some moment on: nothing is raised, and what came before is there."""

    class Failing:
        def __init__(self):
            self.kept = []

        def write(self, text):
            if len(self.kept) == 2:
                raise BrokenPipeError
            self.kept.append(text)
            return len(text)

        def flush(self):
            raise ValueError("I/O operation on closed file")

        def isatty(self):
            return True

    inner = Failing()
    stream = Expendable(inner)
    assert [stream.write(text) for text in "abcd"] == [1, 1, 1, 1]
    stream.flush()
    assert inner.kept == ["a", "b"] and stream.isatty()


# ---- fault 5: text from files is neither HTML nor a command to the terminal

EVIL = "\x1b]0;owned\x07\x9b31m\u202e"


def test_nothing_printed_steers_the_terminal(nplm, tmp_path):
    """Oracle: the characters of all that is printed; the words and the provenance of a model hold escapes."""
    import nplm as package

    model = make_model(np.float32)
    words = package.Vocabulary(["<unk>", "</s>", *(f"w{k}{EVIL}" for k in range(9))], [1] * 11)
    model = package.LanguageModel(model.config, words, model.params)
    path, text = tmp_path / "model.safetensors", tmp_path / "text"
    package.save(model, path, {"corpus": EVIL, "epoch": EVIL, "train": {"lr": EVIL}, "mine": EVIL})
    text.write_text(f"w1{EVIL} w2{EVIL}\n", encoding="utf-8")
    for line in (
        ["info", path],
        ["sample", path, "--seed", 1, "--prompt", f"x{EVIL}"],
        ["eval", path, text, "-v", "word"],
        ["next", path, "w1"],
        ["info", f"no{EVIL}"],
        [f"command{EVIL}"],
    ):
        got = nplm(*line)
        assert not {*EVIL[:1], "\x07", "\x9b", "\u202e"} & {*got.out, *got.err}, line


def test_a_page_takes_nothing_from_a_file_for_html(nplm, tmp_path):
    """Issue 15: `best_epoch` with a refresh in it moved the page."""
    import nplm as package

    model, text, page = make_model(np.float32), tmp_path / "text", tmp_path / "page.html"
    run = shutil.copytree(ROOT / "tests" / "golden" / "sgd", tmp_path / "run")
    evil = '<meta http-equiv="refresh" content="0;url=//x">'
    path = run / "best.safetensors"
    package.save(model, path, {"epoch": evil, "corpus": evil, "nplm": evil, "train": {evil: evil}, evil: evil})
    text.write_text("w2 w3\n")
    assert nplm("report", path, "--text", text, "-o", page).code == 0
    content = page.read_text(encoding="utf-8")
    assert '<meta http-equiv="refresh"' not in content and "&lt;meta" in content


def test_a_message_repeats_no_file_without_limit(nplm, tmp_path):
    """A name of 100,000 characters in a config file: the line is short and ends with the remedy."""
    (tmp_path / "a.toml").write_text(f"{'x' * 100_000} = 1\n")
    got = nplm("train", "--config", tmp_path / "a.toml")
    assert got.code == 2 and len(got.err) < 1200 and "characters" in got.err
