"""Oracles: the Python functions behind the commands, the exit codes and streams of the contract, planted mistakes."""

import contextlib
import gzip
import inspect
import io
import json
import math
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nplm.cli import COMMANDS, demo, doctor, main
from nplm.cli import errors as _errors
from nplm.cli import output as _output
from nplm.cli import progress as _progress
from nplm.cli import session as _session
from nplm.cli import settings as _settings
from nplm.cli.train import command as train_command
from nplm.config import ModelConfig, TextConfig, TrainConfig
from nplm.data import builtin, corpus, streams
from nplm.data.corpus import Floor, load_corpus
from nplm.data.encode import read_ids
from nplm.data.measured import read_measured
from nplm.kernels import _jit
from nplm.model import LanguageModel
from nplm.scoring.evaluate import evaluate
from nplm.storage import checkpoint, tensorfile
from nplm.storage.checkpoint import load_model, save_model
from nplm.training import run_folder as run
from nplm.training.loop import train

WORDS = [f"w{k}" for k in range(12)]
SMALL = [
    *("--hidden", "6", "--emsize", "5", "--layers", "1", "--nce", "8", "--bptt", "5"),
    *("--batch-size", "4", "--sequence-length", "20", "--lr", "1"),
]
FIGURES = {
    "test_perplexity",
    "valid_perplexity",
    "unigram_perplexity",
    "floor_perplexity",
    "mean_log_z",
    "std_log_z",
    "tokens",
    "tokens_per_second",
    "seconds",
}


def write_text(path, lines, seed=0):
    rng = np.random.default_rng(seed)
    path.write_text("".join(" ".join(rng.choice(WORDS, 7)) + "\n" for _ in range(lines)))
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with train.txt, valid.txt, test.txt; test.txt has an unknown word in every line."""
    folder = tmp_path_factory.mktemp("texts")
    for seed, (name, lines) in enumerate((("train", 60), ("valid", 12), ("test", 11))):
        write_text(folder / f"{name}.txt", lines, seed)
    lines = (folder / "test.txt").read_text().splitlines()
    (folder / "test.txt").write_text("".join(f"{line} never\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def given(texts):
    """Options that name the texts and a small model."""
    return [word for part in ("train", "valid", "test") for word in (f"--{part}", str(texts / f"{part}.txt"))] + SMALL


@pytest.fixture(scope="module")
def finished(given, tmp_path_factory):
    """The folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.raises(SystemExit) as stop:
        main(["train", *given, "--epochs", "2", "--save", str(folder)])
    assert not stop.value.code
    return folder


@pytest.fixture
def tiny_corpus(texts, monkeypatch):
    """Stands in for the built-in corpora."""
    paths = [texts / f"{part}.txt" for part in ("train", "valid", "test")]
    loaded = load_corpus(*paths)
    floor = Floor(math.log(5.0), 0.01, "made up")
    made = corpus.Corpus("tiny", loaded.vocabulary, loaded.train, loaded.valid, loaded.test, floor, {"other": 7.5})
    monkeypatch.setattr(builtin, "load", lambda name: made)
    return made


# ---- start-up, help, version


def test_importing_the_command_and_its_help_loads_no_numpy():
    """sys.modules after `nplm train --help` has neither NumPy nor Numba: help need not wait for them."""
    code = "import sys\nfrom nplm.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print(sorted({'numpy', 'numba', 'tqdm', 'nplm.training.loop'} & set(sys.modules)))"
    for args in (["--help"], ["train", "--help"], ["eval", "--help"], ["trian"]):
        got = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
        assert got.stdout.splitlines()[-1] == "[]", args


def test_text_defaults_are_those_of_load_corpus():
    """inspect.signature of load_corpus."""
    theirs = inspect.signature(load_corpus).parameters
    ours = TextConfig(train="train.txt")
    assert ours.min_count == theirs["min_count"].default and ours.max_vocab is theirs["max_size"].default is None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples(nplm, command):
    """The contract: each command's help ends with examples that name it."""
    got = nplm(command, "--help")
    assert got.code == 0 and f"nplm {command}" in got.out.partition("Examples:")[2]


