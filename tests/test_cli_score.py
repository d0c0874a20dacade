"""Oracles: score_batch and evaluate, SRILM's arithmetic done again from the printed lines, its own awk fields."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model

from nplm.data.encode import read_ids
from nplm.scoring.evaluate import evaluate
from nplm.scoring.score import score_batch
from nplm.storage import checkpoint

LINES = ["w3 w4 w5", "", "w6 never w2 w2", "w7", "never", "  w8\tw9  w3 ", "w2 <unk> w9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model, run.safetensors, and a text, text.txt."""
    folder = tmp_path_factory.mktemp("score")
    model = make_model(np.float32, vocab=30, hidden=8)
    checkpoint.save_model(model, folder / "run.safetensors", {"valid": {"mean_log_z": 0.5}})
    checkpoint.save_model(model, folder / "bare.safetensors")
    (folder / "text.txt").write_text("\n".join(LINES) + "\n")
    return folder


@pytest.fixture(scope="module")
def path(folder):
    return folder / "run.safetensors"


@pytest.fixture(scope="module")
def model(path):
    return checkpoint.load_model(path)


def process(*args, **options):
    """A command line in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "nplm", *map(str, args)], **options)


# ---- nplm score


def test_score_writes_score_batch_line_by_line(nplm, path, folder, model):
    """score_batch; the totals on stderr are their sums, and the perplexities evaluate's with reset."""
    got = nplm("score", path, folder / "text.txt", "--json")
    *lines, last = got.out.splitlines()
    assert (got.code, len(lines)) == (0, len(LINES))
    np.testing.assert_allclose([float(line) for line in lines], score_batch(model, LINES), atol=1e-5)
    figures, exact = (json.loads(last), evaluate(model, read_ids(folder / "text.txt", model.vocabulary), reset=True))
    assert (figures["sentences"], figures["tokens"], figures["oovs"]) == (7, exact.tokens, exact.oovs)
    assert figures["perplexity"] == pytest.approx(exact.perplexity, rel=1e-5)
    assert figures["perplexity_without_oov"] == pytest.approx(exact.perplexity_without_oov, rel=1e-5)
    assert figures["log10"] == pytest.approx(sum(map(float, lines)), abs=1e-4)
    assert f"{exact.tokens} tokens, 3 <unk>" in got.err and f"{exact.perplexity:,.2f}" in got.err


@pytest.mark.parametrize("flags", [[], ["--no-bos"], ["--no-eos"], ["--no-bos", "--no-eos"], ["--unnormalised"]])
@pytest.mark.parametrize("lines", [1, 3, 4096])
def test_flags_and_pieces(nplm, path, folder, model, flags, lines):
    """score_batch with the same arguments, however many lines are read before scores are written."""
    got = nplm("score", path, folder / "text.txt", "--lines", lines, *flags)
    expected = score_batch(
        model, LINES, bos="--no-bos" not in flags, eos="--no-eos" not in flags, normalize="--unnormalised" not in flags
    )
    np.testing.assert_allclose([float(line) for line in got.out.splitlines()], expected, atol=1e-5)
    assert "-0.000000" not in got.out


def test_what_unnormalised_says(nplm, path, folder):
    """The mean in the file, or that there is none; and nothing is called a perplexity."""
    got = nplm("score", path, folder / "text.txt", "--unnormalised")
    assert "+0.5000 nats" in got.err and "not a perplexity" in got.err
    got = nplm("score", folder / "bare.safetensors", folder / "text.txt", "--unnormalised")
    assert "has no mean log Z, so 0 is used" in got.err
    assert "normalis" not in nplm("score", path, folder / "text.txt").err


def test_kaldi_gets_costs_in_nats(nplm, path, tmp_path, model):
    """-ln p: score_batch times -ln 10; the utterances keep their names and their order."""
    (tmp_path / "text").write_text("".join(f"spk{k}-utt {line}\n" for k, line in enumerate(LINES)))
    got = nplm("score", path, "--format", "kaldi", tmp_path / "text")
    names, costs = zip(*(line.split() for line in got.out.splitlines()), strict=True)
    assert names == tuple(f"spk{k}-utt" for k in range(len(LINES)))
    np.testing.assert_allclose(np.array(costs, float), -math.log(10) * score_batch(model, LINES), atol=1e-4)
    (tmp_path / "text").write_text("a w3\n\nb w4\n")
    got = nplm("score", path, "--format", "kaldi", tmp_path / "text")
    assert got.code == 2 and "text, line 2: empty" in got.err


def test_mistakes_are_named(nplm, path, tmp_path):
    """One line, exit code 2: which line is too long, what is no text."""
    (tmp_path / "long.txt").write_text("w3\n" + "w4 " * 400_000 + "\n")
    got = nplm("score", path, tmp_path / "long.txt")
    assert got.code == 2 and "long.txt, line 2: 1200000 bytes long" in got.err.splitlines()[-1]
    got = nplm("score", path, tmp_path / "none.txt")
    assert got.code == 2 and "none.txt: no such file" in got.err


