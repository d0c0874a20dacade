"""`nplm sample` and `nplm next`.  Oracles: the Python functions behind them, and planted mistakes."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model

import nplm
from nplm.cli import errors as _errors
from nplm.cli import next, sample
from nplm.scoring import generate
from nplm.storage import checkpoint

ROOT = Path(__file__).parent.parent
COMMANDS = {"sample": sample.command, "next": next.command}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model in it."""
    path = tmp_path_factory.mktemp("models")
    checkpoint.save_model(make_model(np.float32), path / "m.safetensors")
    return path


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Runs a command line in the model's folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(folder)

    def run(line, stdin=""):
        name, *args = shlex.split(line)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code = _errors.exit_code(lambda: COMMANDS[name].main(args, name, standalone_mode=False))
        return code, *capsys.readouterr()

    return run


def drawn(seed, **settings):
    return nplm.sample(make_model(np.float32), np.random.default_rng(seed), **settings)


def test_sample_prints_what_the_function_gives(call):
    """nplm.sample with the same settings; every flag."""
    code, out, err = call("sample m.safetensors --seed 3")
    assert (code, out, err) == (0, drawn(3)[0] + "\n", "")
    line = "-n 70 --max-words 5 --temperature 1.7 --top-k 9 --top-p 0.99 --prompt 'w3  w4' --allow-unk --seed 4"
    settings = {"lines": 70, "max_words": 5, "temperature": 1.7, "top_k": 9, "top_p": 0.99}
    expected = drawn(4, **settings, prompt="w3 w4", allow_unk=True)
    code, out, err = call(f"sample m.safetensors {line}")
    assert (code, out.splitlines(), err) == (0, expected, "")
    assert any("<unk>" in line for line in expected)


def test_the_defaults_are_those_of_the_function():
    """generate.sample's keyword arguments."""
    theirs = generate.sample.__kwdefaults__
    ours = {option.name: option.default for option in sample.command.params}
    for name in ("lines", "max_words", "temperature", "top_k", "top_p"):
        assert ours[name] == theirs[name], name


def test_a_seed_that_was_chosen_is_told(call):
    """The same lines again with the seed on stderr."""
    _, out, err = call("sample m.safetensors --lines 3")
    assert call(f"sample m.safetensors --lines 3 {err.strip()}") == (0, out, "")
    assert out.splitlines() == drawn(int(err.split()[1]), lines=3)


def test_sample_as_json(call):
    """A JSON object a line: the text, how many words were drawn, and whether it ended by itself."""
    _, out, err = call("sample m.safetensors --lines 30 --max-words 4 --prompt w3 --seed 5 --json")
    got = [json.loads(line) for line in out.splitlines()]
    assert [line["text"] for line in got] == drawn(5, lines=30, max_words=4, prompt="w3") and err == ""
    assert [line["line"] for line in got] == list(range(1, 31)) and {line["seed"] for line in got} == {5}
    assert all(line["words"] == len(line["text"].split()) - 1 for line in got)
    assert all(line["ended"] for line in got if line["words"] < 4) and {line["ended"] for line in got} == {True, False}


def test_an_unknown_word_of_the_prompt_is_said_once_and_kept(call):
    """A planted word; the lines are those after <unk>."""
    code, out, err = call("sample m.safetensors -n 9 --seed 6 --prompt 'w3 nowhere nowhere'")
    assert (code, err) == (0, "'nowhere' is not in the model's vocabulary: it is read as <unk>\n")
    assert out.replace("nowhere", "<unk>").splitlines() == drawn(6, lines=9, prompt="w3 <unk> <unk>")


