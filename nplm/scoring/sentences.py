"""Concatenated sentences as ids: splitting into pieces, encoding, and summing over sentences.

A sentence is its words, then </s>; with eos=False, its words alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from nplm.arrays import Array
from nplm.data.text import without_end
from nplm.data.tokens import ASCII_SPACE, EOS
from nplm.data.units import Unit, toolkit_words
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError

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
    """Ids (n,) of concatenated sentences, each followed by </s> if eos, and their lengths (m,)."""
    end = (EOS,) if eos else ()
    words = chain.from_iterable(chain(sentence, end) for sentence in sentences)
    lengths = np.array([len(sentence) + len(end) for sentence in sentences], np.int64)
    return vocabulary.encode(words), lengths


def totals(values: Array, lengths: Array) -> Array:
    """Sums (m,) of values (n,) over sentences of `lengths` (m,)."""
    return np.bincount(np.repeat(np.arange(lengths.size), lengths), values, lengths.size)


def sentence_lengths(ids: Array, eos: int) -> Array:
    """Lengths (m,) of the sentences of a text of ids (n,), </s> included; the last sentence may lack it."""
    ends = np.flatnonzero(ids == eos) + 1
    if ids.size and (ends.size == 0 or ends[-1] != ids.size):
        ends = np.append(ends, ids.size)
    return np.diff(ends, prepend=0)


def longest_first(lengths: Array, columns: int) -> list[tuple[Array, Array]]:
    """Groups of at most `columns` sentences of similar length: their starts and lengths, longest first.

    lengths (m,): of concatenated sentences; empty ones are in no group.
    """
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    groups = [order[k : k + columns] for k in range(0, order.size, columns)]
    return [(starts[group], lengths[group]) for group in groups]


def as_units(sentence: Text | Iterable[Text], unit: Unit) -> list[str]:
    """The units of a sentence given by a user: a str or bytes is split; a list contains the units themselves.

    Raises TypeError on anything else, and InputError on a list of strings that are not units.
    """
    if isinstance(sentence, (str, bytes)):
        return unit.split(without_end(as_text(sentence)))
    if not isinstance(sentence, Iterable):
        raise TypeError(f"a sentence must be a str, bytes or a list of words, not {type(sentence).__name__}")
    units = [as_text(word) for word in sentence]
    for text in units:
        if not text or not ASCII_SPACE.isdisjoint(text):
            what = "contains white space" if text else "is empty"
            raise InputError(f"{text!r} in a list of words {what}: give words, or the sentence as one string")
    return units


def kenlm_words(sentence: Text, unit: Unit) -> list[str]:
    """A sentence's words, split at ASCII white space as KenLM does, or its units if they are not words."""
    return toolkit_words(as_text(sentence)) if unit.kind == "word" else as_units(sentence, unit)


def as_text(text: Text) -> str:
    """A sentence or word as a str; bytes are decoded as UTF-8, as in KenLM; invalid bytes are in no known word."""
    if isinstance(text, bytes):
        return text.decode(errors="surrogateescape")
    if isinstance(text, str):
        return text
    raise TypeError(f"a sentence or a word must be a str or bytes, not {type(text).__name__}")
