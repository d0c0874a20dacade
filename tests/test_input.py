"""Oracles: the plain reader with a Counter and a dict; one joined file; files with one bit changed."""

import bz2
import gzip
import lzma
import os
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
from test_text import fails, texts_in, write

from nplm.data.cache import Cache
from nplm.data.corpus import load_corpus
from nplm.data.encode import read_ids
from nplm.data.reading import Reading
from nplm.data.sources import Source
from nplm.data.table import Table, find_words
from nplm.data.text import Block, open_text, open_tokens
from nplm.data.units import Words
from nplm.data.vocabulary import Vocabulary
from nplm.threads import in_order


class Notes(Reading):
    """Keeps the warnings, and what was done."""

    def __init__(self):
        self.lines, self.done = [], []

    def warning(self, text):
        assert "\n" not in text
        self.lines.append(text)

    def begin(self, what, name, size):
        self.done.append(what)


def random_text(lines=400, words=300, seed=0):
    rng = np.random.default_rng(seed)
    separators = [" ", "\t", "  ", "\u3000", " \v", "\f", "\r"]
    made = []
    for _ in range(lines):
        picked = [f"w{k}é日" if k % 7 == 0 else f"w{k}" for k in (rng.zipf(1.3, rng.integers(0, 9)) % words)]
        line = "".join(word + separators[rng.integers(7)] for word in picked)
        made.append(("<s> " if rng.random() < 0.1 else "") + line + (" </s>" if rng.random() < 0.1 else ""))
    return "\n".join([*made, "the <unk> end"])


# ---- compiled counting and encoding


def test_words_found_by_hand():
    """Oracle: ids and counts by hand; every separator, marks at the ends, an empty line, U+00A0 in a word."""
    text = "<s> a\u3000bc\tа\u00a0b </s>\n\n bc\v\u3000bc\f日\r\n".encode()
    found = find_words(Block(Source("x"), 2, text, 0))
    assert (found.words, found.filled, found.keys.size) == (6, 2, 9)
    table = Table.of(["bc", "а\u00a0b", "日"])
    assert table.look_up(found).tolist() == [0, 2, 3, 1, 1, 2, 2, 4, 1]
    table.add(found)
    words, counts = table.in_order()
    assert [word.decode() for word in words] == ["a", "bc", "а\u00a0b", "日"] and counts.tolist() == [1, 4, 2, 2]
    assert Table.of(["a", "b c"]) is None and Table.of(["<s>"]) is None


@pytest.mark.parametrize("limits", [{}, {"min_count": 2}, {"max_size": 20}, {"min_count": 3, "max_size": 50}])
@pytest.mark.parametrize("full", [2**21, 40])
@pytest.mark.parametrize("large", [0, 2**30])
def test_compiled_reading_is_plain_reading(tmp_path, monkeypatch, limits, full, large):
    """Oracle: Counter, from_counts and encode over open_tokens; with tables of 40 words, merged from files."""
    monkeypatch.setattr("nplm.data.table.MOST_WORDS", full)
    monkeypatch.setattr("nplm.data.count.MOST_WORDS", full)
    monkeypatch.setattr("nplm.data.text.BLOCK", 500)
    monkeypatch.setattr("nplm.data.count.PIECE", 17)
    monkeypatch.setattr("nplm.data.table.PIECE", 13)
    path = write(tmp_path, "a.txt", "\ufeff" + random_text())
    tokens = list(open_tokens(path))
    expected = Vocabulary.from_counts(Counter(tokens), **limits)
    for _ in range(2):  # the second time the counts come from the cache
        corpus = load_corpus(path, large=large, cache=tmp_path, reading=Notes(), **limits)
        assert corpus.vocabulary == expected
        np.testing.assert_array_equal(corpus.train, expected.encode(tokens))