@pytest.mark.parametrize("command", ["score", "eval"])
def test_standard_input_is_read_once(refused, path, command):
    """The message: a second reading would find nothing, and say nothing."""
    assert "standard input is given twice" in refused(command, path, "-", "-")


def test_standard_input_answers_line_by_line(path, model):
    """score_batch, asked and answered in turns through pipes."""
    with process("score", path, "--lines", 1, stdin=-1, stdout=-1, stderr=-1, text=True) as talk:
        for line in ("w3 w4", "", "never w9"):
            talk.stdin.write(line + "\n")
            talk.stdin.flush()
            assert float(talk.stdout.readline()) == pytest.approx(score_batch(model, [line])[0], abs=1e-5)
        talk.stdin.close()
        assert talk.wait() == 0


def test_a_reader_that_goes_away_ends_it_quietly(path):
    """No word on stderr but what stood there before."""
    for args in (["score", path, "--lines", 1, "-"], ["eval", path, "-", "-v", "word"]):
        with process(*args, stdin=-1, stdout=-1, stderr=-1, text=True) as talk:
            talk.stdin.write("w3 w4\n" * 9000)
            talk.stdin.flush()
            talk.stdout.readline()
            talk.stdout.close()
            talk.stdin.close()
            assert talk.wait(60) in (0, 141)
            assert "rror" not in talk.stderr.read()


def test_ctrl_c(path):
    """Exit code 130, one line."""
    with process("score", path, "--lines", 1, stdin=-1, stdout=-1, stderr=-1, text=True) as talk:
        talk.stdin.write("w3\n")
        talk.stdin.flush()
        talk.stdout.readline()
        talk.send_signal(signal.SIGINT)
        assert talk.wait(60) == 130
        assert talk.stderr.read().splitlines()[-1] == "nplm: interrupted"


