"""Oracle: ids looked up one by one, those read straight into memory, and faults planted in the files that keep them."""

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_text import SENTENCES, TEXT, VOCABULARY, fails, texts_in, write

import nplm.data.encode as ids_module
from nplm.data.cache import cache_folder
from nplm.data.corpus import unigram_perplexity
from nplm.data.encode import read_ids
from nplm.data.mapped import in_blocks
from nplm.data.vocabulary import Vocabulary


def test_ids_are_every_word_and_an_end_for_every_line(tmp_path: Path) -> None:
    """Oracle: ids looked up one by one."""
    ids = read_ids(write(tmp_path, "a.txt", TEXT + "dog the\n"), VOCABULARY)
    expected = [VOCABULARY.id(w) for s in [*SENTENCES, ["dog", "the"]] for w in [*s, "</s>"]]
    assert ids.dtype == np.int32
    assert ids.tolist() == expected
    assert expected[-3:] == [0, VOCABULARY.id("the"), 1]


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were encoded, in order."""
    seen: list[str] = []
    blocks = ids_module._Encoding.blocks

    def record(self: ids_module._Encoding) -> object:
        seen.append(self.sources[0].path)
        return blocks(self)

    monkeypatch.setattr(ids_module._Encoding, "blocks", record)
    monkeypatch.setattr("nplm.data.text.BLOCK", 5)  # several blocks, the last one short
    return seen


def test_a_large_text_is_encoded_once_and_mapped(tmp_path: Path, encodings: list[str]) -> None:
    """Oracle: the ids read straight into memory; the second reading must not encode."""
    path, cache = write(tmp_path, "a.txt", TEXT), tmp_path / "deep" / "cache"
    plain = read_ids(path, VOCABULARY)
    assert not isinstance(plain, np.memmap)
    for _ in range(2):
        ids = read_ids(path, VOCABULARY, large=0, cache=cache)
        assert isinstance(ids, np.memmap)
        assert not ids.flags.writeable
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, plain)
    assert len(encodings) == 2  # plain, and the first with a cache
    assert [p.suffix for p in texts_in(cache).iterdir()] == [".ids"]
    assert len(read_ids(path, VOCABULARY, large=len(TEXT.encode()), cache=cache)) == len(plain)
    assert len(encodings) == 3, "a text of exactly `large` bytes is not large"


def test_a_stale_cache_is_not_used(tmp_path: Path, encodings: list[str]) -> None:
    """Oracle: the new text's ids, after its time, its size or the vocabulary changed."""
    path, cache = write(tmp_path, "a.txt", "the cat\n"), tmp_path / "cache"
    smaller = Vocabulary(VOCABULARY.tokens[:3], VOCABULARY.counts[:3].tolist())

    def check(vocabulary: Vocabulary, number: int) -> None:
        got = read_ids(path, vocabulary, large=0, cache=cache)
        assert len(encodings) == number
        words = [w for line in path.read_text().splitlines() for w in [*line.split(), "</s>"]]
        assert got.tolist() == [vocabulary.id(w) for w in words]

    check(VOCABULARY, 1)
    check(smaller, 2)
    times = path.stat().st_mtime_ns
    path.write_text("the mat\n")  # the same size
    os.utime(path, ns=(times + 1, times + 1))
    check(VOCABULARY, 3)
    path.write_text("the mat sat\n")
    os.utime(path, ns=(times + 1, times + 1))  # the same time
    check(VOCABULARY, 4)
    check(VOCABULARY, 4)
    check(Vocabulary([*VOCABULARY.tokens[:-1], "mat2"], VOCABULARY.counts.tolist()), 5)
    recounted = Vocabulary(VOCABULARY.tokens, (VOCABULARY.counts + 1).tolist())
    check(recounted, 5)  # counts do not change the ids


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:5],
        lambda raw: raw[:-4],
        lambda raw: raw + b"\0",
        lambda raw: bytes(8),
        lambda raw: raw[:-4] + b"\xff\xff\xff\xff",
        lambda raw: raw[:-4] + b"\x00\x00\x01\x00",
    ],
)
def test_a_damaged_cache_is_written_anew(
    tmp_path: Path, encodings: list[str], damage: Callable[[bytes], bytes]
) -> None:
    """Oracle: the undamaged ids."""
    path, cache = write(tmp_path, "a.txt", TEXT), tmp_path / "cache"
    expected = read_ids(path, VOCABULARY, large=0, cache=cache).tolist()
    file = next(texts_in(cache).iterdir())
    file.write_bytes(damage(file.read_bytes()))
    assert read_ids(path, VOCABULARY, large=0, cache=cache).tolist() == expected
    assert len(encodings) == 2


def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the text grows between its first line and its last; nothing stays in the cache."""
    path, cache = write(tmp_path, "a.txt", TEXT), tmp_path / "cache"
    blocks = ids_module._Encoding.blocks

    def grow(self: ids_module._Encoding) -> object:
        with path.open("a") as file:
            file.write("the cat\n")
        return blocks(self)

    monkeypatch.setattr(ids_module._Encoding, "blocks", grow)
    for large in (0, 2**20):
        fails(lambda large=large: read_ids(path, VOCABULARY, large=large, cache=cache), path, "changed while it was")
    assert list(texts_in(cache).iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Oracle: a file where the folder should be; a disk full at the end, which leaves nothing behind."""
    path = write(tmp_path, "a.txt", TEXT)
    plain = read_ids(path, VOCABULARY).tolist()
    assert read_ids(path, VOCABULARY, large=0, cache=path).tolist() == plain
    assert caplog.text.count("cannot be used as a cache") == 1 and "NPLM_CACHE" in caplog.text

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert read_ids(path, VOCABULARY, large=0, cache=tmp_path / "c").tolist() == plain
    assert "No space left" in caplog.text and list(texts_in(tmp_path / "c").iterdir()) == []


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: where the file lies."""
    monkeypatch.setenv("NPLM_CACHE", str(tmp_path / "here"))
    read_ids(write(tmp_path, "a.txt", TEXT), VOCABULARY, large=0)
    assert len(list(texts_in(tmp_path / "here").iterdir())) == 1
    monkeypatch.delenv("NPLM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "nplm"


def test_a_large_text_is_encoded_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the allocator's peak, far below the 4 bytes a token of the ids, and of unigram_perplexity's."""
    monkeypatch.setattr("nplm.data.text.BLOCK", 1000)
    monkeypatch.setattr("nplm.data.cache.BLOCK", 1000)
    monkeypatch.setattr(in_blocks, "__defaults__", (1000,))
    read_ids(write(tmp_path, "b.txt", TEXT), VOCABULARY, large=0, cache=tmp_path)  # compiles
    path = write(tmp_path, "a.txt", b"the cat sat on the mat\n" * 30_000)
    tracemalloc.start()
    try:
        ids = read_ids(path, VOCABULARY, large=0, cache=tmp_path)
        unigram_perplexity(VOCABULARY, ids)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    assert len(ids) == 210_000
