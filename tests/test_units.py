"""Oracles: the text itself, the libraries' own normalisation, symbols written by hand, figures by hand."""

import json
import math
import pickle
import sys

import numpy as np
import pytest

import nplm
from nplm.data import units
from nplm.data.corpus import load_corpus
from nplm.data.measured import measure_text, read_measured
from nplm.data.size import TextSize, measure_line
from nplm.data.units import WORDS, Words, describe, open_unit, restore, symbol, text_of, toolkit_words
from nplm.errors import InputError
from nplm.storage import tensorfile
from tests import fuzz_units

FUZZED = 1500  # lines of each unit; a million by tests/fuzz_units.py
TEXT = "今天天气 很好。\n<unk> ▁ </s>!\n\n  a\u3000b \n今天 \\ 好\n"
LINES = TEXT.split("\n")[:-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every unit, tokenizers trained by their libraries."""
    for package in ("regex", "sentencepiece", "tokenizers"):
        pytest.importorskip(package)
    return list(fuzz_units.make_units(tmp_path_factory.mktemp("units")))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 30, encoding="utf-8")
    return path


# ---- there and back


def test_fuzzed_lines_come_back(made):
    """The line, or what the tokenizer's library normalises it to; a vocabulary of the units survives its file."""
    assert len(made) == 11
    for unit in made:
        rng = np.random.default_rng(3)
        found = [fault for line in fuzz_units.lines(rng, FUZZED) for fault in fuzz_units.faults(unit, line)]
        assert not found, found[:3]


def test_the_fuzzer_sees_a_planted_fault(monkeypatch):
    """Planted: a space that is not told from ▁."""
    monkeypatch.setattr(units.characters, "_SYMBOLS", {chr(k): chr(k) for k in range(0x110000)} | {" ": "▁"})
    rng = np.random.default_rng(3)
    assert any(fuzz_units.faults(open_unit("char"), line) for line in fuzz_units.lines(rng, 300))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (" ", "▁"), ("▁", "\\▁"), ("\\", "\\\\"), ("<unk>", "\\<unk>"), ("<s>", "\\<s>"), ("</s>", "\\</s>"),
        ("\xa0", "\\u{a0}"), ("\u3000", "\\u{3000}"), ("\t", "\\u{9}"), ("\ud800", "\\u{d800}"), ("字", "字"),
        ("\\u{a0}", "\\\\u{a0}"), ("<s", "<s"), ("a b", "a▁b"),
    ],
)  # fmt: skip
def test_symbols_by_hand(text, written):
    """The table in symbols.py."""
    assert (symbol(text), text_of(written)) == (written, text)


def test_marks_in_the_text_are_text(made):
    """By hand: no unit but the word gives a mark as a unit."""
    for unit in made[1:]:
        assert not {"<s>", "</s>", "<unk>"} & {*unit.split("<s> a <unk> b </s>")}, unit.name
    assert WORDS.split("<s> a <unk>") == ["<s>", "a", "<unk>"]


def test_a_tokenizers_own_habits_are_left_out(made):
    """A file with truncation to 3 and padding to 8: all of a line is read, and nothing else."""
    unit = next(unit for unit in made if unit.name == "hf:bytes.json")
    assert unit.join(unit.split("the cat sat on the mat")) == "the cat sat on the mat"
    assert unit.split("") == []


# ---- white space, decision 0015


def test_what_separates_words():
    """By hand: the two rules, and the toolkits' one."""
    line = "a\xa0! b\u3000c\u2028d\x85e\x1cf\t\vg\r"
    assert Words().split(line) == ["a\xa0!", "b", "c\u2028d\x85e\x1cf", "g"]
    assert toolkit_words(line) == ["a\xa0!", "b\u3000c\u2028d\x85e\x1cf", "g"] == [
        word.decode() for word in line.encode().split()  # as kenlm's module divides bytes
    ]  # fmt: skip
    assert Words("unicode").split(line) == line.split()


def test_a_model_keeps_its_rule(tmp_path, text):
    """A file of words has the rule as a key; without the key, and when trained on, the rule is the first one."""
    corpus = load_corpus(text)
    model = nplm.LanguageModel.init(nplm.ModelConfig(len(corpus.vocabulary), 4, 6, 1), corpus.vocabulary, _rng())
    nplm.save(model, tmp_path / "a.safetensors")
    tensors, metadata = tensorfile.read(tmp_path / "a.safetensors")
    assert (metadata["version"], metadata["white_space"]) == ("1", "ascii+u3000")
    del metadata["white_space"], metadata["sha256"]
    tensorfile.write(tmp_path / "old.safetensors", tensors, metadata)
    old = nplm.load(tmp_path / "old.safetensors")
    assert old.unit == Words("unicode")
    nplm.save(old, tmp_path / "again.safetensors")
    assert nplm.load(tmp_path / "again.safetensors").unit == Words("unicode")
    assert nplm.load(tmp_path / "a.safetensors").unit == WORDS


