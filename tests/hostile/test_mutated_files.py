"""Mutated files of every reader.  Oracle: an independent reading of the same bytes, or InputError in one line.

The mutations are drawn by hypothesis, which shrinks what fails; `python -m tests.hostile` draws millions.
"""

import json
import os
import signal
import time
from pathlib import Path
from random import Random

import pytest
from hostile import binary, inputs
from hostile.reader import Reader, quiet, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nplm.errors import InputError

EXAMPLES = {True: 60, False: 250}  # of a slow reader, and of the others


@pytest.fixture(scope="module", params=inputs.READERS)
def reader(request, tmp_path_factory):
    """A reader with its good files."""
    quiet()
    return inputs.READERS[request.param](tmp_path_factory.mktemp("reader"))


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of kinds of tensors that it is about to drop
def test_a_mutated_file_is_read_right_or_refused(reader):
    """Oracle: see the reader.  Any other exception, another value, or a message of two lines fails."""

    @settings(
        max_examples=EXAMPLES[reader.name in inputs.SLOW], deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def attempts(rng):
        assert reader.attempt(rng) in ("read", "refused")

    attempts()


def test_both_ends_are_met(reader):
    """Oracle: a plain generator: of 200 files some are read and some are refused, so neither side is tested in vain."""
    got = [inputs.one(reader, "both", n) for n in range(200)]
    assert {"read", "refused"} == set(got)


def test_a_file_is_the_same_again(tmp_path):
    """Oracle: the file that the first call wrote: a fault can be replayed from reader, seed and number."""
    written = []
    for name in ("a", "b"):
        one = inputs.READERS["TOML"](tmp_path / name)
        inputs.one(one, "seed", 5)
        written.append(one.path.read_bytes())
    assert written[0] == written[1]


def test_planted_faults_are_seen(monkeypatch, tmp_path):
    """Planted: a checksum that is not compared, a type that is not checked, a count taken from float(), a crash."""
    quiet()
    from nplm.storage import tensorfile

    models = binary.Models(tmp_path / "models")
    with monkeypatch.context() as patch:
        patch.setattr(tensorfile, "_digest", lambda tensors, metadata: metadata.get("sha256"))
        with pytest.raises(Exception, match=r".") as caught:
            for n in range(400):
                inputs.one(models, "planted", n)
        assert not isinstance(caught.value, InputError)
    from nplm.toolkits import nbest

    lists = inputs.READERS["n-best list (SRILM)"](tmp_path / "lists")
    with monkeypatch.context() as patch:
        patch.setattr(nbest, "to_number", float)
        with pytest.raises((AssertionError, ValueError)):
            for n in range(3000):
                inputs.one(lists, "planted", n)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_crash_and_a_hang_are_counted(tmp_path, monkeypatch):
    """Planted: a reader that dies of a signal, one that waits for ever, and one that raises; the others go on."""
    from hostile import children

    class Odd(Reader):
        name = "odd"

        def trial(self, rng: Random) -> None:
            kind = rng.randrange(40)
            if kind == 0:
                os.kill(os.getpid(), signal.SIGKILL)  # no trace of pytest's, as after SIGSEGV
            if kind == 1:
                time.sleep(60)
            if kind == 2:
                raise KeyError("x")
            if kind < 9:
                raise InputError("refused")

    monkeypatch.setattr(children.forked, "__kwdefaults__", {"hangs": 1.0})
    expected = [Random(f"odd/s/{n}").randrange(40) for n in range(60)]
    got = inputs.batch(Odd(tmp_path), "s", 0, 60)
    assert got["counts"].get("crashed", 0) == expected.count(0) > 0
    assert got["counts"].get("hung", 0) == expected.count(1)
    assert {fault["n"] for fault in got["faults"] if "crashed" in fault["error"]} == {
        n for n, kind in enumerate(expected) if kind == 0
    }


def test_same_tells_types_apart():
    """By hand."""
    assert same({"a": [1, 2.5, None]}, {"a": [1, 2.5, None]}) and same(float("nan"), float("nan")) and same(1, 1.0)
    assert not same(True, 1) and not same(1, "1") and not same({"a": 1}, {"a": 1, "b": 2}) and not same([1], [1, 1])


def test_the_checksum_of_the_trials_is_that_of_the_package(tmp_path):
    """Oracle: files that nplm itself writes; the digest here is written from the description in checkpoint.py."""
    for data, _ in binary.good_models():
        tensors, metadata = binary.unpack(data)
        assert metadata["sha256"] == binary.digest(tensors, metadata)
    golden = Path(__file__).parents[1] / "golden" / "model.safetensors"
    tensors, metadata = binary.unpack(golden.read_bytes())
    assert metadata["sha256"] == binary.digest(tensors, metadata) and json.loads(metadata["config"])


# ---- what the trials found, each kind as a test


@pytest.mark.parametrize("text", ["-1_012", "1\u3000", "\u0663", " 1", "0x10", "nan", "1e", ".", "", "--1", "infin"])
def test_what_is_no_number_to_c_is_none_here(text):
    """Found: `-1_012` was a log10 of -1012 to `nplm mix`, and `-inf` with U+3000 behind it a score."""
    from nplm.toolkits.number import to_number

    assert to_number(text) != to_number(text)


@pytest.mark.parametrize(("text", "value"), [("-1.5", -1.5), ("3.", 3.0), (".5E-1", 0.05), ("+7", 7), ("-INF", -1e999)])
def test_what_is_a_number_to_c_is_one_here(text, value):
    """By hand, after strtod's description."""
    from nplm.toolkits.number import to_number

    assert to_number(text) == value


def test_a_rate_above_the_runs_is_refused(tmp_path):
    """Found: a rate of 2^64 in last.safetensors reached the compiler, and one of 1e9 an exception in the update."""
    runs = binary.Runs(tmp_path)
    for rate in (2**64, 2.1e9, 0.0101):
        config, _, tensors, metadata, _ = runs.good["adam"]
        place, run = tmp_path / "adam", json.loads(metadata["run"]) | {"lr": rate}
        (place / "last.safetensors").write_bytes(binary.pack(tensors, metadata | {"run": json.dumps(run)}))
        with pytest.raises(InputError, match=r"is above the run's `lr` = 0\.01"):
            runs.resume(Random(0), place, config, tensors, metadata)


def test_a_second_bias_of_another_shape_is_refused(tmp_path):
    """Found: zeros of any shape in the place of rnn.bias_hh_l0 were passed over."""
    import nplm

    tensors, metadata = binary.unpack(binary.good_models()[0][0])
    tensors["rnn.bias_hh_l0"] = tensors["rnn.bias_hh_l0"][:-1]
    (tmp_path / "m").write_bytes(binary.pack(tensors, metadata))
    with pytest.raises(InputError, match="differ in shape"):
        nplm.load(tmp_path / "m")
