"""Corpus: a training text, its vocabulary, and the texts to evaluate on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nplm.data.encode import BLOCK, Ids, read_ids
from nplm.data.measured import read_measured
from nplm.data.size import TextSize
from nplm.data.text import TextPath, count_tokens, is_pipe, read_words, text_name
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import EOS, Vocabulary, check_ids
from nplm.errors import InputError


@dataclass(frozen=True)
class Floor:
    """The lowest loss any model can reach on a synthetic corpus's test text."""

    nats: float  # nats per predicted token
    std_error: float  # standard error of `nats` as a forecast of the loss on the test sample, in nats
    description: str  # how it was computed

    @property
    def perplexity(self) -> float:
        """exp(nats)."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A training text, its vocabulary, and the texts to measure on.

    Parameters
    ----------
    name : str
        What messages and reports call it.
    vocabulary : Vocabulary
    train : ndarray (n,) of int32
        Word ids, every line ending in </s>.
    valid, test : ndarray (n_valid,) and (n_test,) of int32, optional
    floor : Floor, optional
        The lowest possible loss on `test`; known for synthetic sources only.
    baselines : mapping of str to float
        Test perplexity of other models, by name.
    unit : Unit
        What the lines of the texts were divided into.
    sizes : mapping of str to TextSize
        Of the raw texts valid and test, where they are known.

    Raises
    ------
    InputError
        On a text without ids, and on an id outside the vocabulary.
    """

    name: str
    vocabulary: Vocabulary
    train: Ids
    valid: Ids | None = None
    test: Ids | None = None
    floor: Floor | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    unit: Unit = WORDS
    sizes: Mapping[str, TextSize] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, ids in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            if ids is None:
                continue
            if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.size == 0:
                shape = f"an array of shape {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
                raise InputError(f"{what} is {shape}, not an array (n,) of at least 1 id")
            check_ids(ids, len(self.vocabulary), what)

    def __repr__(self) -> str:
        texts = (("train", self.train), ("valid", self.valid), ("test", self.test))
        sizes = "".join(f", {what} {len(ids):,}" for what, ids in texts if ids is not None)
        return f"<Corpus {self.name!r}, V={len(self.vocabulary):,}{sizes} tokens>"


def load_corpus(
    train: TextPath,
    valid: TextPath | None = None,
    test: TextPath | None = None,
    *,
    unit: Unit = WORDS,
    min_count: int = 1,
    max_size: int | None = None,
    words: TextPath | None = None,
) -> Corpus:
    """The corpus in these text files, its vocabulary from `train` alone, or from the word list `words`.

    Parameters
    ----------
    train, valid, test : path
        UTF-8 text, one sentence a line; .gz by suffix, "-" for standard input.
        `train` is read twice, so it cannot be a pipe.
    unit : Unit
        What lines are divided into: by default words between white space.
    min_count : int
        Words seen less often in `train` become <unk>.
    max_size : int, optional
        Largest V, <unk> and </s> included.
    words : path, optional
        The words to keep instead, one per line.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        On bad text, or fewer than 2 different words in `train`.
    """
    if is_pipe(train):
        raise InputError(f"{text_name(train)}: the training text is read twice, so it must be a file, not a pipe")
    counts = count_tokens([train], unit)
    types = len(counts.keys() - {EOS})
    if types < 2:
        raise InputError(f"{text_name(train)}: only {types} distinct word; a training text needs at least 2")
    listed = None if words is None else read_words(words)
    vocabulary = Vocabulary.from_counts(counts, min_count=min_count, max_size=max_size, words=listed)
    if len(vocabulary) < 3:
        raise InputError(f"{text_name(train)}: no word occurs {min_count} times; lower `min_count`")
    measured = {
        name: read_measured(path, vocabulary, unit) if path is not None else (None, None)
        for name, path in (("valid", valid), ("test", test))
    }
    return Corpus(
        name=Path(train).name,
        vocabulary=vocabulary,
        train=read_ids(train, vocabulary, unit),
        valid=measured["valid"][0],
        test=measured["test"][0],
        unit=unit,
        sizes={name: size for name, (_, size) in measured.items() if size is not None},
    )


def unigram_perplexity(vocabulary: Vocabulary, ids: npt.NDArray[Any]) -> float:
    """Perplexity over ids (n,) of the unigram model: p(w) = max(count, 1) / sum, </s> counted."""
    if ids.size == 0:
        raise InputError("there are no ids to compute a perplexity of")
    check_ids(ids, len(vocabulary), "token")
    seen = np.zeros(len(vocabulary), dtype=np.int64)
    for start in range(0, len(ids), BLOCK):  # bincount would copy all of a memory-mapped text
        seen += np.bincount(ids[start : start + BLOCK], minlength=len(vocabulary))
    weights = np.maximum(vocabulary.counts, 1).astype(np.float64)
    log_probs = np.log(weights) - math.log(weights.sum())
    return math.exp(-float(seen @ log_probs) / len(ids))