# ---- stored


def _rng():
    return np.random.default_rng(1)


def small(text, unit):
    corpus = load_corpus(text, text, text, unit=unit)
    config = nplm.ModelConfig(len(corpus.vocabulary), 5, 6, 1)
    return corpus, nplm.LanguageModel.init(config, corpus.vocabulary, _rng(), unit=unit)


def test_the_model_file_holds_the_unit(made, text, tmp_path):
    """The unit itself; the same divisions, after saving and pickling; an nplm of version 1 refuses the file by name."""
    for unit in made[1:]:
        _, model = small(text, unit)
        nplm.save(model, tmp_path / "m.safetensors")
        for again in (nplm.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model)), model.copy()):
            assert again.unit.identity == unit.identity and again.unit.name == unit.name
            assert [again.unit.split(line) for line in LINES] == [unit.split(line) for line in LINES]
        tensors, metadata = tensorfile.read(tmp_path / "m.safetensors")
        assert metadata["version"] == "2" and ("tokenizer" in tensors) == (unit.kind in ("spm", "hf"))
        assert json.loads(metadata["unit"]) == describe(unit)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"kind": "phoneme"}, "'phoneme' is one that this nplm does not know"),
        ({"kind": "word", "white_space": "none"}, "a rule 'none'"),
        ({"kind": 3}, "not described by strings"),
        (["char"], "not described by strings"),
    ],
)
def test_units_of_no_nplm_are_refused(about, said):
    """Planted descriptions."""
    with pytest.raises(InputError, match=said):
        restore(about)


@pytest.mark.parametrize("name", ["letters", "spm:", "hf", "spm:none.model", "hf:none.json", ":x", ""])
def test_names_that_are_no_unit(name, refused, text):
    """One line with what there is, or the file."""
    said = refused("train", "--train", text, "--unit", name)
    assert "word, char, grapheme" in said or "none" in said


@pytest.mark.parametrize("content", [b"", b"junk", b"{}", b"\xff\xfe", b'{"model": {}}'])
def test_damaged_tokenizers_are_refused(content, tmp_path, refused, text):
    """Planted files."""
    for package, kind, file in (("sentencepiece", "spm", "a.model"), ("tokenizers", "hf", "a.json")):
        pytest.importorskip(package)
        (tmp_path / file).write_bytes(content)
        assert "or damaged" in refused("train", "--train", text, "--unit", f"{kind}:{tmp_path / file}")