def test_help_needs_neither_a_config_file_nor_a_run(nplm):
    """The help without other options; and a shell that completes reads no file either."""
    assert nplm("train", "--config", "nowhere.toml", "--resume", "--help") == nplm("train", "--help")
    words = "nplm train --config nowhere.toml --resume --corpus m"
    asked = {"_NPLM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "6"}
    got = subprocess.run([sys.executable, "-m", "nplm"], env=os.environ | asked, capture_output=True, text=True)
    assert (got.stdout, got.stderr) == ("plain,markov\n", "")


def test_version_and_bare_command(nplm):
    """nplm.__version__."""
    from nplm import __version__

    assert nplm("--version").out == f"nplm {__version__}\n"
    assert nplm().out == nplm("--help").out


def test_completion_scripts_and_what_they_ask_for(nplm):
    """The variable that click reads; then what bash would get for `nplm tr`."""
    for shell in ("bash", "zsh", "fish"):
        assert "_NPLM_COMPLETE" in nplm("completion", shell).out
    asked = {"_NPLM_COMPLETE": "bash_complete", "COMP_WORDS": "nplm tr", "COMP_CWORD": "1"}
    got = subprocess.run([sys.executable, "-m", "nplm"], env=os.environ | asked, capture_output=True, text=True)
    # click takes the name from the program's: `python -m nplm` passes "nplm" on
    assert got.stdout == "plain,train\n"


# ---- mistakes on the command line


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("trian", "did you mean train?"),
        ("train --hiden 5", "--hidden"),
        ("--quiet train", "--quiet"),
        ("train", "give --train (a file) or --corpus"),
        ("train --corpus pyton", "did you mean python?"),
        ("train --corpus zzz", "choose one of python, markov, hmm"),
        ("train --corpus markov --valid v.txt", "leave out --valid"),
        ("train --corpus markov --chunks 1", "N >= 2"),
        ("train --corpus markov --sequence-length 20", "N >= 2"),
        ("train --corpus markov --chunks 1", "N = 1 is a --baseline"),
        ("train --corpus markov --chunks 0 --baseline", "--chunks = 0"),
        ("train --corpus markov --noise pool --noise-groups 1", "--noise-groups = 1 is one group for all chunks"),
        ("train --corpus markov --noise-groups 0", "--noise-groups = 0 "),
        (
            "train --corpus markov --baseline",
            "N = 10 and fresh noise the run is within the claims: leave out --baseline",
        ),
        ("train --corpus markov --baseline --noise pool", "N = 10 and M = 2 the run is within the claims"),
        ("train --corpus markov --baseline --chunks 1 --noise pool", "more than the N = 1 chunks"),
        ("train --corpus markov --noise pool --noise-groups 11", "more than the N = 10 chunks"),
        ("train --corpus markov --nce 0", "--nce = 0 "),
        ("train --corpus markov --nce 99999999", "--nce = 99999999 "),
        ("train --corpus markov --nce many", "'many'"),
        ("train --corpus markov --lr -1", "--lr = -1 "),
        ("train --corpus markov --lr nan", "--lr = nan "),
        ("train --corpus markov --clip 0", "--clip = 0 "),
        ("train --corpus markov --lr-decay 1.5", "--lr-decay = 1.5 "),
        ("train --corpus markov --nce-uniform 2", "--nce-uniform = 2 "),
        ("train --corpus markov --hidden 0", "--hidden = 0 "),
        ("train --train t.txt --min-count 0", "--min-count = 0 "),
        ("train --train t.txt --max-vocab 2", "--max-vocab = 2 "),
        ("train --train t.txt --vocab w.txt --min-count 2", "leave out --min-count and --max-vocab"),
        ("train --train=", "'': a folder"),
        ("train --corpus markov --noise stale", "'stale'"),
        ("train --corpus markov --sequence-length 100 --chunks 5 --bptt 30", "4 chunks, not 5"),
        ("train --corpus markov --sequence-length 10 --chunks 7", "5 chunks, not 7"),
        ("train --corpus markov --resume", "give --save"),
        ("train --config nowhere.toml", "nowhere.toml: cannot be read"),
        ("demo --epochs 0", "--epochs = 0 "),
        ("eval", "MODEL"),
        ("eval nowhere.safetensors", "FILE"),
        ("eval nowhere.safetensors t.txt", "nowhere.safetensors: cannot be read"),
        ("eval m.safetensors t.txt --batch-size 0", "--batch-size"),
        ("info nowhere", "nowhere: cannot be read"),
        ("gradcheck --configs 0", "--configs"),
        ("completion ksh", "ksh"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(refused, line, phrase):
    """Planted mistakes, each with the words that name it."""
    assert phrase in refused(*line.split())


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ("--baseline --chunks 1 --sequence-length 5", "one chunk per sequence (N = 1)"),
        ("--baseline --bptt 20", "one chunk per sequence (N = 1)"),
        ("--baseline --noise pool --noise-groups 1", "one noise group per pool (M = 1)"),
        ("--noise pool", None),
    ],
)
def test_a_baseline_names_itself(nplm, given, tmp_path, flags, what):
    """The definition of the claims: what a run outside them says in its table, its figures and its folder."""
    run = tmp_path / "run"
    got = nplm("train", *given, "--epochs", 1, "--save", run, "--json", *flags.split())
    assert got.code == 0, got.err
    assert got.figures["baseline"] == what
    assert ("outside the claims: " + str(what) in got.err) == (what is not None)
    record = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert record["train"]["baseline"] == (what is not None)
    resumed = nplm("train", "--save", run, "--resume", "--epochs", 2, "--json")  # without naming it again
    assert (resumed.code, resumed.figures["baseline"]) == (0, what), resumed.err


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"one one\none\n", "at least 2"),
        (b"a b\n\xff\n", "line 2: byte 0xff"),
        (b"a b\n\0\1\2\n", "line 2: a NUL byte"),
        (b"a b\n" + b"x" * 10_000_000 + b"\n", "line 2: 10000000 bytes long"),
        (b"a b\nb a\n", "fewer than one chunk's 20"),
    ],
)
def test_a_bad_training_text_is_one_line(refused, tmp_path, content, phrase):
    """Planted bad texts; the last is too short for one chunk.  No folder is left behind."""
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused("train", "--train", path, "--save", tmp_path / "run", *SMALL)
    assert phrase in line and not (tmp_path / "run").exists()


