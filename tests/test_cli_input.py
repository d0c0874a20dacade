"""Train, eval and score with any number of texts.  Oracles: one joined file; shuffling and weights by hand."""

import json
import os
import subprocess
import sys
from itertools import groupby

import numpy as np
import pytest
from test_input import random_text

import nplm as package
from nplm.cli.reading import Watch
from nplm.cli.settings import SETTINGS
from nplm.config import InputError, TextConfig, TrainConfig
from nplm.data.streams import Streams
from nplm.data.units import Words, describe, restore
from nplm.data.vocabulary import Vocabulary

SMALL = (
    *("--hidden", 4, "--emsize", 4, "--layers", 1, "--nce", 8, "--bptt", 5, "--batch-size", 4, "--sequence-length", 20),
    *("--epochs", 2, "--lr", 2),
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder `parts` with three files, and the same text in joined.txt."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "parts").mkdir()
    parts = [random_text(60, 30, seed) + "\n" for seed in range(3)]
    for name, part in zip(("a.txt", "b.txt", "c.txt"), parts, strict=True):
        (folder / "parts" / name).write_text(part)
    (folder / "joined.txt").write_text("".join(parts))
    return folder


def same(one, other):
    """Whether two models have the same parameters, bit for bit, and the same vocabulary."""
    a, b = package.load(one), package.load(other)
    assert a.vocabulary == b.vocabulary and a.params.keys() == b.params.keys()
    return all(np.array_equal(a.params[name], b.params[name]) for name in a.params)


def test_however_a_text_is_given_the_model_is_the_same(nplm, texts, tmp_path, monkeypatch):
    """Oracle: one joined file, also as --valid; files, a folder, a pattern, a list in a config file, a pipe."""
    parts, joined = texts / "parts", texts / "joined.txt"
    monkeypatch.chdir(texts)
    config = tmp_path / "c.toml"
    config.write_text(f"train = ['{parts}/a.txt', '{parts}/b.txt', '{parts}/c.txt']\n[text]\nvalid = '{joined}'\n")
    expected = nplm("train", "--train", joined, "--valid", joined, "--save", tmp_path / "joined", *SMALL, "--json")
    assert expected.code == 0, expected.err
    files = [word for name in ("a.txt", "b.txt", "c.txt") for word in ("--train", parts / name)]
    for k, given in enumerate(
        [
            [*files, "--valid", joined],
            ["--train", parts, "--valid", parts],
            ["--train", "parts/*.txt", "--valid", "parts/[a-b].txt", "--valid", "parts/c.txt"],
            ["--config", config],
        ]
    ):
        got = nplm("train", *given, "--save", tmp_path / str(k), *SMALL, "--json")
        assert got.code == 0, got.err
        assert same(tmp_path / str(k), tmp_path / "joined")
        assert got.figures["valid_perplexity"] == expected.figures["valid_perplexity"]
        assert got.figures["bits_per_byte"] == expected.figures["bits_per_byte"]
    command = [sys.executable, "-m", "nplm", "train", "--train", "-", "--valid", joined, "--save", tmp_path / "pipe"]
    subprocess.run([*map(str, command), *map(str, SMALL)], input=joined.read_bytes(), check=True, capture_output=True)
    assert same(tmp_path / "pipe", tmp_path / "joined")
    for given in (parts, "parts/*.txt"):
        for command in ("eval", "score"):
            one, other = (nplm(command, tmp_path / "joined", text, "--json") for text in (given, joined))
            different = {"file"}
            assert {k: v for k, v in one.figures.items() if k not in different} == {
                k: v for k, v in other.figures.items() if k not in different
            }
    one = nplm("score", tmp_path / "joined", parts / "a.txt", parts / "b.txt", parts / "c.txt").out
    assert one == nplm("score", tmp_path / "joined", joined).out


def test_a_run_of_several_texts_is_resumed(nplm, texts, tmp_path, monkeypatch):
    """Oracle: the run that was not stopped; texts, weights, mark and order come from config.json, from any folder."""
    monkeypatch.chdir(texts)
    flags = [
        "--train",
        "parts/a.txt",
        "--train",
        "parts/b.txt",
        "--weight",
        "parts/b.txt=2",
        "--shuffle",
        "--unk",
        "w3",
    ]
    assert nplm("train", *flags, *SMALL, "--epochs", 3, "--save", tmp_path / "whole").code == 0
    assert nplm("train", *flags, *SMALL, "--epochs", 1, "--save", tmp_path / "cut").code == 0
    monkeypatch.chdir(tmp_path)
    got = nplm("train", "--save", tmp_path / "cut", "--resume", "--epochs", 3)
    assert got.code == 0, got.err
    for name in ("best", "last"):
        whole, cut = ((tmp_path / run / f"{name}.safetensors") for run in ("whole", "cut"))
        assert same(whole, cut)
    record = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert record["source"]["weight"] == [f"{texts}/parts/b.txt=2"] and record["train"]["reset_at_eos"] is True
    model = package.load(tmp_path / "whole")
    assert model.unit == Words(unk="w3") and "w3" not in model.vocabulary
    assert restore(describe(model.unit)) == model.unit
    plain = nplm("eval", tmp_path / "whole", texts / "joined.txt", "--json").figures
    assert plain["unknown_bits"] < plain["oovs"] * 8 * 3, "the mark is spelled"


def test_shuffled_streams_are_the_lines_in_another_order():
    """Oracle: the lines as lists; every epoch has its own order, the same for the same seed; nothing is lost."""
    rng = np.random.default_rng(3)
    lines = [[*rng.integers(2, 50, rng.integers(0, 7)).tolist(), 1] for _ in range(60)]
    ids = np.array([w for line in lines for w in line], np.int32)
    for b in (1, 4):
        orders = []
        for epoch in (0, 1, 0):
            streams = Streams(ids, b)
            streams.shuffle(np.random.default_rng([9, epoch]))
            order = np.random.default_rng([9, epoch]).permutation(len(lines))
            expected = np.array([w for k in order for w in lines[k]], np.int32)
            plain = Streams(expected, b)
            for start, stop in [(0, streams.full_steps)] + [(streams.full_steps, streams.num_steps)] * bool(
                streams.tail
            ):
                for got, want in zip(streams.window(start, stop), plain.window(start, stop), strict=True):
                    np.testing.assert_array_equal(got, want)
            orders.append(expected.tolist())
        assert orders[0] == orders[2] != orders[1]
        assert sorted(map(tuple, split_lines(orders[1]))) == sorted(map(tuple, split_lines(ids.tolist())))
    cut = Streams(ids[:-1], 3)  # a last line without </s> is a line
    cut.shuffle(np.random.default_rng(0))
    assert sorted(cut.window(0, cut.full_steps)[1].ravel().tolist()) != []


def split_lines(ids):
    return [list(group) for is_end, group in groupby(ids, lambda w: w == 1) if not is_end]


def test_shuffling_resets_the_state_and_changes_what_is_learned(nplm, texts, tmp_path, refused):
    """Oracle: the settings of the run; --no-reset-at-eos contradicts; another order is another model."""
    assert TrainConfig(shuffle=True).reset_at_eos and not TrainConfig().reset_at_eos
    for name, flags in (("plain", ["--reset-at-eos"]), ("shuffled", ["--shuffle"])):
        got = nplm("train", "--train", texts / "joined.txt", *SMALL, "--save", tmp_path / name, *flags)
        assert got.code == 0, got.err
    assert not same(tmp_path / "plain", tmp_path / "shuffled")
    assert "--reset-at-eos" in refused("train", "--train", texts / "joined.txt", "--shuffle", "--no-reset-at-eos")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--weight", "joined.txt"], "is not FILE=N"),
        (["--weight", "joined.txt=0"], "is not FILE=N"),
        (["--weight", "other.txt=2"], "no training text has this name"),
        (["--weight", "joined.txt=2", "--weight", "joined.txt=3"], "given twice"),
        (["--train", "*.none"], "the pattern matches none"),
        (["--unk", "</s>"], "is not a word"),
        (["--unk", "[UNK]", "--unit", "char"], "leave it out with --unit char"),
        (["--train", "-", "--valid", "-"], "given twice"),
    ],
)
def test_what_is_refused(refused, texts, monkeypatch, flags, part):
    """Oracle: one line that names the flag and the value."""
    monkeypatch.chdir(texts)
    assert part in refused("train", "--train", "joined.txt", *flags)