def test_a_missing_package_is_named(monkeypatch, refused, text, tmp_path):
    """Planted: imports that fail; the message has the extra."""
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a.model").write_bytes(b"x")
    for package, unit, extra in (
        ("regex", "grapheme", "grapheme"),
        ("sentencepiece", f"spm:{tmp_path / 'a.model'}", "spm"),
        ("tokenizers", f"hf:{tmp_path / 'a.json'}", "hf"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        assert f"pip install 'nplm-nce[{extra}]'" in refused("train", "--train", text, "--unit", unit)


# ---- figures


def test_two_units_count_the_same_raw_text(made, text):
    """The file's own size; its code points; words by hand."""
    raw = text.read_bytes()
    for unit in made:
        corpus, _ = small(text, unit)
        size = corpus.sizes["valid"]
        assert (size.bytes, size.characters) == (len(raw), len(raw.decode()))
        assert (size.words, size.lines) == (30 * (2 + 3 + 0 + 2 + 3), 30 * 5)
        assert size == measure_text(text, corpus.vocabulary, unit)
    assert measure_line("") == TextSize(1, 1, 0, 1)


def test_unknown_units_are_counted(tmp_path, text):
    """By hand: two unknown words of 3 and 6 bytes; <unk> in the text is none."""
    corpus, _ = small(text, WORDS)
    (tmp_path / "b").write_text("dog <unk> 字字 a\r\nb", encoding="utf-8")
    ids, size = read_measured(tmp_path / "b", corpus.vocabulary)
    assert size == TextSize(len("dog <unk> ?????? a\nb\n"), len("dog <unk> 字字 a\nb\n"), 5, 2, 2, 9)
    assert (ids == 0).sum() == 3


@pytest.mark.parametrize("name", ["char", "word"])
def test_bits_by_hand(name, text, tmp_path):
    """log_probs of the model, added up; 8 bits for every byte of an unknown unit and its end."""
    unit = open_unit(name)
    corpus, model = small(text, unit)
    (tmp_path / "b").write_text("今天 never\n好\n", encoding="utf-8")
    ids, size = read_measured(tmp_path / "b", corpus.vocabulary, unit)
    got = nplm.evaluate(model, ids, size=size, batch_size=1)
    inputs = np.concatenate([[1], ids[:-1]]).astype(np.int32)[:, None]
    log_probs, _ = model.log_probs(inputs, model.zero_state(1))
    nats = -float(log_probs[np.arange(ids.size), 0, ids].sum())
    spelled = 8 * sum(len(u.encode()) + 1 for line in ("今天 never", "好") for u in unit.split(line)
                      if u not in corpus.vocabulary)  # fmt: skip
    assert got.unknown_bits == spelled > 0
    assert got.bits_per_byte == pytest.approx((nats / math.log(2) + spelled) / 17, rel=1e-5)
    assert got.bits_per_character == pytest.approx((nats / math.log(2) + spelled) / 11, rel=1e-5)
    assert got.perplexity_per_word == pytest.approx(math.exp((nats + spelled * math.log(2)) / 5), rel=1e-4)


def test_perplexity_per_word_is_that_of_words(text):
    """Perplexity itself, where every word is known."""
    corpus, model = small(text, WORDS)
    got = nplm.evaluate(model, corpus.valid, size=corpus.sizes["valid"])
    assert got.perplexity_per_word == pytest.approx(got.perplexity, rel=1e-12)
    assert nplm.evaluate(model, corpus.valid).bits_per_byte is None


# ---- every command takes raw text and gives text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of characters, by the command."""
    from nplm.cli import main

    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(TEXT * 30, encoding="utf-8")
    flags = (
        "--unit char --hidden 8 --emsize 8 --layers 1 --epochs 1 --batch-size 4 --bptt 5 --sequence-length 10 --nce 8"
    )
    with pytest.raises(SystemExit) as stop:
        main(["train", "--train", str(folder / "text.txt"), "--valid", str(folder / "text.txt"), "--save",
              str(folder / "run"), *flags.split()])  # fmt: skip
    assert not stop.value.code
    return folder


def test_the_commands_take_and_give_text(run, nplm):
    """Python's own figures and the text's own lines."""
    import nplm as package

    model, path = package.load(run / "run"), run / "text.txt"
    figures = nplm("eval", run / "run", path, "--json").figures
    assert figures["bytes"] == path.stat().st_size and figures["tokens"] == figures["characters"]
    lines = nplm("score", run / "run", path).out.splitlines()
    np.testing.assert_allclose([float(x) for x in lines[:5]], package.score_batch(model, LINES), atol=1e-5)
    said = nplm("sample", run / "run", "--prompt", "今天 <unk>", "--seed", 1, "--lines", 3).out.splitlines()
    assert all(line.startswith("今天 <unk>") for line in said) and len(said) == 3
    assert nplm("next", run / "run", "a ", "--json").figures["context"] == "a "
    assert "bits per byte" in nplm("report", run / "run", "--text", path, "-o", run / "r.html").out
    assert nplm("info", run / "run", "--json").figures["unit"] == {"kind": "char"}
    assert nplm("eval", run / "run", path, "-v", "sentence").out.startswith(f"{LINES[0]}\n")
    assert package.Model(model).score("今天 好") == pytest.approx(float(package.score_batch(model, ["今天 好"])[0]))


def test_lists_and_exports_of_characters(run, nplm, tmp_path):
    """Totals without the spaces between words; ids by tokenizers from the exported file; a model that comes back."""
    import nplm as package

    model = package.load(run / "run")
    (tmp_path / "l").write_text("-1 -1 2 今天 很好\n-1 -1 1 好\n", encoding="utf-8")
    out = nplm("rescore", run / "run", tmp_path / "l", "--join", "", "--nbest").out.splitlines()
    scores = dict([line.split(" ", 3)[3], float(line.split()[1])] for line in out)
    assert scores["今天 很好"] == pytest.approx(float(package.score_batch(model, ["今天很好"])[0]), abs=1e-4)
    assert nplm("export", run / "run", "--to", "folder", "-o", tmp_path / "f").code == 0
    assert nplm("export", run / "run", "--to", "torch", "-o", tmp_path / "t.safetensors").code == 0
    assert nplm("import", tmp_path / "t.safetensors", "-o", tmp_path / "i.safetensors").code == 0
    assert package.load(tmp_path / "i.safetensors").unit.kind == "char"
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "f" / "tokenizer.json"))
    for line in [*LINES, "x\u3000<unk>\\▁"]:
        assert tokenizer.encode(line).ids == [*model.vocabulary.encode(model.unit.split(line)).tolist(), 1]


def test_resuming_keeps_the_unit(run, nplm, refused):
    """Without the flag the run's own; with another one line."""
    assert nplm("train", "--save", run / "run", "--resume", "--epochs", 2).code == 0
    assert "unit" in refused("train", "--save", run / "run", "--resume", "--epochs", 3, "--unit", "word")