def test_bom_and_crlf_change_nothing(nplm, texts, tmp_path):
    """The same text with plain line ends."""
    plain = (texts / "train.txt").read_bytes()
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"))
    got = [
        nplm("train", "--train", folder / "train.txt", "--valid", texts / "valid.txt", *SMALL, "--epochs=1", "--json")
        for folder in (texts, tmp_path)
    ]
    assert got[0].figures["valid_perplexity"] == got[1].figures["valid_perplexity"]


def test_a_valid_text_without_a_known_word_is_one_line(refused, texts, tmp_path):
    """A planted text in another language, for `train` and for `eval`."""
    (tmp_path / "other.txt").write_text("quite other words\n")
    line = refused("train", "--train", texts / "train.txt", "--valid", tmp_path / "other.txt", *SMALL)
    assert "other.txt: none of its words is in the vocabulary" in line


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ("hiden = 5", "no setting is called 'hiden'; did you mean hidden"),
        ("[model]\nlr = 5", "[model]: no setting is called 'lr'"),
        ("[modell]\nhidden = 5", "'modell'"),
        ("zzz = 5", "no setting is called 'zzz'; nplm train --help lists all of them"),
        ("hidden = 5\nhidden_dim = 6", "hidden is given twice"),
        ("hidden = 'five'", "hidden = 'five' is not a whole number"),
        ("lr = true", "lr = True is not a number"),
        ("corpus = 7", "corpus = 7 is not a string"),
        ("hidden = ", "not valid TOML"),
        ("[train]\nnce = 0", "[train]: nce = 0 is outside [1, 2^20]"),
        ("noise = 'stale'", "noise = 'stale' is not one of fresh, pool"),
    ],
)
def test_a_bad_config_file_is_one_line(refused, tmp_path, content, phrase):
    """Planted mistakes in a TOML file."""
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    line = refused("train", "--corpus=markov" if "corpus" not in content else "--seed=1", "--config", path)
    assert phrase in line and "recipe.toml" in line


# ---- settings: which value wins, and what is said about it


