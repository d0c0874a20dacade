"""What may be a token, a count and a word id: the marks, and the checks that a vocabulary and its users share."""

import re
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from nplm.errors import InputError

UNK, EOS, BOS = "<unk>", "</s>", "<s>"
ASCII_SPACE = frozenset(" \t\n\v\f\r")  # in no token: files separate tokens by spaces or line ends
MAX_COUNT = 2**63 - 1  # counts and their sum are int64


def check_tokens(tokens: Sequence[str]) -> None:
    """Raise InputError unless every one may be in a vocabulary; the message names the first that may not."""
    if _are_plain(tokens):
        return
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise InputError(f"token {i} of the vocabulary, {token!r}, is not a str")
        if not token or not ASCII_SPACE.isdisjoint(token):
            kind = "contains white space" if token else "is empty"
            raise InputError(f"token {i} of the vocabulary, {token!r}, {kind}")
        if token == BOS:
            raise InputError(f"{BOS} cannot be in the vocabulary: it is never predicted; {EOS} begins a text")
        if not token.isascii() and any("\ud800" <= letter <= "\udfff" for letter in token):
            raise InputError(f"token {i} of the vocabulary, {token!r}, is not valid Unicode text")


def _are_plain(tokens: Sequence[str]) -> bool:
    """Whether all tokens are valid, by a quick check, since a large vocabulary has millions of tokens."""
    try:
        lines = "\n".join(["", *tokens, ""])
        lines.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    found = map(lines.count, ASCII_SPACE - {"\n"})
    return not any(found) and lines.count("\n") == len(tokens) + 1 and not re.search(f"\n(\n|{BOS}\n)", lines)


def check_counts(tokens: Sequence[str], counts: Sequence[int] | npt.NDArray[np.int64]) -> None:
    """Raise InputError unless the counts of the tokens are integers, at least 0, with a sum of at most MAX_COUNT."""
    listed = counts.tolist() if isinstance(counts, np.ndarray) else counts
    if {*map(type, listed)} <= {int} and min(listed, default=0) >= 0 and sum(listed) <= MAX_COUNT:
        return
    total = 0
    for token, count in zip(tokens, counts, strict=True):
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise InputError(f"the count of {token!r} is {count!r}, not a whole number")
        if count < 0:
            raise InputError(f"the count of {token!r} is {count}, less than 0")
        total += int(count)
    if total > MAX_COUNT:
        raise InputError(f"the counts add up to {total}, more than 2**63 - 1")


def check_ids(ids: npt.NDArray[Any], vocab_size: int, what: str) -> None:
    """Raise InputError (a ValueError) unless ids, of any shape, are integers in [0, vocab_size).

    `what` names them in the message: "target id 10012 is outside the vocabulary [0, 10000)".
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise InputError(f"{what} ids must be integers, not {ids.dtype}")
    if ids.size == 0:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        outside = low if low < 0 else high
        raise InputError(f"{what} id {outside} is outside the vocabulary [0, {vocab_size})")
