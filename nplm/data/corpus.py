"""Corpus: a training text, its vocabulary, and the texts to evaluate on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nplm.data.cache import Cache, identity
from nplm.data.checks import check_contained, check_counts, check_unknown
from nplm.data.choose import choose_vocabulary
from nplm.data.count import Counts, count_units
from nplm.data.encode import BLOCK, LARGE_TEXT, Ids, encode
from nplm.data.reading import Reading
from nplm.data.sources import Source, TextPath, Texts, find_sources, name_sources, size_of, text_name
from nplm.data.text import no_words, read_words
from nplm.data.units import WORDS, Unit
from nplm.data.unpack import readable_twice
from nplm.data.vocabulary import Vocabulary, check_ids
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
    train: Texts,
    valid: Texts | None = None,
    test: Texts | None = None,
    *,
    min_count: int = 1,
    max_size: int | None = None,
    words: TextPath | None = None,
    unit: Unit = WORDS,
    unk: str | None = None,
    weights: Mapping[str, int] | None = None,
    large: int = LARGE_TEXT,
    cache: TextPath | None = None,
    reading: Reading | None = None,
) -> Corpus:
    """The corpus in these texts, its vocabulary from `train` alone, or from the word list `words`.

    Parameters
    ----------
    train, valid, test : path, or list of paths
        UTF-8 text, one sentence a line.  Files, folders, patterns such as "news/*.txt", pipes, and "-" for standard
        input; .gz, .bz2, .xz and .zst are unpacked.  Several are read in order, as if they were one file.
    min_count : int
        Units seen less often in `train` become <unk>.
    max_size : int, optional
        Largest V, <unk> and </s> included.
    words : path, optional
        The words to keep instead, one per line.
    unit : Unit
        What lines are divided into.
    unk : str, optional
        A word of the texts that stands for unknown words, as <unk> does.
    weights : mapping of str to int, optional
        How often what `train` names is read and counted.
    large : int
        Bytes of a text above which its counts and ids are kept on disk.
    cache : path, optional
        Where; default: `nplm.data.cache.cache_folder()`.
    reading : Reading, optional
        Watches the reading, and gets warnings.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        On bad text, or fewer than 2 different units in `train`.
    """
    reading = reading or Reading()
    sources = find_sources(train, reading, weights)
    parts = [None if part is None else find_sources(part, reading) for part in (valid, test)]
    _check_pipes([*sources, *(source for part in parts for source in part or ())])
    listed = None if words is None else read_words(words)
    kept = Cache(cache, reading)
    read = partial(encode, unit=unit, cache=kept, reading=reading, large=large)
    with readable_twice(sources) as sources:
        name = name_sources(sources)
        counts = _counts(sources, unit, kept, reading, large)
        vocabulary, types = choose_vocabulary(counts, min_count=min_count, max_size=max_size, words=listed, unk=unk)
        if types < 2:
            raise InputError(f"{name}: only {types} distinct word; a training text needs at least 2")
        if len(vocabulary) < 3:
            raise InputError(f"{name}: no word occurs {min_count} times; lower `min_count`")
        check_counts(counts.seen, types, vocabulary, unit, name, reading)
        ids = read(sources, vocabulary)
    measured = [None if part is None else read(part, vocabulary) for part in parts]
    for part, its_ids in zip(parts, measured, strict=True):
        if part is not None and its_ids is not None:
            check_unknown(its_ids, vocabulary, name_sources(part), reading)
            check_contained(ids, its_ids, vocabulary, name_sources(part), reading)
    title = Path(sources[0].path).name if len(sources) == 1 else name
    return Corpus(title, vocabulary, ids, valid=measured[0], test=measured[1])


def _counts(sources: list[Source], unit: Unit, cache: Cache, reading: Reading, large: int) -> Counts:
    """The counts of the training text, from the cache or counted now."""
    key = identity(sources, "counts", unit.identity)
    kept = cache if key is not None and size_of(sources) > large else None
    counts = count_units(sources, unit, reading, cache=kept, identity=key or b"")
    if not counts.seen.tokens:
        raise no_words(sources[0])
    if key != identity(sources, "counts", unit.identity):
        cache.remove("counts", key or b"")
        raise InputError(f"{name_sources(sources)}: it changed while it was read; start again when it is complete")
    return counts


def _check_pipes(sources: list[Source]) -> None:
    """Raise InputError where standard input, or another pipe, is given for two texts."""
    pipes = [source.path for source in sources if source.is_pipe]
    for path in pipes:
        if pipes.count(path) > 1:
            raise InputError(f"{text_name(path)} is given twice; it can be read only once")


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