def test_the_flag_wins_over_the_file_and_the_file_over_the_default(nplm, given, tmp_path):
    """config.json of the run, and the echo on stderr: value and source of each setting."""
    path = tmp_path / "recipe.toml"
    path.write_text("seed = 5\n[model]\nhidden = 7\ninit-scale = 1\n[train]\nlr = 3\nnum_noise = 9\n")
    short = [word for word in given if word not in ("--nce", "8")]
    got = nplm("train", *short, "--config", path, "--epochs", 1, "--save", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (record["model"]["hidden_dim"], record["model"]["init_scale"]) == (6, 1.0)
    assert (record["train"]["lr"], record["train"]["num_noise"], record["train"]["seed"]) == (1.0, 9, 5)
    echo = " ".join(got.err.split())
    for cell in ("hidden 6 flag", "nce 9 config file", "init-scale 1 config file", "seed 5 config file"):
        assert cell in echo
    assert "clip 0.25 default" in echo and "min-count 1 default" in echo
    shown = [s.flag for s in _settings.SETTINGS if s not in (*_settings.TEXT, _settings.CHUNKS)]
    assert all(f" {flag} " in echo for flag in shown)


def settings_given(monkeypatch, file, flags):
    """The settings that `nplm train` takes from a config file and from flags, both by field."""
    by_field = {setting.name: setting.flag for setting in _settings.SETTINGS}
    words = [word for name, value in flags.items() for word in (f"--{by_field[name]}", str(value))]
    monkeypatch.setattr("nplm.cli.train.read_config_file", lambda path: file)
    with train_command.make_context("train", ["--config", "recipe.toml", *words]):
        return _settings.values()


@pytest.mark.parametrize(
    ("file", "flags", "length", "bptt"),
    [
        ({}, {"chunks": 4}, 80, 20),  # S = N*T
        ({}, {"chunks": 4, "bptt": 5}, 20, 5),
        ({}, {"chunks": 4, "sequence_length": 30}, 30, 8),  # T = ceil(S/N)
        ({}, {"chunks": 4, "sequence_length": 30, "bptt": 9}, 30, 9),
        ({"chunks": 4}, {"sequence_length": 90}, 90, 20),  # a flag wins over the file
        ({"sequence_length": 90}, {"chunks": 4}, 80, 20),
        ({"chunks": 4}, {"bptt": 5}, 20, 5),
    ],
)
def test_chunks_and_sequence_length(file, flags, length, bptt, monkeypatch):
    """S = N T, worked out by hand."""
    found = settings_given(monkeypatch, file, flags)
    assert (found["sequence_length"].value, found["bptt"].value) == (length, bptt)


# ---- train


def test_train_reports_what_evaluate_says_of_the_saved_model(nplm, given, texts, finished):
    """nplm.evaluate on best.safetensors, and the unigram model."""
    got = nplm("train", "--save", finished, "--resume", "--json")  # finished: trains no further, measures again
    model = load_model(finished / "best.safetensors")
    test, valid = (read_ids(texts / f"{part}.txt", model.vocabulary) for part in ("test", "valid"))
    expected, figures = evaluate(model, test), got.figures
    assert got.code == 0 and figures.keys() >= FIGURES and got.out.count("\n") == 1
    assert figures["test_perplexity"] == expected.perplexity and figures["oovs"] == 11
    assert figures["valid_perplexity"] == evaluate(model, valid).perplexity
    assert (figures["mean_log_z"], figures["std_log_z"]) == (expected.mean_log_z, expected.std_log_z)
    assert figures["tokens"] == len(test) == 99 and figures["split"] == "test"
    assert figures["unigram_perplexity"] == corpus.unigram_perplexity(model.vocabulary, test)
    assert figures["floor_perplexity"] is None and figures["tokens_per_second"] > 0
    assert f"{expected.perplexity:,.2f}" in got.err and "99 tokens" in got.err


def test_train_is_the_python_functions(nplm, given, texts, tmp_path, monkeypatch):
    """load_corpus, LanguageModel.init and nplm.train with the same settings: the same bytes.  Paths may be relative."""
    monkeypatch.chdir(texts)
    line = ["--train", "train.txt", "--valid", "valid.txt", *SMALL, "--seed", "7", "--min-count", "2", "--epochs", "1"]
    nplm("train", *line, "--max-vocab", "10", "--save", tmp_path / "command")
    loaded = load_corpus("train.txt", "valid.txt", min_count=2, max_size=10)
    model = LanguageModel.init(ModelConfig(10, 5, 6, 1), loaded.vocabulary, np.random.default_rng(7))
    config = TrainConfig(bptt=5, batch_size=4, sequence_length=20, num_noise=8, lr=1.0, seed=7, epochs=1)
    train(model, loaded, config, save=tmp_path / "python")
    assert len({(tmp_path / name / "best.safetensors").read_bytes() for name in ("command", "python")}) == 1
    monkeypatch.chdir(tmp_path)
    assert nplm("train", "--save", "command", "--resume").code == 0  # from another folder


def test_the_table_is_on_stdout_and_the_progress_on_stderr(nplm, given):
    """The contract: data on stdout, everything else on stderr."""
    got = nplm("train", *given, "--epochs", 2, "--log-interval", 10)
    assert "test text" in got.out and "unigram model" in got.out and "log Z mean, sd" in got.out
    assert got.err.count("chunk     10") == 2 and got.err.count("valid perplexity") == 2 and "epoch 2/2" in got.err
    assert "epoch" not in got.out.partition("epochs ")[0] and "no folder (--save was not given)" in got.out


def test_without_a_test_text_valid_is_measured_and_without_both_nothing(nplm, texts):
    """The contract: nulls where there is nothing to measure."""
    base = ["train", "--train", texts / "train.txt", *SMALL, "--epochs", 1, "--json"]
    valid, nothing = nplm(*base, "--valid", texts / "valid.txt"), nplm(*base)
    assert valid.figures["split"] == "valid" and valid.figures["tokens"] == 96
    assert valid.figures["test_perplexity"] is None and valid.figures["valid_perplexity"] > 1
    assert "nothing to evaluate on" in nothing.err and nothing.code == 0
    assert nothing.figures["test_perplexity"] is None and nothing.figures["mean_log_z"] is None


def test_a_model_of_separate_sentences_is_measured_on_separate_sentences(nplm, texts, given, tmp_path):
    """nplm.evaluate with reset=True: what the run itself measured the valid text with."""
    got = nplm("train", *given, "--epochs", 1, "--reset-at-eos", "--save", tmp_path / "run", "--json")
    model = load_model(tmp_path / "run" / "best.safetensors")
    test = read_ids(texts / "test.txt", model.vocabulary)
    assert got.figures["test_perplexity"] == evaluate(model, test, reset=True).perplexity
    assert got.figures["test_perplexity"] != evaluate(model, test).perplexity
    assert got.figures["state"] == "reset"


def test_a_synthetic_corpus_has_its_floor_beside_the_model(nplm, tiny_corpus):
    """Floor.perplexity and the baselines of the corpus."""
    got = nplm("train", "--corpus", "hmm", *SMALL, "--epochs", 1)
    assert "floor" in got.out and "5.000" in got.out and "above it" in got.out and "7.50" in got.out
    figures = nplm("train", "--corpus", "hmm", *SMALL, "--epochs", 1, "--json").figures
    assert figures["floor_perplexity"] == tiny_corpus.floor.perplexity
    assert figures["above_floor"] == pytest.approx(figures["test_perplexity"] / 5 - 1)


def test_ctrl_c_saves_measures_and_prints_the_command_that_resumes(nplm, given, tmp_path, monkeypatch):
    """The run that was never interrupted: the same bytes in best.safetensors after the printed command."""
    whole, stopped = tmp_path / "whole", tmp_path / "with a space"
    assert nplm("train", *given, "--epochs", 3, "--save", whole).code == 0
    step, steps = _progress.Display.step, []

    def interrupt(self, done):
        step(self, done)
        steps.append(done)
        if len(steps) == 40:  # in the second epoch
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_progress.Display, "step", interrupt)
    got = nplm("train", *given, "--epochs", 3, "--save", stopped, "--json")
    assert got.code == 130 and got.figures["interrupted"] and got.figures["test_perplexity"] > 1
    assert len(steps) == 40 and got.figures["epochs"] == 1
    printed = got.err.splitlines()[-1].removeprefix("to resume: ")
    words = shlex.split(printed)
    assert words == ["nplm", "train", "--save", str(stopped), "--resume"]
    monkeypatch.chdir(tmp_path)
    again = nplm(*words[1:])
    assert again.code == 0 and "hidden 6 resumed" in " ".join(again.err.split())
    names = ("best.safetensors",)
    assert [(whole / n).read_bytes() for n in names] == [(stopped / n).read_bytes() for n in names]