def test_memory_is_bounded_whatever_is_read(path):
    """The resident memory of the process: 150,000 lines take no more than 15,000, but for some MB."""
    peaks = []
    for lines in (15_000, 150_000):
        with process(
            "score", path, "--unnormalised", stdin=-1, stdout=subprocess.DEVNULL, stderr=-1, text=True
        ) as talk:
            for _ in range(lines // 3000):
                talk.stdin.write("w3 w4 w5\n" * 3000)
            talk.stdin.flush()
            time.sleep(0.2)
            peaks.append(_peak(talk.pid))
            talk.stdin.close()
            assert talk.wait(60) == 0
    assert peaks[1] < peaks[0] + 20


def _peak(pid):
    """Largest resident memory of a process so far, in MB."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("no /proc")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024


# ---- nplm eval: SRILM's lines

COUNTS = re.compile(r"(\d+) sentences, (\d+) words, (\d+) OOVs")
PROBS = re.compile(r"(\d+) zeroprobs, logprob= (\S+) ppl= (\S+) ppl1= (\S+)")


def check_arithmetic(first, second):
    """SRILM's formulas, from the printed numbers to the printed digits; returns (sentences, words, oovs, logprob)."""
    sentences, words, oovs = map(int, COUNTS.search(first).groups())
    zeros, logprob, ppl, ppl1 = PROBS.fullmatch(second).groups()
    for printed, count in ((ppl, words - oovs - int(zeros) + sentences), (ppl1, words - oovs - int(zeros))):
        assert printed == (f"{10 ** (-float(logprob) / count):.7g}" if count > 0 else "undefined")
    return sentences, words, oovs, float(logprob)


@pytest.mark.parametrize("reset", [[], ["--reset"]])
def test_srilms_two_lines(nplm, path, folder, model, reset):
    """evaluate on the same text; <unk> is a word with a probability, so there are no OOVs, as in SRILM with -unk."""
    file = folder / "text.txt"
    first, second, *table = nplm("eval", path, file, *reset).out.splitlines()
    assert first == f"file {file}: 7 sentences, 15 words, 0 OOVs"
    exact = evaluate(model, read_ids(file, model.vocabulary), reset=bool(reset))
    *_, logprob = check_arithmetic(first, second)
    assert logprob == pytest.approx(-exact.nats * exact.tokens / math.log(10), rel=1e-6)
    assert float(second.split()[5]) == pytest.approx(exact.perplexity, rel=1e-6)
    assert table[0] == str(file) and "perplexity" in table[1]


def test_skip_oov_is_a_closed_vocabulary(nplm, path, folder, model):
    """evaluate without <unk>; JSON has the same figures, and stdout nothing else."""
    file = folder / "text.txt"
    got = nplm("eval", path, file, "--skip-oov", "--json")
    figures = json.loads(got.out)
    first, second = got.err.splitlines()[:2]
    assert check_arithmetic(first, second)[:3] == (7, 15, 3)
    assert figures["srilm"]["ppl"] == pytest.approx(figures["perplexity_without_oov"], rel=1e-6)
    assert f"logprob= {figures['srilm']['logprob']:.7g} " in second
    assert figures["perplexity"] == pytest.approx(json.loads(nplm("eval", path, file, "--json").out)["srilm"]["ppl"])


def sentences_of(out):
    """What -v writes: for each sentence its text, its word lines and its two lines of figures; the file's two lines."""
    *lines, first, second = out.splitlines()
    sentences = []
    while lines:
        end = next(n for n, line in enumerate(lines) if PROBS.fullmatch(line))
        sentences.append((lines[0], lines[1 : end - 1], lines[end - 1 : end + 1]))
        assert lines[end + 1] == ""
        del lines[: end + 2]
    return sentences, (first, second)


@pytest.mark.parametrize("flags", [["--reset"], [], ["--skip-oov"]])
def test_verbose_word_is_debug_2(nplm, path, folder, model, flags):
    """log10 of each word: the fields that compute-best-mix reads add up to every sentence's and the file's logprob."""
    file = folder / "text.txt"
    got = nplm("eval", path, file, "-v", "word", *flags).out
    sentences, last = sentences_of(got)
    probs = []
    for line, (text, rows, figures) in zip(LINES, sentences, strict=True):
        assert text == " ".join(line.split())
        tokens = ["<s>", *(w if w in model.vocabulary else "<unk>" for w in line.split()), "</s>"]
        logs = []
        for n, row in enumerate(rows):
            fields = row.split()
            assert fields[:4] == ["p(", tokens[n + 1], "|", tokens[n]] and fields[-1] == "]"
            closing = ")" if n == 0 else "...)"
            assert fields[4:6] == [closing, "="] and re.search(r"\) \t= \[", row)
            skipped = tokens[n + 1] == "<unk>" and "--skip-oov" in flags
            assert fields[6] == ("[OOV]" if skipped else f"[{n + 2}gram]")
            assert float(fields[7]) == pytest.approx(10 ** float(fields[9]), rel=1e-5)
            if not skipped:
                logs.append(float(fields[9]))
        *counts, logprob = check_arithmetic(*figures)
        assert counts == [1, len(line.split()), len(rows) - len(logs)] and len(rows) == len(tokens) - 1
        assert logprob == pytest.approx(sum(logs), abs=1e-5)
        probs.append(logprob)
    *_, total = check_arithmetic(*last)
    assert total == pytest.approx(sum(probs), abs=1e-4)
    exact = evaluate(model, read_ids(file, model.vocabulary), batch_size=1, reset="--reset" in flags)
    nats = exact.nats * exact.tokens
    if "--skip-oov" in flags:
        nats = exact.nats_without_oov * (exact.tokens - exact.oovs)
    assert total == pytest.approx(-nats / math.log(10), rel=1e-6)
    if "--reset" in flags:
        np.testing.assert_allclose(probs, score_batch(model, LINES), atol=1e-5)


def test_verbose_sentence_is_verbose_word_without_the_words(nplm, path, folder):
    """-v word's output without its word lines; --json moves it to stderr."""
    args = ["eval", path, folder / "text.txt", "-v"]
    words = nplm(*args, "word").out
    sentences = nplm(*args, "sentence").out
    assert "".join(line for line in words.splitlines(True) if not line.startswith("\t")) == sentences
    got = nplm(*args, "sentence", "--json")
    assert got.err.endswith(sentences) and json.loads(got.out)["srilm"]["words"] == 15


def test_verbose_in_many_pieces_is_the_same(nplm, path, folder, monkeypatch):
    """One piece: neither the state nor a sentence is lost where a piece ends."""
    args = ["eval", path, folder / "text.txt", "-v", "word"]
    whole = nplm(*args).out
    monkeypatch.setattr("nplm.toolkits.srilm.TOKENS", 3)
    pieces = nplm(*args).out
    number = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
    assert number.sub("#", pieces) == number.sub("#", whole)
    np.testing.assert_allclose(
        [float(x) for x in number.findall(pieces)], [float(x) for x in number.findall(whole)], rtol=1e-5
    )


def test_an_empty_text_is_refused(nplm, path, tmp_path):
    """The message of eval without -v."""
    (tmp_path / "empty.txt").write_text("\n\n")
    for flags in ([], ["-v", "word"]):
        got = nplm("eval", path, tmp_path / "empty.txt", *flags)
        assert got.code == 2 and "empty, contains no words" in got.err


def test_check_norm(nplm, path, folder, monkeypatch):
    """The tolerance: passes to rounding; a planted deviation beyond it ends with exit code 1."""
    args = ["eval", path, folder / "text.txt", "--check-norm"]
    got = nplm(*args, "--json")
    assert got.code == 0 and json.loads(got.out)["norm_positions"] == 22
    assert 0 <= json.loads(got.out)["norm_deviation"] < 1e-5
    for planted in (2e-4, math.nan):
        monkeypatch.setattr("nplm.scoring.score.norm_deviation", lambda model, ids, off=planted: off)
        got = nplm(*args)
        assert got.code == 1 and "MORE THAN 1e-04" in got.out
    assert nplm(*args, "-v", "word").code == 2
