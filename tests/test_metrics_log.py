"""Reading a run's metrics.  Oracles: what nplm.train returned, and planted damage."""

import json
import math

import pytest
from conftest import make_model, make_vocabulary

import nplm
from nplm import Corpus, InputError, TrainConfig
from nplm.views.metrics_log import read_history, series

LINE = {"kind": "train", "epoch": 1, "chunk": 3, "tokens_trained": 60, "seconds": 0.5, "loss": 2.5}


def write(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def text(**changes):
    return json.dumps(LINE | changes) + "\n"


def test_a_run_is_read_back(tmp_path):
    """TrainResult.history and config.json of a run of two epochs."""
    ids = make_model().vocabulary.encode([f"w{k % 9 + 2}" for k in range(203)])
    corpus = Corpus("toy", make_vocabulary(11), ids, ids[:50])
    settings = TrainConfig(bptt=4, batch_size=5, sequence_length=10, num_noise=6, epochs=2, log_interval=3)
    result = nplm.train(make_model(scale=0.3), corpus, settings, save=tmp_path / "run")
    got = read_history(tmp_path / "run")
    assert got.train == [line for line in result.history if line["kind"] == "train"] and len(got.train) == 8
    assert got.valid == [line for line in result.history if line["kind"] == "valid"] and len(got.valid) == 2
    assert got.config == json.loads((tmp_path / "run" / "config.json").read_text())
    assert got.tokens_per_epoch == 203
    assert series(got.valid, "perplexity") == [line["perplexity"] for line in got.valid]


def test_a_torn_last_line_is_passed_over(tmp_path):
    """The lines before it; with and without a line's end, and where only rubbish was written."""
    for torn in ('{"kind": "train", "ep', "\0\0\0\n", '{"kind": "train"}\n', "7\n"):
        got = read_history(write(tmp_path, text(), text(chunk=6), torn))
        assert [line["chunk"] for line in got.train] == [3, 6] and got.valid == [] and got.config == {}


@pytest.mark.parametrize("bad", ['{"kind": "tr\n', "[]\n", '{"epoch": 1}\n', text(seconds="5"), text(epoch=None)])
def test_another_damaged_line_is_named(tmp_path, bad):
    """Planted damage in line 2 of 3."""
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: damaged"):
        read_history(write(tmp_path, text(), bad, text()))


def test_no_run(tmp_path):
    """Planted mistakes: no folder, a file, an empty folder, no line yet, settings that are none."""
    (tmp_path / "file").write_text("")
    for folder, phrase in (("gone", "no such folder"), ("file", "not the folder"), (".", "no such file")):
        with pytest.raises(InputError, match=phrase):
            read_history(tmp_path / folder)
    for content in ("", "\n\n", '{"kind"'):
        with pytest.raises(InputError, match="has no metrics yet"):
            read_history(write(tmp_path / "run", content))
    write(tmp_path / "run", text())
    for content in ("{", "[]"):
        (tmp_path / "run" / "config.json").write_text(content)
        with pytest.raises(InputError, match=r"config\.json: damaged"):
            read_history(tmp_path / "run")


def test_series_has_nan_for_what_is_null_missing_or_no_number():
    """The definition; and before the first epoch's end, an epoch's length is not known."""
    got = series([{"loss": 1}, {"loss": None}, {}, {"loss": "2"}, {"loss": 2.5}], "loss")
    assert got[::4] == [1.0, 2.5] and all(map(math.isnan, got[1:4]))


def test_an_epoch_has_no_length_before_its_end(tmp_path):
    """Only a line of kind valid tells it; lines of kinds to come are passed over."""
    got = read_history(write(tmp_path, text(), text(kind="other")))
    assert len(got.train) == 1 and math.isnan(got.tokens_per_epoch)
