"""Sentences one after the other, as ids: cut into pieces, encoded, and their words' figures added up.

A sentence is its words, then </s>; with eos=False its words alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from nplm.arrays import Array
from nplm.data.text import without_end
from nplm.data.units import Unit, toolkit_words
from nplm.data.vocabulary import ASCII_SPACE, EOS, Vocabulary
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


def as_units(sentence: Text | Iterable[Text], unit: Unit) -> list[str]:
    """What a user gives as a sentence, in units: a str or bytes is divided; a list holds the units themselves.

    Raises TypeError on what is neither, and InputError on a list of texts that are no units.
    """
    if isinstance(sentence, (str, bytes)):
        return unit.split(without_end(as_text(sentence)))
    if not isinstance(sentence, Iterable):
        raise TypeError(f"a sentence is a str, bytes or a list of words, not {type(sentence).__name__}")
    units = [as_text(word) for word in sentence]
    for text in units:
        if not text or not ASCII_SPACE.isdisjoint(text):
            what = "has white space in it" if text else "is empty"
            raise InputError(f"{text!r} in a list of words {what}: give words, or the sentence as one string")
    return units


def kenlm_words(sentence: Text, unit: Unit) -> list[str]:
    """A sentence's words as KenLM separates them, by ASCII's white space; its units where they are not words."""
    return toolkit_words(as_text(sentence)) if unit.kind == "word" else as_units(sentence, unit)


def as_text(text: Text) -> str:
    """A sentence or word as a str; bytes are taken as UTF-8, as KenLM does, and what is no UTF-8 is in no word."""
    if isinstance(text, bytes):
        return text.decode(errors="surrogateescape")
    if isinstance(text, str):
        return text
    raise TypeError(f"a sentence or a word is a str or bytes, not {type(text).__name__}")