def test_a_list_of_words_and_a_mark_for_unknown_ones(tmp_path):
    """Oracle: Counter and from_counts over the tokens with the mark replaced, compiled and plain."""
    path, words = write(tmp_path, "a.txt", random_text()), write(tmp_path, "w.txt", "w2\nw3\nnever\nw5\n")
    unit = Words(unk="w1")
    tokens = ["<unk>" if token == "w1" else token for token in open_tokens(path)]
    assert list(open_tokens(path, unit)) == tokens and "w1" not in tokens and "<unk>" in tokens
    for listed in (None, ["w2", "w3", "never", "w5"]):
        expected = Vocabulary.from_counts(Counter(tokens), words=listed)
        for large in (0, 2**30):
            corpus = load_corpus(
                path, words=words if listed else None, unit=unit, large=large, cache=tmp_path, reading=Notes()
            )
            assert corpus.vocabulary == expected
            np.testing.assert_array_equal(corpus.train, expected.encode(tokens))


def test_results_come_in_order_and_errors_after_those_before():
    """Oracle: map; an error of the work, and one of the items."""
    for threads in (1, 2, 5):
        assert list(in_order(lambda k: k * k, range(50), threads)) == [k * k for k in range(50)]
        seen = []
        with pytest.raises(ZeroDivisionError):
            for x in in_order(lambda k: 1 // (20 - k), range(50), threads):
                seen.append(x)
        assert len(seen) == 20
        with pytest.raises(ZeroDivisionError):
            list(in_order(str, (1 // (3 - k) for k in range(9)), threads))


# ---- what is given


def test_however_a_text_is_given_it_is_the_same(tmp_path):
    """Oracle: one joined file."""
    parts = [random_text(40, seed=k) for k in range(5)]
    joined = load_corpus(write(tmp_path, "joined.txt", "\n".join(parts)), reading=Notes())
    folder = tmp_path / "f"
    (folder / "z").mkdir(parents=True)
    (folder / "a.txt").write_text(parts[0])
    (folder / "b.gz").write_bytes(gzip.compress(parts[1].encode()))
    (folder / "c.bz2").write_bytes(bz2.compress(parts[2].encode()))
    (folder / "d.xz").write_bytes(lzma.compress(parts[3].encode()))
    (folder / "z" / "e.txt").write_text(parts[4])
    (folder / ".hidden").write_text("never\n")
    notes = Notes()
    files = [folder / name for name in ("a.txt", "b.gz", "c.bz2", "d.xz", "z/e.txt")]
    for given in (folder, str(folder / "**"), str(folder / "[a-z]*"), files, [folder / "[a-d].*", folder / "z"]):
        corpus = load_corpus(given, reading=notes)
        assert corpus.vocabulary == joined.vocabulary
        np.testing.assert_array_equal(corpus.train, joined.train)
        valid = load_corpus(tmp_path / "joined.txt", given, reading=Notes())
        np.testing.assert_array_equal(valid.valid, joined.train)
    assert len(notes.lines) == 2 and all(".hidden (hidden)" in line for line in notes.lines)
    assert list(open_text(folder)) == list(open_text(tmp_path / "joined.txt"))


def test_weights(tmp_path):
    """Oracle: the file named twice, which is said; a weight of a folder, and of a file in it."""
    a, b = write(tmp_path, "a.txt", "x y\nx z\n"), write(tmp_path, "b.txt", "y y\n")
    notes = Notes()
    for given, weights, same in [
        ([a, b], {str(a): 2}, [a, a, b]),
        ([tmp_path], {str(tmp_path): 2}, [a, a, b, b]),
        ([tmp_path], {str(tmp_path): 2, str(b): 3}, [a, a, b, b, b]),
    ]:
        got, expected = load_corpus(given, weights=weights, reading=Notes()), load_corpus(same, reading=notes)
        assert got.vocabulary == expected.vocabulary and got.train.tolist() == expected.train.tolist()
    assert "a.txt is given twice" in notes.lines[0]
    fails(lambda: load_corpus(a, weights={str(b): 2}), "b.txt", "`weight`", "no training text has this name")


def test_what_cannot_be_found(tmp_path):
    """Oracle: a pattern without a match, an empty folder, no text at all; a name with signs of a pattern is a name."""
    fails(lambda: load_corpus(str(tmp_path / "*.none")), "the pattern matches none")
    fails(lambda: load_corpus([]), "no text was given")
    odd = write(tmp_path, "a[1].txt", "x y\n")
    assert load_corpus(odd).name == "a[1].txt"


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_packed_text_that_is_damaged_or_misnamed(tmp_path, suffix, pack):
    """Oracle: cut after half; another name."""
    raw = pack(np.random.default_rng(0).bytes(9000).hex().encode())
    kind = {"gz": "gzip", "bz2": "bzip2", "xz": "xz"}[suffix]
    fails(lambda: load_corpus(write(tmp_path, f"a.{suffix}", raw[: len(raw) // 2])), f"damaged {kind}")
    fails(lambda: load_corpus(write(tmp_path, f"b.{suffix}", b"plain text\n")), f"damaged {kind}")
    fails(lambda: load_corpus(write(tmp_path, "a.txt", raw)), f"this is a {kind} file", f"ends in .{suffix}")


def test_zstd(tmp_path):
    """Oracle: the text that was packed."""
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    text = random_text()
    packed = write(tmp_path, "a.zst", zstd.compress(text.encode()))
    assert list(open_text(packed)) == list(open_text(write(tmp_path, "a.txt", text)))
    fails(lambda: list(open_text(write(tmp_path, "b.zst", packed.read_bytes()[:-9]))), "damaged zstd")


# ---- the cache


def cached(path, cache, notes=None):
    return load_corpus(path, large=0, cache=cache, reading=notes or Notes())


def test_flipped_bits_in_the_cache_are_noticed(tmp_path):
    """Oracle: the ids of the first reading; all of 10,000 flipped bits are noticed, and some files made again."""
    path, cache = write(tmp_path, "a.txt", "the cat sat on the mat\n" * 9), tmp_path / "cache"
    expected = cached(path, cache).train.tolist()
    files = sorted(texts_in(cache).iterdir(), key=lambda file: file.suffix)
    assert [file.suffix for file in files] == [".counts", ".ids"]
    assert texts_in(cache).stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    rng, notes = np.random.default_rng(1), Notes()
    keys = {file: verified_key(file) for file in files}
    for file in files:
        whole = file.read_bytes()
        for k in range(5000):
            place = int(rng.integers(len(whole)))
            with file.open("r+b", buffering=0) as opened:
                os.pwrite(opened.fileno(), bytes([whole[place] ^ 1 << int(rng.integers(8))]), place)
                assert Cache(cache, notes).find(file.suffix[1:], keys[file]) is None
                if k % 500:
                    os.pwrite(opened.fileno(), whole[place : place + 1], place)
            if k % 500 == 0:
                own = Notes()
                assert cached(path, cache, own).train.tolist() == expected
                assert len(own.lines) == 1 and "it is recreated" in own.lines[0]
                assert file.read_bytes() == whole
        file.write_bytes(whole)
    assert len(notes.lines) == 10_000


def verified_key(file):
    """The identity that a file of the cache has in its header."""
    return file.read_bytes()[16:48]


def test_what_is_foreign_in_the_cache_is_not_used(tmp_path):
    """Oracle: the ids of the first reading; a link, a folder, a file of another text, a cut one, an empty one."""
    path, cache = write(tmp_path, "a.txt", "the cat sat on the mat\n" * 9), tmp_path / "cache"
    other = write(tmp_path, "b.txt", "on the mat the cat sat\n" * 9)
    expected = cached(path, cache).train.tolist()
    ids = next(texts_in(cache).glob("*.ids"))
    whole = ids.read_bytes()
    cached(other, cache)
    theirs = next(file for file in texts_in(cache).glob("*.ids") if file != ids)
    target = write(tmp_path, "target", whole)
    for plant in (
        lambda: ids.symlink_to(target),
        lambda: ids.write_bytes(theirs.read_bytes()),
        lambda: ids.write_bytes(whole[:-1]),
        lambda: ids.write_bytes(b""),
        lambda: os.mkfifo(ids),
    ):
        ids.unlink()
        plant()
        notes = Notes()
        assert cached(path, cache, notes).train.tolist() == expected
        assert len(notes.lines) == 1 and "it is recreated" in notes.lines[0]
        if not ids.is_fifo():
            assert ids.read_bytes() == whole and not ids.is_symlink()
    assert target.read_bytes() == whole, "a link was followed"
    place = texts_in(cache)
    shutil.rmtree(place)
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    notes = Notes()
    assert cached(path, cache, notes).train.tolist() == expected
    assert len(notes.lines) == 1 and "a link" in notes.lines[0] and not list((tmp_path / "elsewhere").iterdir())


def test_another_text_under_the_same_name(tmp_path):
    """Oracle: the new text's ids: the same size and time (cp -p), in the same inode."""
    path, cache = write(tmp_path, "a.txt", "the cat sat\n" * 9), tmp_path / "cache"
    cached(path, cache)
    before = path.stat()
    other = write(tmp_path, "b.txt", "the mat sat\n" * 9)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.copy2(other, path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    notes = Notes()
    assert "mat" in cached(path, cache, notes).vocabulary and "counting" in notes.done
    notes = Notes()
    cached(path, cache, notes)
    assert "counting" not in notes.done and "encoding" not in notes.done and not notes.lines


def test_samples_tell_texts_of_one_status(tmp_path, monkeypatch):
    """Oracle: one byte changed with a status that is made to look the same."""
    path, cache = write(tmp_path, "a.txt", "the cat sat\n" * 9), tmp_path / "cache"
    status = path.stat()
    monkeypatch.setattr("nplm.data.sources.Source.status", lambda self: status)
    cached(path, cache)
    path.write_text("the mat sat\n" * 9)
    assert "mat" in cached(path, cache).vocabulary


# ---- warnings


def test_warnings(tmp_path):
    """Oracle: a text planted for each; the flag to use is named; a text that is fine has none."""
    rng = np.random.default_rng(0)
    plain = "".join(" ".join(f"w{k}" for k in rng.integers(0, 50, 9)) + "\n" for _ in range(200))
    good = write(tmp_path, "good.txt", plain)
    for content, phrase in [
        ("没有空格的一句话\n这是另外一句话没有空格\n" * 60, "`unit` char"),
        ("".join(f"x{k} y{k} z{k} w\n" for k in range(400)), "`min_count` 2"),
        (plain + "<UNK> w1\n", "`unk` '<UNK>'"),
        (plain + "[UNK] w1\n", "`unk` '[UNK]'"),
        (plain + "hel@@ lo\n" * 90, "@@"),
        (plain + "\u2581hel lo\n" * 90, "\u2581"),
        (plain + "\ufeffw1 w2\n", "line 201: a byte order mark"),
        (plain[:900].replace("\n", "\r") + "\n", "carriage returns"),
    ]:
        for large in (0, 2**30):
            notes = Notes()
            load_corpus(write(tmp_path, "t.txt", content), reading=notes, large=large, cache=tmp_path / "c")
            assert len(notes.lines) == 1 and phrase in notes.lines[0], notes.lines
    notes = Notes()
    load_corpus(good, write(tmp_path, "v.txt", plain[: len(plain) // 2] + "\n"), reading=notes)
    load_corpus(good, write(tmp_path, "o.txt", "w1 x y\n" * 90), reading=notes)
    assert "in the training text too" in notes.lines[0] and "unknown" in notes.lines[1] and len(notes.lines) == 2
    notes = Notes()
    empty = write(tmp_path, "empty.txt", "\n")
    fresh = "".join(" ".join(f"w{k}" for k in rng.integers(0, 50, 9)) + "\n" for _ in range(200))
    load_corpus([good, empty], write(tmp_path, "fresh.txt", fresh), reading=notes)
    assert len(notes.lines) == 1 and "empty.txt: empty" in notes.lines[0]
    marked = write(tmp_path, "u.txt", plain + "[UNK] w1\n")
    notes = Notes()
    assert "[UNK]" not in load_corpus(marked, unit=Words(unk="[UNK]"), reading=notes).vocabulary and not notes.lines


def test_line_ends_of_carriage_returns_alone(tmp_path):
    """Oracle: a text of one line that is too long says why."""
    path = write(tmp_path, "a.txt", "some words here\r" * 2**17)
    fails(lambda: load_corpus(path), "carriage returns only")


def test_ids_of_several_texts(tmp_path):
    """Oracle: their ids one after the other."""
    a, b = write(tmp_path, "a.txt", "x y"), write(tmp_path, "b.txt", "y\n")
    vocabulary = Vocabulary.from_counts({"x": 2, "y": 1})
    assert read_ids([a, b], vocabulary).tolist() == [2, 3, 1, 3, 1]
