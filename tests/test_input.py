"""Oracles: the plain reader with a Counter and a dict; one joined file; files with one bit changed."""

import bz2
import gzip
import lzma
from collections import Counter

import numpy as np
import pytest
from test_text import fails, write

import nplm.data.count as count_module
from nplm.data.corpus import load_corpus
from nplm.data.encode import read_ids
from nplm.data.reading import Reading
from nplm.data.text import open_tokens
from nplm.data.vocabulary import Vocabulary


class Notes(Reading):
    """Keeps the warnings."""

    def __init__(self):
        self.lines = []

    def warning(self, text):
        self.lines.append(text)


def random_text(lines=400, words=300, seed=0):
    rng = np.random.default_rng(seed)
    separators = [" ", "\t", "  ", "\u3000", " \v", "\f"]
    made = []
    for _ in range(lines):
        picked = [f"w{k}é日" if k % 7 == 0 else f"w{k}" for k in (rng.zipf(1.3, rng.integers(0, 9)) % words)]
        line = "".join(word + separators[rng.integers(6)] for word in picked)
        made.append(("<s> " if rng.random() < 0.1 else "") + line + (" </s>" if rng.random() < 0.1 else ""))
    return "\n".join([*made, "the end"])


@pytest.mark.parametrize("limits", [{}, {"min_count": 2}, {"max_size": 20}, {"min_count": 3, "max_size": 50}])
@pytest.mark.parametrize("types", [2**21, 40])
def test_compiled_reading_is_plain_reading(tmp_path, monkeypatch, limits, types):
    """Oracle: Counter, from_counts and encode over open_tokens; with tables of 40 words, merged from files."""
    monkeypatch.setattr(count_module, "MAX_TYPES", types)
    monkeypatch.setattr("nplm.data.blocks.BLOCK", 500)
    monkeypatch.setattr(count_module, "PIECE", 17)
    path = write(tmp_path, "a.txt", random_text())
    tokens = list(open_tokens(path))
    expected = Vocabulary.from_counts(Counter(tokens), **limits)
    corpus = load_corpus(path, reading=Notes(), **limits)
    assert corpus.vocabulary == expected
    np.testing.assert_array_equal(corpus.train, expected.encode(tokens))


def test_however_a_text_is_given_it_is_the_same(tmp_path):
    """Oracle: one joined file."""
    parts = [random_text(40, seed=k) for k in range(4)]
    joined = load_corpus(write(tmp_path, "joined.txt", "\n".join(parts)), reading=Notes())
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.txt").write_text(parts[0])
    (folder / "b.gz").write_bytes(gzip.compress(parts[1].encode()))
    (folder / "c.bz2").write_bytes(bz2.compress(parts[2].encode()))
    (folder / "d.xz").write_bytes(lzma.compress(parts[3].encode()))
    (folder / ".hidden").write_text("never\n")
    notes = Notes()
    for given in (folder, str(folder / "*"), sorted(p for p in folder.iterdir() if p.name != ".hidden")):
        corpus = load_corpus(given, reading=notes)
        assert corpus.vocabulary == joined.vocabulary
        np.testing.assert_array_equal(corpus.train, joined.train)
    assert len(notes.lines) == 1 and ".hidden (hidden)" in notes.lines[0]
    twice = load_corpus([folder / "a.txt"], weights={str(folder / "a.txt"): 2}, reading=Notes())
    again = load_corpus([folder / "a.txt", folder / "a.txt"], reading=notes)
    assert twice.vocabulary == again.vocabulary and "given twice" in notes.lines[1]
    np.testing.assert_array_equal(twice.train, again.train)
    fails(lambda: load_corpus(str(tmp_path / "*.none")), "matches nothing")


def test_flipped_bits_in_the_cache_are_noticed(tmp_path):
    """Oracle: the ids of the first reading; every one of 120 flipped bits is told, and the cache made again."""
    path, cache = write(tmp_path, "a.txt", "the cat sat on the mat\n" * 9), tmp_path / "cache"
    expected = load_corpus(path, large=0, cache=cache).train.tolist()
    files = sorted((cache / "texts").iterdir(), key=lambda file: file.suffix)
    assert [file.suffix for file in files] == [".counts", ".ids"]
    assert (cache / "texts").stat().st_mode & 0o777 == 0o700
    rng = np.random.default_rng(1)
    for file in files:
        whole = file.read_bytes()
        for _ in range(60):
            bad = bytearray(whole)
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
            file.write_bytes(bad)
            notes = Notes()
            corpus = load_corpus(path, large=0, cache=cache, reading=notes)
            assert corpus.train.tolist() == expected
            assert len(notes.lines) == 1 and "made again" in notes.lines[0]
            assert file.read_bytes() == whole


def test_warnings(tmp_path):
    """Oracle: a text planted for each."""
    rng = np.random.default_rng(0)
    plain = "".join(" ".join(f"w{k}" for k in rng.integers(0, 50, 9)) + "\n" for _ in range(200))
    good = write(tmp_path, "good.txt", plain)
    for content, phrase in [
        ("没有空格的一句话\n这是另外一句话没有空格\n" * 60, "`unit` char"),
        ("".join(f"x{k} y{k} z{k} w\n" for k in range(400)), "`min_count` 2"),
        (plain + "<UNK> w1\n", "`unk` '<UNK>'"),
        (plain + "hel@@ lo\n" * 90, "@@"),
        (plain + "\ufeffw1 w2\n", "line 201: a byte order mark"),
        (plain[:900].replace("\n", "\r") + "\n", "carriage returns"),
    ]:
        notes = Notes()
        load_corpus(write(tmp_path, "t.txt", content), reading=notes)
        assert len(notes.lines) == 1 and phrase in notes.lines[0], notes.lines
    notes = Notes()
    load_corpus(good, write(tmp_path, "v.txt", plain[: len(plain) // 2] + "\n"), reading=notes)
    load_corpus(good, write(tmp_path, "o.txt", "w1 x y\n" * 90), reading=notes)
    assert "stand in the training text" in notes.lines[0] and "unknown" in notes.lines[1] and len(notes.lines) == 2
    assert "[UNK]" not in load_corpus(write(tmp_path, "u.txt", plain + "[UNK] w1\n"), unk="[UNK]").vocabulary


def test_ids_of_several_texts(tmp_path):
    """Oracle: their ids one after the other."""
    a, b = write(tmp_path, "a.txt", "x y"), write(tmp_path, "b.txt", "y\n")
    vocabulary = Vocabulary.from_counts({"x": 2, "y": 1})
    assert read_ids([a, b], vocabulary).tolist() == [2, 3, 1, 3, 1]
