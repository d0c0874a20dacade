"""Oracle: plain Python over small texts (lists of words, stream by stream), and faults planted in files."""

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from test_text import TEXT, VOCABULARY, fails, write

from nplm.data.choose import read_words
from nplm.data.corpus import Corpus, Floor, load_corpus, unigram_perplexity
from nplm.data.encode import read_ids
from nplm.data.mapped import in_blocks
from nplm.data.streams import Span, Streams, split
from nplm.data.vocabulary import Vocabulary

# ---- the vocabulary of a corpus


def test_the_vocabulary_comes_from_the_training_text_alone(tmp_path: Path) -> None:
    """Oracle: a word that stands only in valid, or only in test, is <unk> and counts for nothing."""
    train = write(tmp_path, "train.txt", "a b\na\n")
    valid, test = write(tmp_path, "v.txt", "a dog\n"), write(tmp_path, "t.txt", "bird b\n\n")
    corpus = load_corpus(train, valid, test)
    assert corpus.vocabulary == Vocabulary(["<unk>", "</s>", "a", "b"], [0, 2, 2, 1])
    assert corpus.train.tolist() == [2, 3, 1, 2, 1]
    assert corpus.valid is not None
    assert corpus.test is not None
    assert corpus.valid.tolist() == [2, 0, 1]
    assert corpus.test.tolist() == [0, 3, 1, 1]
    assert (corpus.name, corpus.floor, dict(corpus.baselines)) == ("train.txt", None, {})
    alone = load_corpus(train)
    assert (alone.valid, alone.test) == (None, None)


def test_limits_and_word_list_reach_the_vocabulary(tmp_path: Path) -> None:
    """Oracle: the tokens that stay, by hand."""
    train = write(tmp_path, "train.txt", "a b a c b a\n")
    words = write(tmp_path, "words.txt", "<s>\n<unk>\nc\n\nz\n")
    assert load_corpus(train, min_count=2).vocabulary.tokens[2:] == ("a", "b")
    assert load_corpus(train, max_size=3).vocabulary.tokens[2:] == ("a",)
    assert load_corpus(train, words=words).vocabulary.tokens[2:] == ("c", "z")
    assert read_words(words) == ["<unk>", "c", "z"]
    two = write(tmp_path, "two.txt", "a\nb 12\n")
    fails(lambda: load_corpus(train, words=two), two, "line 2", "one word per line")
    for content in ("\n", "<unk>\n"):
        empty = write(tmp_path, "none.txt", content)
        fails(lambda empty=empty: load_corpus(train, words=empty), empty, "contains no words; a word list has")


def test_a_training_text_needs_two_words(tmp_path: Path) -> None:
    """Oracle: one type, however often; two types pass; cutting all of them does not."""
    fails(lambda: load_corpus(write(tmp_path, "a.txt", "a a\na\n")), "a.txt", "only 1 distinct word")
    path = write(tmp_path, "b.txt", "a b\n")
    assert len(load_corpus(path).vocabulary) == 4
    fails(lambda: load_corpus(path, min_count=2), path, "lower `min_count`")


def test_text_with_no_known_word_is_refused(tmp_path: Path) -> None:
    """Oracle: a text of unknown words only; one known word among them is enough."""
    train = write(tmp_path, "train.txt", "a b\n")
    alien = write(tmp_path, "alien.txt", "x y\n\nz\n")
    fails(lambda: load_corpus(train, valid=alien), alien, "none of its words is in the vocabulary")
    fails(lambda: load_corpus(train, test=alien), alien, "none of its words is in the vocabulary")
    assert load_corpus(train, valid=write(tmp_path, "mixed.txt", "x y a\n")).valid is not None


def test_ids_outside_the_vocabulary_are_refused() -> None:
    """Oracle: an id of V, planted in each split."""
    good, bad = np.array([2, 1], dtype=np.int32), np.array([len(VOCABULARY), 1], dtype=np.int32)
    for split_name in ("train", "valid", "test"):
        ids = {"train": good, split_name: bad}
        fails(lambda ids=ids: Corpus("x", VOCABULARY, **ids), f"{split_name} id {len(VOCABULARY)} is outside")


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize("ids", [np.empty(0, np.int32), np.ones((2, 3), np.int32), [1, 2], 7])
def test_what_is_no_row_of_ids_is_refused(part: str, ids: object) -> None:
    """Oracle: planted in each split; known before an epoch is spent on training, not after."""
    parts = {"train": np.array([2, 1], dtype=np.int32), part: ids}
    fails(lambda: Corpus("x", VOCABULARY, **parts), f"{part} is ", "not an array (n,)")