def test_a_setting_with_several_values():
    """Oracle: one value is a list of one; what is no text is refused."""
    assert TextConfig(train="a").train == TextConfig(train=["a"]).train == ("a",)
    assert TextConfig(train="a", weight=("a=b=3",)).weights == {"a=b": 3}
    assert {setting.name for setting in SETTINGS if setting.many} == {"train", "valid", "test", "weight"}
    with pytest.raises(InputError, match="`train` = 3 is not a string"):
        TextConfig(train=["a", 3])


def test_progress_is_shown(capsys, monkeypatch, texts):
    """Oracle: a clock of our own; bytes, lines, tokens a second and the time left; a large text at once."""
    now = [0.0]
    monkeypatch.setattr("nplm.cli.reading.time.monotonic", lambda: now[0])
    with Watch() as watch:
        watch.begin("counting", "big.txt", 200_000_000)
        assert "counting big.txt: 0.0 of 200.0 MB" in capsys.readouterr().err
        for now[0], size in ((0.6, 2_000_000), (1.0, 20_000_000), (9.0, 90_000_000), (10.5, 100_000_000)):
            watch.advance(size, size // 100, size // 5)
        shown = capsys.readouterr().err.splitlines()
        assert len(shown) == 1
        assert shown[0] == "counting big.txt: 100.0 of 200.0 MB, 1,000,000 lines, 1,904,762 tokens/s, 10.5 s left"
        now[0] = 20.0
        watch.end()
        assert "1,000,000 lines, 20,000,000 tokens, done in 20.0 s" in capsys.readouterr().err
        watch.begin("encoding", "small.txt", 1000)
        watch.advance(900, 5, 9)
        watch.end()
        assert capsys.readouterr().err == ""
        watch.begin("copying", "standard input", 0)
        now[0] = 20.6
        watch.advance(5_000_000)
        assert capsys.readouterr().err == "copying standard input: 5.0 MB\n"
        watch.warning("give `unit` char")
        assert capsys.readouterr().err == "warning: give --unit char\n"


def test_something_is_seen_within_a_second(texts, tmp_path):
    """Oracle: the first line on stderr is of the text, not of what comes after it was read; on a text of 7 MB."""
    big = tmp_path / "big.txt"
    big.write_text((texts / "joined.txt").read_text() * 2000)
    command = [sys.executable, "-m", "nplm", "train", "--train", str(big), *map(str, SMALL), "--min-count", "99999999"]
    got = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NPLM_CACHE": str(tmp_path)})
    assert got.returncode == 2 and got.stderr.startswith(f"counting {big}: ")


def test_warnings_name_flags(nplm, texts, tmp_path):
    """Oracle: a Chinese text without spaces."""
    path = tmp_path / "zh.txt"
    path.write_text("没有空格的一句话\n这是另外一句话没有空格\n" * 60)
    got = nplm("train", "--train", path, *SMALL, "--epochs", 1)
    assert "warning: " in got.err and "use --unit char" in got.err


def test_scores_in_bits_per_byte(nplm, texts, tmp_path):
    """Oracle: `nplm eval --reset` of the same text; not defined for parts of a text's probability."""
    text, run = texts / "joined.txt", tmp_path / "run"
    assert nplm("train", "--train", text, "--min-count", 3, *SMALL, "--save", run).code == 0
    exact = nplm("eval", run, text, "--reset", "--batch-size", 1, "--json").figures
    got = nplm("score", run, text, "--json")
    for name in ("bytes", "characters", "words"):
        assert got.figures[name] == exact[name]
    for name in ("unknown_bits", "bits_per_byte", "bits_per_character", "perplexity_per_word"):
        assert got.figures[name] == pytest.approx(exact[name], rel=1e-5)
    assert f"{exact['bits_per_byte']:.4f} bits per byte" in got.err
    for flag in ("--no-eos", "--unnormalised"):
        assert nplm("score", run, text, flag, "--json").figures["bits_per_byte"] is None
    spoken = tmp_path / "kaldi"
    spoken.write_text("".join(f"u{k} w1 w2 new\n" for k in range(5)))
    plain = tmp_path / "plain"
    plain.write_text("w1 w2 new\n" * 5)
    kaldi = nplm("score", run, spoken, "--format", "kaldi", "--json").figures
    assert kaldi["bits_per_byte"] == nplm("score", run, plain, "--json").figures["bits_per_byte"]


def test_a_vocabulary_is_checked_at_a_glance():
    """Oracle: the check of every token, which names the one that is wrong."""
    for bad in (["a b"], [""], ["a\n"], ["<s>"], ["\ud800"], [3], ["x", "", "y"], ["\n"]):
        with pytest.raises(InputError, match="vocabulary"):
            Vocabulary(["<unk>", "</s>", *bad], [1] * (2 + len(bad)))
    assert len(Vocabulary(["<unk>", "</s>", "<s>x", "x<s>", "\xa0"], [1] * 5)) == 5