def test_ctrl_c_without_a_folder_says_that_nothing_was_kept(nplm, given, monkeypatch):
    """The contract's words, exit code 130."""
    step = _progress.Display.step

    def interrupt(self, done):
        step(self, done)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_progress.Display, "step", interrupt)
    got = nplm("train", *given)
    assert got.code == 130 and "nothing was saved" in got.err and "test text" in got.out


def test_a_second_ctrl_c_tells_how_to_go_on(nplm, given, tmp_path, monkeypatch):
    """The contract: exit code 130; the printed command resumes."""
    step = _progress.Display.step

    def interrupt(self, done):
        step(self, done)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as later:
        later.setattr(_progress.Display, "step", interrupt)
        got = nplm("train", *given, "--epochs", 1, "--save", tmp_path / "run")
    *_, printed, last = got.err.splitlines()
    assert (got.code, got.out, last) == (130, "", "nplm: interrupted")
    words = shlex.split(printed.removeprefix("to resume from the last checkpoint: "))
    assert words[0] == "nplm" and nplm(*words[1:]).code == 0


def test_ctrl_c_that_comes_out_of_the_compiler_as_another_error_is_an_interrupt(nplm, given, monkeypatch):
    """What Numba does: the interrupt is lost in a callback of LLVM, then there is no compiled object."""

    def interrupt(self):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("no compiled object yet")

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(_progress.Display, "compiling", interrupt)
    got = nplm("train", *given)
    assert (got.code, got.err.splitlines()[-1]) == (130, "nplm: interrupted")
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals here")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_run_that_is_told_to_end_leaves_no_temporary_folder(nplm, given, tmp_path, monkeypatch, number):
    """The folder of temporary files, and the shell's code for a signal: 128 + its number."""
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    number = getattr(signal, number)
    monkeypatch.setattr(_progress.Display, "step", lambda self, done: signal.raise_signal(number))
    assert nplm("train", *given).code == 128 + number
    assert not list(tmp_path.iterdir()) and signal.getsignal(number) is signal.SIG_DFL


def test_ctrl_c_elsewhere_is_one_line(nplm, finished, texts, monkeypatch):
    """The contract: exit code 130, one line."""

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "load_model", interrupt)
    got = nplm("eval", finished, texts / "test.txt")
    assert got == (130, "", "nplm: interrupted\n")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy warns where the kernels run without the JIT
def test_divergence_names_the_tensor_and_exits_with_1(nplm, given):
    """A learning rate that no float32 survives."""
    got = nplm("train", *given, "--lr", "1e38", "--clip", "inf")
    last = got.err.splitlines()[-1]
    assert got.code == 1 and last.startswith("nplm: error: ") and "not finite" in last and "--lr" in last
    assert got.err.count("warning: ") >= 5 and "Traceback" not in got.err