# ---- streams, sequences, chunks


def plain_streams(ids: list[int], b: int) -> list[list[tuple[int, int]]]:
    """(input, target) of every step of every stream: pieces of the text, cut one after the other."""
    pairs = list(zip([1, *ids[:-1]], ids, strict=True))
    q, r = divmod(len(ids), b)
    streams = []
    for column in range(b):
        length = q + 1 if column < r else q
        streams.append(pairs[:length])
        pairs = pairs[length:]
    assert not pairs
    return streams


@pytest.mark.parametrize(("n", "b"), [(1, 1), (7, 1), (7, 7), (23, 5), (25, 5), (29, 5), (11, 10), (40, 3)])
def test_windows_show_every_stream_at_every_step(n: int, b: int) -> None:
    """Oracle: streams cut from the text as lists, looked at step by step; ids all different, none is </s>."""
    ids = (np.random.default_rng(n).permutation(n) + 2).astype(np.int32)
    streams, expected = Streams(ids, b), plain_streams(ids.tolist(), b)
    assert streams.num_steps == max(map(len, expected))
    assert streams.batch_size == b
    full = min(map(len, expected))
    windows = [(i, j) for i in range(full) for j in range(i + 1, full + 1)]
    if n % b:
        windows.append((full, full + 1))
    for start, stop in windows:
        inputs, targets = streams.window(start, stop)
        width = n % b if start == full else b
        assert inputs.shape == targets.shape == (stop - start, width)
        for array in (inputs, targets):
            assert array.dtype == np.int32
            assert array.flags.c_contiguous
        for t, column in np.ndindex(inputs.shape):
            assert (inputs[t, column], targets[t, column]) == expected[column][start + t]


@pytest.mark.parametrize(("n", "b", "s", "t"), [(23, 5, 3, 2), (200, 4, 20, 5), (203, 4, 21, 5), (30, 3, 99, 4)])
def test_the_chunks_predict_every_token_once(n: int, b: int, s: int, t: int) -> None:
    """Oracle: the multiset of (input, target) pairs of the whole text."""
    ids = np.arange(2, n + 2, dtype=np.int32)
    streams = Streams(ids, b)
    seen: Counter[tuple[int, int]] = Counter()
    for span in streams.spans(s, t):
        inputs, targets = streams.window(span.start, span.stop)
        seen.update(zip(inputs.ravel().tolist(), targets.ravel().tolist(), strict=True))
    assert seen == Counter(zip([1, *ids[:-1].tolist()], ids.tolist(), strict=True))


def test_streams_read_a_memory_mapped_text_and_other_integers(tmp_path: Path) -> None:
    """Oracle: the same ids as a plain int32 array; an id too large for int32 must not wrap round."""
    path = write(tmp_path, "a.txt", TEXT)
    mapped = read_ids(path, VOCABULARY, large=0, cache=tmp_path)
    plain = np.array(mapped)
    for other in (mapped, plain.astype(np.int64), plain.astype(np.uint16)):
        for got, expected in zip(Streams(other, 3).window(0, 3), Streams(plain, 3).window(0, 3), strict=True):
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == np.int32
            assert type(got) is np.ndarray
    fails(lambda: Streams(np.array([2**32 + 2, 1]), 1), 2**32 + 2)


def test_bad_streams_and_windows() -> None:
    """Oracle: each bound, and one past it."""
    ids = np.arange(2, 13, dtype=np.int32)  # n = 11, B = 3: q = 3, r = 2
    fails(lambda: Streams(ids, 12), "11 tokens", "12 streams")
    fails(lambda: Streams(ids, 0), "0 streams")
    fails(lambda: Streams(ids[:0], 1), "shape (0,)")
    fails(lambda: Streams(ids[None], 1), "shape (1, 11)")
    fails(lambda: Streams(ids * 1.0, 1), "must be integers")
    streams = Streams(ids, 3)
    for start, stop in [(-1, 2), (0, 5), (2, 2), (3, 2), (4, 5)]:
        with pytest.raises(ValueError, match="outside the 4 steps"):
            streams.window(start, stop)
    with pytest.raises(ValueError, match="runs into the tail, step 3"):
        streams.window(2, 4)


