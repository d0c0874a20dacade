"""Sentences one after the other, as ids: cut into pieces, encoded, and their words' figures added up.

A sentence is its words, then </s>; with eos=False its words alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from nplm.arrays import Array
from nplm.data.vocabulary import EOS, Vocabulary

Text = str | bytes
SENTENCES = 4096  # in a piece: sorted by length, and scored, together


def in_pieces(sentences: Iterable[list[str]], tokens: int, lines: int = SENTENCES) -> Iterator[list[list[str]]]:
    """Sentences, as lists of words, in pieces of at most `lines` sentences; a piece ends when it has `tokens` words."""
    piece, size = [], 0
    for sentence in sentences:
        piece.append(sentence)
        size += len(sentence) + 1
        if size >= tokens or len(piece) >= lines:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def encode(vocabulary: Vocabulary, sentences: Sequence[Sequence[str]], eos: bool = True) -> tuple[Array, Array]:
    """Ids (n,) of sentences of words one after the other, </s> after each if eos, and their lengths (m,)."""
    end = (EOS,) if eos else ()
    words = chain.from_iterable(chain(sentence, end) for sentence in sentences)
    lengths = np.array([len(sentence) + len(end) for sentence in sentences], np.int64)
    return vocabulary.encode(words), lengths


def totals(values: Array, lengths: Array) -> Array:
    """Sums (m,) of values (n,) over sentences of `lengths` (m,)."""
    return np.bincount(np.repeat(np.arange(lengths.size), lengths), values, lengths.size)


def sentence_lengths(ids: Array, eos: int) -> Array:
    """Lengths (m,) of the sentences of a text of ids (n,), </s> counted; the last one may lack it."""
    ends = np.flatnonzero(ids == eos) + 1
    if ids.size and (ends.size == 0 or ends[-1] != ids.size):
        ends = np.append(ends, ids.size)
    return np.diff(ends, prepend=0)


def longest_first(lengths: Array, columns: int) -> list[tuple[Array, Array]]:
    """Groups of at most `columns` sentences, of similar length: where each starts, and its length, the longest first.

    lengths (m,): of sentences one after the other; those of no token are in no group.
    """
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    groups = [order[k : k + columns] for k in range(0, order.size, columns)]
    return [(starts[group], lengths[group]) for group in groups]


def as_text(text: Text) -> str:
    """A sentence or word as a str; bytes are taken as UTF-8, as KenLM does, and all else is an unknown word."""
    if isinstance(text, bytes):
        return text.decode(errors="surrogateescape")
    if isinstance(text, str):
        return text
    raise TypeError(f"a sentence or a word is a str or bytes, not {type(text).__name__}")