def test_next_prints_what_the_function_gives(call):
    """nplm.next_words; cumulative sums and base-10 logarithms of it; words in one argument or in several."""
    expected = generate.next_words(make_model(np.float32), "w3 w4", 4)
    code, out, err = call("next m.safetensors -k 4 w3 w4 --json")
    got = json.loads(out)
    assert (code, err, got["context"], got["unknown"]) == (0, "", "w3 w4", [])
    assert [(row["word"], row["probability"]) for row in got["words"]] == expected
    probabilities = np.array([p for _, p in expected])
    np.testing.assert_allclose([row["cumulative"] for row in got["words"]], probabilities.cumsum())
    np.testing.assert_allclose([row["log10_prob"] for row in got["words"]], np.log10(probabilities))
    _, table, _ = call("next m.safetensors -k 4 'w3 w4'")
    title, heads, *rows = table.splitlines()
    assert title == "after 'w3 w4'" and heads.split() == ["word", "probability", "log10", "cumulative"]
    cells = [(r["word"], *(f"{r[x]:.{n}f}" for x, n in zip(heads.split()[1:], (6, 4, 6), strict=True)))
             for r in ({**r, "log10": r["log10_prob"]} for r in got["words"])]  # fmt: skip
    assert [tuple(row.split()) for row in rows] == cells


def test_next_reads_contexts_from_standard_input(call):
    """The same contexts one by one; an empty line is an empty context, an unknown word is named."""
    code, out, err = call("next m.safetensors - --json", "w3 w4\n\n<s> nowhere w3 </s>\n")
    got = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "") and [line["context"] for line in got] == ["w3 w4", "", "nowhere w3"]
    assert got[0] == json.loads(call("next m.safetensors --json w3 w4")[1])
    assert got[1] == json.loads(call("next m.safetensors --json")[1])
    assert got[2]["unknown"] == ["nowhere"]
    assert call("next m.safetensors nowhere")[1].startswith("after 'nowhere'   (read as <unk>: nowhere)\n")
    assert call("next m.safetensors")[1].startswith("at the beginning of a sentence\n")
    assert call("next m.safetensors -", "") == (0, "", "")


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("sample", "MODEL"),
        ("sample nowhere", "nowhere: cannot be read"),
        ("sample m.safetensors --lines 0", "--lines"),
        ("sample m.safetensors --max-words 0", "--max-words"),
        ("sample m.safetensors --temperature -1", "temperature = -1.0"),
        ("sample m.safetensors --temperature nan", "temperature = nan"),
        ("sample m.safetensors --top-k -1", "--top-k"),
        ("sample m.safetensors --top-p 0", "top_p = 0.0"),
        ("sample m.safetensors --seed -1", "--seed"),
        ("sample m.safetensors --seed 1 --prompt 'w3 </s>'", "</s> in the prompt or context"),
        ("next", "MODEL"),
        ("next nowhere", "nowhere: cannot be read"),
        ("next m.safetensors -k 0", "-k"),
        ("next m.safetensors '<s>' w3", "<s> in the prompt or context"),
    ],
)
def test_a_mistake_is_one_line(call, line, phrase):
    """Planted mistakes, each with the words that name it."""
    seeded = f"{line} --seed 1" if line.startswith("sample m") and "--seed" not in line else line
    code, out, err = call(seeded)
    assert (code, out, err.count("\n")) == (2, "", 1) and phrase in err and "Traceback" not in err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_pipe_ends_quietly(folder, name):
    """`head -1` after a million lines: one line comes out, nothing on stderr, and it ends at once."""
    run = f"import nplm.cli.{name} as c; from nplm.cli import errors; import sys\n"
    run += "sys.exit(errors.exit_code(lambda: c.command.main(sys.argv[1:], standalone_mode=False)))"
    args = {"sample": "--lines 1000000 --seed 1", "next": "- --json"}[name]
    source = {"sample": "true", "next": "yes w3"}[name]
    line = f"{source} | {shlex.quote(sys.executable)} -c {shlex.quote(run)} m.safetensors {args} | head -1"
    got = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert got.stderr == "" and got.stdout.count("\n") == 1 and len(got.stdout) > 1


def test_the_files_of_the_commands_load_no_numpy():
    """sys.modules after the files are imported: `nplm --help` need not wait for NumPy."""
    code = "import sys, nplm.cli.sample, nplm.cli.next; print({'numpy', 'numba'} & set(sys.modules))"
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert got.stdout == "set()\n"