def test_the_bar_on_a_terminal(monkeypatch):
    """What tqdm writes to a stream that says it is a terminal."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    span = streams.Span(0, 0, 0, 5)
    with _progress.Display(2) as display:
        display.begin(20, run.Progress(lr=1.0))
        display.bar.mininterval = 0
        display.metrics({"kind": "valid", "epoch": 1, "perplexity": 12.5, "lr": 1.0, "tokens_per_second": 9.0})
        display.step(_progress.Step(1, span, np.zeros(1), 2.5, 1.0, 20, 1.0))
        display.bar.refresh()
        display.warning("look here")
    shown = sys.stderr.getvalue()
    assert "epoch 1/2  done   valid perplexity 12.50" in shown and "warning: look here" in shown
    assert "epoch 2/2:  50%" in shown and "loss 2.500 nats, valid perplexity 12.5" in shown and "tokens/s" in shown


def test_compiling_is_announced_only_where_the_kernels_are_not_in_the_cache(tmp_path, monkeypatch, capsys):
    """A folder without the kernels of training, and one with them."""
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(_jit, "CACHE_FOLDER", tmp_path)
    (tmp_path / "alias.vose-28.0123456789abcdef.kernel").touch()  # drawn from before training starts
    display = _progress.Display(1)
    display.compiling()
    display.compiled(0.25)
    assert capsys.readouterr().err == "compiling the kernels once for this machine ...\nkernels ready after 0.2 s\n"
    (tmp_path / "nce.loss_and_dscores-42.0123456789abcdef.kernel").touch()
    display.compiling()
    display.compiled(0.25)
    assert capsys.readouterr().err == ""


# ---- folders


def test_a_folder_that_cannot_be_a_run_is_one_line(refused, given, finished, tmp_path):
    """A folder with files in it, a path below a file, a place where nothing can be made."""
    (tmp_path / "file").touch()
    before = sorted((p.name, p.read_bytes()) for p in finished.iterdir())
    assert "not empty" in refused("train", *given, "--save", finished)
    assert sorted((p.name, p.read_bytes()) for p in finished.iterdir()) == before
    assert "file/run: cannot be the folder of a run" in refused("train", *given, "--save", tmp_path / "file" / "run")
    if Path("/proc/self").exists():
        assert "/proc/run" in refused("train", *given, "--save", "/proc/run")


def test_a_full_disk_is_one_line(nplm, given, tmp_path, monkeypatch):
    """An ENOSPC planted where the metrics are written."""

    def full(self, line):
        raise OSError(28, "No space left on device", str(self.metrics))

    monkeypatch.setattr(run.RunFolder, "append_metrics", full)
    got = nplm("train", *given, "--save", tmp_path / "run")
    last = got.err.splitlines()[-1]
    assert got.code == 2 and last.startswith("nplm: error: ") and "No space left" in last and "metrics.jsonl" in last
    assert "Traceback" not in got.err


def test_resuming_refuses_other_settings_and_texts(refused, nplm, finished, texts, tmp_path):
    """Changed settings and texts are named; free settings may change."""
    again = ["train", "--save", finished, "--resume"]
    assert "--hidden was 6 and is now 9" in refused(*again, "--hidden", 9)
    assert "--lr was 1.0 and is now 2.0" in refused(*again, "--lr", 2)
    assert "--nce was 8 and is now 9" in refused(*again, "--nce", 9)
    other = write_text(tmp_path / "train.txt", 61, seed=9)
    assert "the texts or the vocabulary are not those" in refused(*again, "--train", other)
    assert "vocab-size was 14 and is now 65" in refused(*again, "--corpus", "markov")
    assert "no run to resume" in refused("train", "--save", tmp_path / "none", "--resume")


def test_more_epochs_on_resuming(nplm, given, tmp_path):
    """A run of three epochs at once: the same bytes."""
    for name, epochs in (("whole", 3), ("parts", 1)):
        nplm("train", *given, "--epochs", epochs, "--save", tmp_path / name)
    got = nplm("train", "--save", tmp_path / "parts", "--resume", "--epochs", 3, "--json")
    assert got.figures["epochs"] == 3 and "epochs 3 flag" in " ".join(got.err.split())
    assert len({(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "parts")}) == 1


@pytest.mark.parametrize("content", ["{", '{"train": {"epocs": 3}}', "[]"])
def test_a_damaged_config_json_is_one_line(refused, tmp_path, content):
    """Planted damage."""
    (tmp_path / "config.json").write_text(content)
    assert "config.json" in refused("train", "--save", tmp_path, "--resume")


# ---- eval, info


def test_eval_is_evaluate(nplm, finished, texts, tmp_path, monkeypatch):
    """nplm.evaluate with the same arguments; .gz and standard input give the same."""
    path, text = finished / "best.safetensors", texts / "test.txt"
    model = load_model(path)
    ids, size = read_measured(text, model.vocabulary, model.unit)
    for flags, arguments in (
        ([], {}),
        (["--reset"], {"reset": True}),
        (["--batch-size", 3, "--threads", 1], {"batch_size": 3}),
    ):
        figures = nplm("eval", path, text, *flags, "--json").figures
        assert {**figures, **evaluate(model, ids, size=size, **arguments).as_dict()} == figures
    packed = tmp_path / "test.txt.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes())))
    several = nplm("eval", finished, packed, "-", "--json").figures["files"]
    assert [figures["nats"] for figures in several] == [evaluate(model, ids).nats] * 2


def test_the_table_of_eval(nplm, finished, texts):
    """The issue's list: with and without OOV, counts, log Z, and the unnormalised figure under its own name."""
    got = nplm("eval", finished, texts / "test.txt")
    for name in ("perplexity", "without <unk>", "tokens", "sentences", "nats per token", "log Z quantiles"):
        assert name in got.out
    assert "not a perplexity" in got.out and got.err == ""


