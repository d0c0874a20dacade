"""Vocabulary: the token <-> id table with counts.

id 0 is <unk>, which stands for every word outside the table and has the total count of the words left out of it.
id 1 is </s>, the end of a sentence.  Then come the words by count, most frequent first; ties are in code point order.
There is no <s>: a stream of text begins with </s> as its first input, and <s> is never predicted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from nplm.data.tokens import EOS, UNK, check_counts, check_ids, check_tokens
from nplm.errors import InputError


class Vocabulary:
    """V tokens in id order, and how often each was counted.

    Iterates over its tokens; vocabulary[3] is the token with id 3, vocabulary[:10] a tuple of tokens.

    Parameters
    ----------
    tokens : iterable of str
        In id order, <unk> and </s> first; no token twice.
    counts : sequence of int
        One for each token, at least 0; their sum is below 2**63.

    Attributes
    ----------
    tokens : tuple of str
    counts : ndarray (V,) of int64
        Read-only.
    unk, eos : int
        The ids of <unk> and </s>: 0 and 1.

    Raises
    ------
    InputError
        If the table is not valid.
    """

    unk = 0
    eos = 1

    def __init__(self, tokens: Iterable[str], counts: Sequence[int] | npt.NDArray[np.int64]) -> None:
        self.tokens: tuple[str, ...] = tuple(tokens)
        if self.tokens[:2] != (UNK, EOS):
            raise InputError(f"a vocabulary begins with {UNK} and {EOS}, not with {list(self.tokens[:2])}")
        if len(counts) != len(self.tokens):
            raise InputError(f"a vocabulary of {len(self.tokens)} tokens has {len(counts)} counts")
        check_tokens(self.tokens)
        check_counts(self.tokens, counts)
        self.counts: npt.NDArray[np.int64] = np.array(counts, dtype=np.int64)  # (V,)
        self.counts.flags.writeable = False
        self._ids = dict(zip(self.tokens, range(len(self.tokens)), strict=True))
        if len(self._ids) != len(self.tokens):
            twice = next(token for i, token in enumerate(self.tokens) if self._ids[token] != i)
            raise InputError(f"the token {twice!r} is in the vocabulary twice")

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        words: Iterable[str] | None = None,
    ) -> "Vocabulary":
        """Make a vocabulary from word counts; the counts of words that are left out are added to <unk>.

        Parameters
        ----------
        counts : mapping of str to int
            How often each word was seen, including </s>.
        min_count : int
            Words seen less often are left out; at least 1.
        max_size : int, optional
            Largest V, <unk> and </s> included; at least 3.  The most frequent words are kept.
        words : iterable of str, optional
            Keep exactly these words, seen or not, instead of choosing by count; duplicates are ignored.

        Returns
        -------
        Vocabulary

        Raises
        ------
        InputError
            On a bad limit, count or token.
        """
        if min_count < 1:
            raise InputError(f"min_count = {min_count} is less than 1")
        if max_size is not None and max_size < 3:
            raise InputError(f"max_size = {max_size} is less than 3: {UNK}, {EOS} and a word")
        check_counts(list(counts), list(counts.values()))
        if words is None:
            kept = {w for w, count in counts.items() if count >= min_count}
        elif isinstance(words, str):
            raise TypeError("words must be a collection of words, not one string")
        elif min_count > 1 or max_size is not None:
            raise InputError("a given word list is the whole vocabulary: leave out min_count and max_size")
        else:
            kept = set(words)
        by_text = sorted(kept - {UNK, EOS})
        known = np.array([counts.get(w, 0) for w in by_text], np.int64)
        places = np.argsort(-known, kind="stable")[: None if max_size is None else max_size - 2]
        order, known = [by_text[k] for k in places.tolist()], known[places].tolist()
        eos_count = int(counts.get(EOS, 0))
        unk_count = sum(map(int, counts.values())) - eos_count - sum(known)
        return cls([UNK, EOS, *order], [unk_count, eos_count, *known])

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> str | tuple[str, ...]:
        return self.tokens[place]

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.tokens == other.tokens and bool(np.array_equal(self.counts, other.counts))

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self):,} tokens, total count {int(self.counts.sum()):,}>"

    def id(self, token: str) -> int:
        """The token's id, or that of <unk> if the token is unknown.

        Parameters
        ----------
        token : str

        Returns
        -------
        int
        """
        if not isinstance(token, str):
            raise TypeError(f"a token must be a str, not {type(token).__name__}")
        return self._ids.get(token, self.unk)

    def encode(self, tokens: Iterable[str]) -> npt.NDArray[np.int32]:
        """The tokens' ids; an unknown token becomes <unk>, and no </s> is added.

        Parameters
        ----------
        tokens : iterable of str
            n tokens; split a sentence into tokens first.

        Returns
        -------
        ndarray (n,) of int32

        Raises
        ------
        TypeError
            On a single string, and on a token that is not a str.
        """
        if isinstance(tokens, (str, bytes)):
            raise TypeError("encode takes a list of tokens, not one string: split it first")
        tokens = tokens if isinstance(tokens, (list, tuple)) else list(tokens)
        ids = np.fromiter(map(self._ids.get, tokens, repeat(self.unk)), dtype=np.int32, count=len(tokens))
        for k in np.flatnonzero(ids == self.unk).tolist():
            if not isinstance(tokens[k], str):
                raise TypeError(f"token {k} is {type(tokens[k]).__name__}, not a str")
        return ids

    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> list[str]:
        """The tokens with these ids.

        Parameters
        ----------
        ids : iterable of int, or ndarray (n,)

        Returns
        -------
        list of str

        Raises
        ------
        InputError
            On an id outside [0, V).
        """
        listed = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        if listed.size == 0:
            return []
        check_ids(listed, len(self), "token")
        return [self.tokens[i] for i in listed.tolist()]

    def to_bytes(self) -> bytes:
        """The table as UTF-8 text: a line `token TAB count` per token, in id order.

        Returns
        -------
        bytes
        """
        lines = (f"{w}\t{count}\n" for w, count in zip(self.tokens, self.counts.tolist(), strict=True))
        return "".join(lines).encode()

    @classmethod
    def from_bytes(cls, table: bytes) -> "Vocabulary":
        """Read what `to_bytes` wrote.

        Parameters
        ----------
        table : bytes

        Returns
        -------
        Vocabulary

        Raises
        ------
        InputError
            If the table is damaged; the message names the line.
        """
        try:
            text = bytes(table).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"the vocabulary is damaged: byte {error.start} is not UTF-8") from None
        if not text.endswith("\n"):
            raise InputError("the vocabulary is damaged: its last line has no end")
        tokens: list[str] = []
        counts: list[int] = []
        for number, line in enumerate(text[:-1].split("\n"), start=1):
            token, tab, count = line.partition("\t")
            if not (tab and count.isascii() and count.isdigit() and len(count) <= 19):
                raise InputError(f"the vocabulary is damaged: line {number} is not `token TAB count`")
            tokens.append(token)
            counts.append(int(count))
        return cls(tokens, counts)