def test_a_text_shorter_than_one_chunk_is_refused_for_training() -> None:
    """Oracle: B*T tokens pass, one less does not."""
    ids = np.ones(20, dtype=np.int32)
    assert Streams(ids, 4).spans(10, 5) == [Span(0, 0, 0, 5)]
    message = fails(lambda: Streams(ids[:19], 4).spans(10, 5), "n = 19", "B = 4", "T = 5", "20")
    assert "`batch_size`" in message
    assert "`bptt`" in message


def test_split_by_hand() -> None:
    """Oracle: q = 11, S = 6, T = 4 written out, with and without the tail."""
    spans = [Span(0, 0, 0, 4), Span(0, 1, 4, 6), Span(1, 0, 6, 10), Span(1, 1, 10, 11)]
    assert list(split(11, False, 6, 4)) == spans
    assert list(split(11, True, 6, 4)) == [*spans, Span(2, 0, 11, 12)]
    assert list(split(12, True, 6, 4))[-2:] == [Span(1, 1, 10, 12), Span(2, 0, 12, 13)]


@pytest.mark.parametrize("q", [1, 2, 5, 12, 13])
@pytest.mark.parametrize("s", [2, 3, 6, 20])
@pytest.mark.parametrize("t", [1, 2, 3, 20])
def test_split_covers_the_steps_in_order(q: int, s: int, t: int) -> None:
    """Oracle: the sequence and chunk of every single step, by division."""
    spans = list(split(q, False, s, t))
    steps = [(span.sequence, span.chunk) for span in spans for _ in range(span.start, span.stop)]
    assert steps == [(i // s, i % s // t) for i in range(q)]
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(q))
    assert len(set(steps)) == len(spans)


# ---- baselines


def test_unigram_perplexity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the product of max(count, 1) / sum, by hand; counts 0, 2, 5, 1 become 1, 2, 5, 1."""
    monkeypatch.setattr(in_blocks, "__defaults__", (2,))
    vocabulary = Vocabulary(["<unk>", "</s>", "a", "b"], [0, 2, 5, 1])
    ids = np.array([2, 2, 0, 3, 1], dtype=np.int32)
    product = (5 / 9) * (5 / 9) * (1 / 9) * (1 / 9) * (2 / 9)
    assert unigram_perplexity(vocabulary, ids) == pytest.approx(product ** (-1 / 5), rel=1e-14)
    fails(lambda: unigram_perplexity(vocabulary, ids[:0]), "no ids")
    fails(lambda: unigram_perplexity(vocabulary, ids + 1), "token id 4")


def test_a_corpus_shows_its_sizes() -> None:
    """Oracle: the numbers by hand; texts that are not there are not shown."""
    vocabulary = Vocabulary(["<unk>", "</s>", "a"], [0, 1, 2])
    corpus = Corpus("tiny", vocabulary, np.full(1200, 2), test=np.array([2, 1]))
    assert repr(corpus) == "<Corpus 'tiny', V=3, train 1,200, test 2 tokens>"


def test_streams_show_their_shape() -> None:
    """Oracle: 1203 = 4 * 300 + 3, and 8 = 4 * 2."""
    assert repr(Streams(np.arange(1203), 4)) == "<Streams of 1,203 tokens: 300 steps of B=4, then 1 step of 3>"
    assert repr(Streams(np.arange(8), 4)) == "<Streams of 8 tokens: 2 steps of B=4>"


def test_a_floor_is_given_in_nats_and_as_perplexity() -> None:
    """Oracle: exp."""
    assert Floor(math.log(7.0), 0.01, "entropy rate").perplexity == pytest.approx(7.0, rel=1e-15)


def test_penn_treebank() -> None:
    """Oracle: the published sizes: 10,000 types, and 929,589 / 73,760 / 82,430 predicted tokens."""
    folder = Path(os.environ.get("NPLM_DATA", "../shared/data")) / "ptb"
    if not folder.is_dir():
        pytest.skip(f"no Penn Treebank at {folder}; set NPLM_DATA")
    corpus = load_corpus(*(folder / f"{name}.txt" for name in ("train", "valid", "test")))
    assert corpus.valid is not None
    assert corpus.test is not None
    assert len(corpus.vocabulary) == 10_000
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (929_589, 73_760, 82_430)
    assert [int((ids == 1).sum()) for ids in (corpus.train, corpus.valid, corpus.test)] == [42_068, 3_370, 3_761]
    assert np.array_equal(np.bincount(corpus.train), corpus.vocabulary.counts)
