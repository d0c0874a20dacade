"""Oracle: plain Python over small texts (lists of words), and faults planted in files."""

import errno
import gzip
import io
import os
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nplm.data.corpus import load_corpus
from nplm.data.encode import read_ids
from nplm.data.text import MAX_LINE, open_text, open_tokens
from nplm.data.units import open_unit
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.scoring.sentences import as_units

TEXT = "the cat sat\non the mat\n\nthe café 日本 sat\n"
SENTENCES = [["the", "cat", "sat"], ["on", "the", "mat"], [], ["the", "café", "日本", "sat"]]
VOCABULARY = Vocabulary.from_counts(Counter(w for s in SENTENCES for w in [*s, "</s>"]))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts_in(cache: Path) -> Path:
    """The folder of texts in a cache: the only one of this user."""
    return next(cache.glob("texts*"))


def fails(function: Callable[[], object], *parts: object) -> str:
    """The message of the InputError that function must raise: one line that holds every part."""
    with pytest.raises(InputError) as caught:
        function()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


def test_open_text_gives_words_by_line(tmp_path: Path) -> None:
    """Oracle: the sentences the text was written from, the empty one included."""
    assert list(open_text(write(tmp_path, "a.txt", TEXT))) == SENTENCES


def test_an_end_of_sentence_is_counted_for_every_line(tmp_path: Path) -> None:
    """Oracle: counts by hand over two files; an empty line counts, a line without an end counts."""
    one = write(tmp_path, "a.txt", "a b\n\nb")
    two = write(tmp_path, "b.txt", "b\n")
    assert Counter(open_tokens([one, two])) == {"a": 1, "b": 3, "</s>": 4}
    assert Counter(open_tokens(one)) == Counter(open_tokens(str(one))) == {"a": 1, "b": 2, "</s>": 3}


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(lambda t: b"\xef\xbb\xbf" + t, id="byte order mark"),
        pytest.param(lambda t: t.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda t: b"\xef\xbb\xbf" + t.replace(b"\n", b"\r\n"), id="both"),
        pytest.param(lambda t: t.removesuffix(b"\n"), id="no last newline"),
        pytest.param(lambda t: b"  " + t.replace(b" ", b" \t ").replace(b"\n", b"  \n"), id="more space"),
        pytest.param(lambda t: t.replace(b"\n", b" </s>\n"), id="</s> at the end"),
        pytest.param(lambda t: b"\n".join(b"<s> " + x for x in t.split(b"\n")[:-1]), id="<s> at the start"),
    ],
)
def test_other_writings_of_a_text_give_the_same_ids(tmp_path: Path, variant: Callable[[bytes], bytes]) -> None:
    """Oracle: the clean text's ids and counts."""
    clean = write(tmp_path, "clean.txt", TEXT)
    raw = variant(clean.read_bytes())
    other, packed = write(tmp_path, "other.txt", raw), write(tmp_path, "p.gz", gzip.compress(raw))
    assert raw != clean.read_bytes()
    for path in (other, packed):
        np.testing.assert_array_equal(read_ids(path, VOCABULARY), read_ids(clean, VOCABULARY))
        assert list(open_tokens(path)) == list(open_tokens(clean))


def test_a_line_end_that_was_cut_off(tmp_path: Path) -> None:
    """Oracle: the whole text, character by character, from a file and as the sentences of a user."""
    characters = open_unit("char")
    cut, whole = (write(tmp_path, f"{len(text)}.txt", text) for text in ("a b\r\nc\r", "a b\r\nc\r\n"))
    assert list(open_text(cut, characters)) == list(open_text(whole, characters))
    for sentence in ("c", "c\r", "c\n", "c\r\n"):
        assert as_units(sentence, characters) == ["c"]
    assert as_units("c\r\r\n", characters) == characters.split("c\r")


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the same text in a file."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    got = read_ids("-", VOCABULARY, large=0)
    path = write(tmp_path, "a.txt", TEXT)
    np.testing.assert_array_equal(got, read_ids(path, VOCABULARY))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert load_corpus("-").train.tolist() == load_corpus(path).train.tolist()
    fails(lambda: load_corpus("-", "-"), "standard input is given twice")
    fails(lambda: load_corpus(["-", "-"]), "standard input is given twice")


def test_a_named_pipe(tmp_path: Path) -> None:
    """Oracle: the same text in a file; the vocabulary is made first, so the pipe is kept and read twice."""
    pipe, path = tmp_path / "pipe", write(tmp_path, "a.txt", TEXT)
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(TEXT))
    writer.start()
    corpus, expected = load_corpus(pipe), load_corpus(path)
    writer.join()
    assert corpus.vocabulary == expected.vocabulary and corpus.train.tolist() == expected.train.tolist()
    fails(lambda: load_corpus(path, pipe, pipe), pipe, "given twice")


# ---- bad text

