"""Corpus: a training text, its vocabulary, and the texts to evaluate on."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nplm.data.cache import Cache
from nplm.data.checks import check_contained, check_words
from nplm.data.choose import choose_vocabulary, read_words
from nplm.data.count import count_units
from nplm.data.encode import LARGE_TEXT, encode
from nplm.data.mapped import Ids, in_blocks
from nplm.data.reading import Reading
from nplm.data.size import TextSize
from nplm.data.sources import Source, TextPath, Texts, check_pipes, find_sources, name_sources
from nplm.data.table import is_fast
from nplm.data.tokens import UNK, check_ids
from nplm.data.units import WORDS, Unit, Words
from nplm.data.unpack import readable_twice, text_size
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError


@dataclass(frozen=True)
class Floor:
    """The lowest loss that any model can reach on a synthetic corpus's test text."""

    nats: float  # nats per predicted token
    std_error: float  # standard error of `nats`, in nats
    description: str  # how it was computed

    @property
    def perplexity(self) -> float:
        """exp(nats)."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A training text, its vocabulary, and texts for validation and test.

    Parameters
    ----------
    name : str
        Name for messages and reports.
    vocabulary : Vocabulary
    train : ndarray (n,) of int32
        Word ids, every line ending in </s>.
    valid, test : ndarray (n_valid,) and (n_test,) of int32, optional
    floor : Floor, optional
        The lowest possible loss on `test`; known for synthetic sources only.
    baselines : mapping of str to float
        Test perplexity of other models, by name.
    unit : Unit
        What the lines of the texts were split into.
    sizes : mapping of str to TextSize
        Sizes of the raw texts "valid" and "test", if they are known.

    Raises
    ------
    InputError
        On an empty text, and on an id outside the vocabulary.
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
            for block in in_blocks(ids):
                check_ids(block, len(self.vocabulary), what)

    def __repr__(self) -> str:
        texts = (("train", self.train), ("valid", self.valid), ("test", self.test))
        sizes = "".join(f", {what} {len(ids):,}" for what, ids in texts if ids is not None)
        return f"<Corpus {self.name!r}, V={len(self.vocabulary):,}{sizes} tokens>"


def load_corpus(
    train: Texts,
    valid: Texts | None = None,
    test: Texts | None = None,
    *,
    unit: Unit = WORDS,
    min_count: int = 1,
    max_size: int | None = None,
    words: TextPath | None = None,
    weights: Mapping[str, int] | None = None,
    large: int = LARGE_TEXT,
    cache: TextPath | None = None,
    reading: Reading | None = None,
) -> Corpus:
    """Read a corpus; its vocabulary comes from `train` alone, or from the word list `words`.

    Parameters
    ----------
    train, valid, test : path, or list of paths
        UTF-8 text, one sentence per line.  Files, folders, patterns such as "news/*.txt", pipes, and "-" for standard
        input; .gz, .bz2, .xz and .zst are decompressed.  Several are read in order, as if they were one file.
    unit : Unit
        What lines are split into: by default words separated by white space.
    min_count : int
        Words seen less often in `train` become <unk>.
    max_size : int, optional
        Largest V, <unk> and </s> included.
    words : path, optional
        File that lists the words to keep, one per line, instead of choosing them by count.
    weights : mapping of str to int, optional
        How many times each text of `train` is read and counted, keyed by the name given there.
    large : int
        Size of a text, in bytes, above which its counts and ids are cached on disk.
    cache : path, optional
        Folder of the cache; default: $NPLM_CACHE, or ~/.cache/nplm.
    reading : Reading, optional
        Observer that receives progress and warnings.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        On bad text, or if `train` has fewer than 2 different words.
    """
    reading = reading or Reading()
    given = find_sources(train, reading, weights)
    parts = {
        part: find_sources(texts, reading) for part, texts in (("valid", valid), ("test", test)) if texts is not None
    }
    check_pipes([given, *parts.values()])
    listed = None if words is None else read_words(words)
    kept = Cache(cache, reading)
    with readable_twice(given, reading) as sources:
        vocabulary = _vocabulary(sources, unit, kept, reading, large, min_count, max_size, listed)
        ids, _ = encode(sources, vocabulary, unit, kept, reading, large=large)
    measured = {
        part: encode(texts, vocabulary, unit, kept, reading, measured=True, large=large)
        for part, texts in parts.items()
    }
    for part, texts in parts.items():
        check_contained(ids, measured[part][0], name_sources(texts), reading)
    return Corpus(
        name=name_sources([replace(source, path=Path(source.path).name) for source in given]),
        vocabulary=vocabulary,
        train=ids,
        valid=measured["valid"][0] if valid is not None else None,
        test=measured["test"][0] if test is not None else None,
        unit=unit,
        sizes={part: size for part, (_, size) in measured.items()},
    )


def _vocabulary(
    sources: Sequence[Source],
    unit: Unit,
    cache: Cache,
    reading: Reading,
    large: int,
    min_count: int,
    max_size: int | None,
    listed: list[str] | None,
) -> Vocabulary:
    """The vocabulary of a training text."""
    name, is_large = name_sources(sources), text_size(sources) > large
    unk = unit.unk if isinstance(unit, Words) else UNK
    with closing(count_units(sources, unit, cache, reading, large=is_large, fast=is_large and is_fast(unit))) as counts:
        vocabulary, types = choose_vocabulary(counts, min_count=min_count, max_size=max_size, words=listed, unk=unk)
    if types < 2:
        raise InputError(f"{name}: only {types} distinct word; a training text needs at least 2")
    if len(vocabulary) < 3:
        raise InputError(f"{name}: no word occurs {min_count} times; lower `min_count`")
    check_words(counts.seen, types, vocabulary, unit, name, reading)
    return vocabulary


def unigram_perplexity(vocabulary: Vocabulary, ids: npt.NDArray[Any]) -> float:
    """Perplexity over ids (n,) of the unigram model: p(w) = max(count, 1) / sum, </s> counted."""
    if ids.size == 0:
        raise InputError("there are no ids to compute a perplexity from")
    seen = np.zeros(len(vocabulary), dtype=np.int64)
    for block in in_blocks(ids):
        check_ids(block, len(vocabulary), "token")
        seen += np.bincount(block, minlength=len(vocabulary))
    weights = np.maximum(vocabulary.counts, 1).astype(np.float64)
    log_probs = np.log(weights) - math.log(weights.sum())
    return math.exp(-float(seen @ log_probs) / len(ids))