def test_a_bad_model_file_is_one_line(refused, finished, texts, tmp_path, monkeypatch):
    """Planted: truncated, one bit flipped anywhere, another version, plain text, empty, a folder."""
    whole, path = (finished / "best.safetensors").read_bytes(), tmp_path / "bad.safetensors"
    bad = {"half": whole[: len(whole) // 2], "text": b"not a model\n", "empty": b""}
    for place in (9, 600, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        bad[f"bit at {place}"] = bytes(flipped)
    for content in bad.values():
        path.write_bytes(content)
        for args in (["eval", path, texts / "test.txt"], ["info", path]):
            assert "bad.safetensors: " in refused(*args)
    model = load_model(finished / "best.safetensors")
    with monkeypatch.context() as later:
        later.setattr(tensorfile, "VERSION", "99")
        save_model(model, path)
    assert "version '99'" in refused("eval", path, texts / "test.txt")
    assert "a folder" in refused("info", tmp_path)


def test_info_of_a_folder_that_is_no_run_tells_of_the_model(nplm, finished, tmp_path):
    """The same figures as of the file."""
    (tmp_path / "best.safetensors").write_bytes((finished / "best.safetensors").read_bytes())
    figures = nplm("info", tmp_path, "--json").figures
    assert figures == nplm("info", tmp_path / "best.safetensors", "--json").figures


def test_info_tells_what_is_in_the_file(nplm, finished):
    """The model itself, and config.json."""
    model = load_model(finished / "best.safetensors")
    figures = nplm("info", finished, "--json").figures
    assert figures["config"]["hidden_dim"] == 6 and figures["vocabulary"] == len(model.vocabulary) == 14
    assert figures["parameters"] == sum(value.size for value in model.params.values())
    assert figures["run"]["epoch"] == figures["run"]["epochs"] == 2 and figures["train"]["num_noise"] == 8
    assert "run" not in nplm("info", finished / "best.safetensors", "--json").figures
    out = nplm("info", finished).out
    assert "unigram^1" in out and f"{figures['parameters']:,}" in out and "2 of 2 epochs" in out


# ---- demo, gradcheck, doctor


def test_demo_trains_measures_and_samples(nplm, tiny_corpus, monkeypatch, tmp_path):
    """The contract's keys; the lines are sampled from the corpus's own words."""
    small = {"hidden_dim": 6, "embed_dim": 5, "num_noise": 8, "bptt": 5, "batch_size": 4, "lr": 1.0, "epochs": 1}
    monkeypatch.setattr(demo, "PRESET", small)
    got = nplm("demo", "--save", tmp_path / "run")
    assert got.code == 0 and "a few sampled lines" in got.out and "times the model's" in got.out
    lines = got.out.partition("a few sampled lines\n")[2].splitlines()
    assert len(lines) == demo.LINES and set(" ".join(lines).split()) <= set(tiny_corpus.vocabulary.tokens)
    assert "what to try next" in got.err and (tmp_path / "run" / "best.safetensors").exists()
    figures = nplm("demo", "--epochs", 2, "--seed", 3, "--json").figures
    assert figures.keys() >= FIGURES and figures["epochs"] == 2 and len(figures["samples"]) == demo.LINES
    assert figures["ratio"] == figures["unigram_perplexity"] / figures["test_perplexity"]


def test_the_preset_of_the_demo_is_valid():
    """The dataclasses' own checks."""
    with demo.command.make_context("demo", []):
        found = _settings.values(demo.PRESET)
    assert _settings.build(TrainConfig, found).epochs == demo.PRESET["epochs"]
    assert _settings.build(ModelConfig, found, vocab_size=9).hidden_dim == demo.PRESET["hidden_dim"]


def test_gradcheck_passes_and_sees_a_wrong_gradient(nplm, monkeypatch):
    """A planted bug: one row of one gradient off by a millionth."""
    right = nplm("gradcheck", "--configs", 3, "--json")
    assert right.code == 0 and right.figures["passed"] and "encoder.weight" in right.figures["errors"]
    honest = LanguageModel.loss_and_grads

    def wrong(self, *args):
        loss, grads, state = honest(self, *args)
        return loss, grads | {"rnn.bias_l0": grads["rnn.bias_l0"] * (1 + 1e-6)}, state

    monkeypatch.setattr(LanguageModel, "loss_and_grads", wrong)
    got = nplm("gradcheck", "--configs", 3, "--json")
    assert got.code == 1 and not got.figures["passed"] and got.figures["errors"]["rnn.bias_l0"] > 1e-7


def test_doctor_reports_versions_folders_and_speed(nplm, monkeypatch):
    """The installed versions, and the folders that the package uses."""
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.01)
    got = nplm("doctor", "--json")
    figures = got.figures
    assert figures["versions"]["numpy"] == np.__version__ and set(doctor.PACKAGES) < set(figures["versions"])
    assert figures["kernel_cache"]["path"] == str(_jit.CACHE_FOLDER) and figures["text_cache"]["writable"]
    assert figures["speed"]["sgemm_gflops"] > 0 and figures["speed"]["train_tokens_per_second"] > 0
    assert figures["speed"]["float32_gflops"] > 0 and figures["speed"]["bfloat16_gflops"] > 0
    assert figures["machine"]["auto_precision"] in ("float32", "bfloat16")
    assert figures["machine"]["cores"] == os.cpu_count() and "versions" in got.err


def test_doctor_sees_a_folder_that_cannot_be_written(tmp_path):
    """A path below a file."""
    (tmp_path / "file").touch()
    assert not doctor.folder(tmp_path / "file" / "cache")["writable"]
    assert doctor.folder(tmp_path / "new")["writable"]


# ---- output and errors


def test_a_number_that_is_not_finite_is_null(capsys):
    """JSON has no NaN; the contract has null."""
    _output.emit({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": np.float64(-math.inf), "e": np.int32(3)}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": None, "e": 3}}


def test_debug_shows_the_traceback(nplm):
    """The same line at the end, the same exit code."""
    got = nplm("--debug", "info", "nowhere")
    assert got.code == 2 and "Traceback" in got.err and got.err.splitlines()[-1].startswith("nplm: error: nowhere")


def test_a_fault_of_the_program_is_not_hidden(monkeypatch):
    """An error of an unforeseen kind comes through with its traceback."""
    with pytest.raises(ZeroDivisionError):
        _errors.exit_code(lambda: 1 // 0)


def test_too_little_memory_is_one_line(capsys):
    """A planted MemoryError."""

    def greedy():
        raise MemoryError

    assert _errors.exit_code(greedy) == 2
    assert capsys.readouterr().err.startswith("nplm: error: not enough memory")


@pytest.mark.parametrize("args", [["completion", "bash"], ["train", "--help"]])
def test_a_closed_pipe_ends_quietly(args):
    """A reader that closes at once, as `head` may: nothing on stderr."""
    read, write = os.pipe()
    os.close(read)
    got = subprocess.run([sys.executable, "-m", "nplm", *args], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert got.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="closes streams with a shell")
def test_closed_streams_change_nothing(given, texts, tmp_path):
    """The same command with all streams open: the same bytes; and no model file in the place of a closed stream."""
    line = [sys.executable, "-m", "nplm", "train", *given, "--epochs", "1", "--save"]
    for name, closed in (("open", ""), ("closed", "<&- >&- 2>&-")):
        words = shlex.join([*line, str(tmp_path / name)])
        assert subprocess.run(f"{words} {closed}", shell=True, capture_output=not closed).returncode == 0
    assert len({(tmp_path / name / "best.safetensors").read_bytes() for name in ("open", "closed")}) == 1
    wrong = shlex.join([sys.executable, "-m", "nplm", "train", "--nope"])
    assert subprocess.run(f"{wrong} 2>&-", shell=True).returncode == 2
    assert subprocess.run(f"{wrong.replace('nope', 'train=-')} <&- 2>&-", shell=True).returncode == 2


def test_a_process_ends_with_the_code_and_the_streams_of_the_contract():
    """A real process: nothing on stdout, one line on stderr, exit code 2."""
    got = subprocess.run([sys.executable, "-m", "nplm", "evl"], capture_output=True, text=True)
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr == "nplm: error: no command 'evl'; did you mean eval? (see nplm --help)\n"


def test_durations():
    """Worked out by hand."""
    assert [_progress.duration(s) for s in (1.25, 61, 3725)] == ["1.2 s", "1:01", "1:02:05"]
    assert _session.finish({"interrupted": False}, as_json=False) == 0