BAD_TEXTS = [
    ("empty.txt", b"", ["contains no words"]),
    ("blank.txt", b"\n \n\r\n", ["contains no words"]),
    ("latin1.txt", b"fine\nun caf\xe9 noir\n", ["line 2", "0xe9", "offset 6", "UTF-8"]),
    ("cut.txt", "fine\nun café".encode()[:-1], ["line 2", "0xc3", "offset 6"]),
    ("bom_latin1.txt", b"\xef\xbb\xbfcaf\xe9\n", ["line 1", "0xe9", "offset 6"]),
    ("surrogate.txt", b"\xed\xa0\x80\n", ["line 1", "0xed", "offset 0"]),
    ("nul.txt", b"fine\nfine\na\0b\n", ["line 3", "NUL", "binary"]),
    ("utf16le.txt", TEXT.encode("utf-16-le").join([b"\xff\xfe", b""]), ["line 1", "UTF-16"]),
    ("utf16be.txt", b"\xfe\xff" + TEXT.encode("utf-16-be"), ["line 1", "UTF-16"]),
    ("utf16.txt", TEXT.encode("utf-16-le"), ["line 1", "NUL"]),
    ("packed.txt", gzip.compress(TEXT.encode()), ["gzip", ".gz"]),
    ("long.txt", b"a b\n" + b"word " * 2**21 + b"\nc\n", ["line 2", 5 * 2**21, MAX_LINE, "one sentence"]),
    ("longer.txt", b"w" * (MAX_LINE + 1), ["line 1", MAX_LINE + 1]),
    ("not.gz", TEXT.encode(), ["damaged gzip"]),
    ("cut.gz", gzip.compress(os.urandom(5000).hex().encode())[:-500], ["damaged gzip"]),
    ("tail.gz", gzip.compress(TEXT.encode())[:-4], ["damaged gzip", "ended before"]),
    ("flip.gz", gzip.compress(TEXT.encode())[:10] + b"\xff" * 30, ["damaged gzip", "invalid block"]),
    ("sum.gz", gzip.compress(TEXT.encode())[:-8] + bytes(8), ["damaged gzip"]),
    ("empty.gz", gzip.compress(b""), ["contains no words"]),
    ("eos.txt", b"a b\na </s> b\n", ["line 2", "</s> inside a line"]),
    ("eos2.txt", b"a </s> </s>\n", ["line 1", "</s> inside a line"]),
    ("bos.txt", b"a <s> b\n", ["line 1", "<s> inside a line"]),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_TEXTS, ids=[name for name, _, _ in BAD_TEXTS])
def test_bad_text_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, parts: list) -> None:
    """Oracle: the fault planted at a known line and offset, read as training text and as text to measure."""
    path = write(tmp_path, name, content)
    fails(lambda: load_corpus(path), path, *parts)
    fails(lambda: read_ids(path, VOCABULARY), path, *parts)
    fails(lambda: read_ids(path, VOCABULARY, large=0, cache=tmp_path / "cache"), path, *parts)
    assert not list(tmp_path.glob("cache/texts*/*")), "a failed reading leaves something in the cache"


def test_a_path_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: a missing file, a folder, a file used as a folder, too long a name, a file not readable."""
    path = write(tmp_path, "a.txt", TEXT)
    folder, empty = tmp_path / "folder.gz", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    for bad, part in [
        (tmp_path / "none.txt", "no such file"),
        (tmp_path / "none.gz", "no such file"),
        (empty, "a folder without a text file"),
        (folder, "a folder without a text file"),
        (path / "x", "cannot be read"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ]:
        fails(lambda bad=bad: load_corpus(bad), bad, part)
        fails(lambda bad=bad: read_ids(bad, VOCABULARY), bad, part)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # not chmod: root may read everything
    fails(lambda: load_corpus(path), path, "not readable")


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    """Oracle: the message is one line."""
    fails(lambda: load_corpus(tmp_path / "a\nb"), "a\\nb", "no such file")


def test_the_longest_line_allowed_is_read(tmp_path: Path) -> None:
    """Oracle: MAX_LINE bytes and a newline, one byte less than what is refused."""
    path = write(tmp_path, "a.txt", b"w" * MAX_LINE + b"\nv\n" + b"w" * MAX_LINE)
    assert [[len(w) for w in s] for s in open_text(path)] == [[MAX_LINE], [1], [MAX_LINE]]


@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
def test_memory_stays_bounded_on_one_huge_line(tmp_path: Path, name: str) -> None:
    """Oracle: the allocator's peak while a line of 64 MiB is refused."""
    length = 64 * 2**20
    with gzip.open(tmp_path / name, "wb", 1) if name == "a.gz" else (tmp_path / name).open("wb") as file:
        for _ in range(64):
            file.write(b"w" * 2**20)
    tracemalloc.start()
    try:
        fails(lambda: list(open_tokens(tmp_path / name)), length)
        assert tracemalloc.get_traced_memory()[1] < 6 * MAX_LINE
    finally:
        tracemalloc.stop()
