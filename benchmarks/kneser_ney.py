"""How good is an n-gram model on the same text?  Interpolated modified Kneser-Ney (Chen & Goodman 1998).

    [K1] p_k(w | v u) = (c_k(v u w) - D_k(c_k(v u w))) / c_k(v u .) + gamma_k(v u) p_{k-1}(w | u)
         p_k(w | v u) = p_{k-1}(w | u)  after a context v u never seen;      p_0(w) = 1 / V
    [K2] gamma_k(u) = sum_w D_k(c_k(u w)) / c_k(u .)          what was taken away is what is shared out
    [K3] c_k(g) = how often g occurs, for the highest order and for every g that begins with <s>
         c_k(g) = how many different words stand before g, for all others
    [K4] Y = n1 / (n1 + 2 n2),  D(0) = 0,  D(1) = 1 - 2 Y n2/n1,  D(2) = 2 - 3 Y n3/n2,  D(3+) = 3 - 4 Y n4/n3
         n_j: n-grams of the order with c_k = j.  Where one is zero, or not 0 < D(j) <= j, the three are 0.5, 1, 1.5

Sentences are contexts: each begins after one <s>, is predicted up to its </s>, and knows nothing of the one before.
<unk> is a word like any other.  So tokens, out-of-vocabulary words and vocabulary are those of `nplm eval`, and the
perplexities compare.  Derivation: docs/learn/kneser_ney.md.

Memory: 41 bytes for each different n-gram, at most n of an order, and, while they are counted or looked up, about
100 bytes a token of the text.

    python benchmarks/kneser_ney.py --corpus python --mix runs/demo/best.safetensors
    python benchmarks/kneser_ney.py --train train.txt --valid valid.txt --test test.txt --debug2 kn5.test.txt
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import _record
import numpy as np
import numpy.typing as npt
from _tables import Section

from nplm import atomic
from nplm.config import CORPORA
from nplm.data import builtin
from nplm.data.corpus import Corpus, load_corpus
from nplm.data.size import TextSize
from nplm.data.tokens import BOS, EOS, check_ids
from nplm.data.units import open_unit
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.logs import LN10
from nplm.model import LanguageModel
from nplm.scoring.raw_text import LN2
from nplm.scoring.score import word_scores
from nplm.storage.checkpoint import load_model
from nplm.toolkits.mix import best_mix

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FALLBACK = (0.0, 0.5, 1.0, 1.5)  # D(0) ... D(3+), as in KenLM
TABLE = Section(
    "For comparison: n-gram models",
    "Interpolated modified Kneser-Ney on the same text, vocabulary and tokens, alone and mixed with the LSTM of the"
    " same corpus, with a weight fitted on the validation text. Perplexity is exact; for other texts than the built-in"
    " ones, the command takes `--train`, `--valid` and `--test` in place of `--corpus`.",
    "kneser_ney-*.json",
    {
        "training tokens": "train_tokens:,", "V": "vocab_size:,", "order": "order",
        "validation": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f", "test tokens": "test_tokens:,", "LSTM, test": "neural_test_perplexity:.2f",
        "weight of the LSTM": "neural_weight:.2f", "mixed, validation": "mixed_valid_perplexity:.2f",
        "mixed, test": "mixed_test_perplexity:.2f", "training, s": "train_seconds:.1f",
    },
    command="python benchmarks/kneser_ney.py --corpus python --mix MODEL --json FILE",
)  # fmt: skip
SECTIONS = {"yardstick": TABLE}


class Ngrams(NamedTuple):
    """The G different n-grams of order k, in the order of their keys; a row names an n-gram.

    Order 1 has V + 1 rows, the word ids and <s> as row V, seen or not; <s> is a context and is never counted.
    """

    keys: Ints  # (G,) row of its first k-1 words in order k-1, times V + 1, plus its last word
    counts: Ints  # (G,) how often it occurs
    suffix: Ints  # (G,) row of its last k-1 words in order k-1
    opens: npt.NDArray[np.bool_]  # (G,) whether it begins with <s>


class Level(NamedTuple):
    """What a model knows of one order."""

    keys: Ints  # (G,) as in Ngrams
    probs: Floats  # (G,) p_k of the last word after the others, [K1]
    gammas: Floats  # (G of order k-1,) [K2]; 1 for a context never seen
    discounts: tuple[float, ...]  # D(0), D(1), D(2), D(3+), [K4]


class Model(NamedTuple):
    """An n-gram model of V words."""

    vocab_size: int  # V
    levels: list[Level]  # orders 1 ... N


def count(ids: npt.NDArray[Any], vocab_size: int, order: int) -> list[Ngrams]:
    """The n-grams of orders 1 ... `order` of a text of ids (n,), every sentence ending in </s>."""
    if order < 1:
        raise InputError(f"order = {order} is less than 1")
    symbols, depth = _symbols(ids, vocab_size)
    words = np.bincount(symbols[depth > 0], minlength=vocab_size + 1)
    nothing = np.zeros(vocab_size + 1, np.int64)
    tables = [Ngrams(np.arange(vocab_size + 1), words, nothing, nothing.astype(bool))]
    rows = symbols  # (m,) of the n-gram of order k-1 that ends here
    for k in range(2, order + 1):
        ends = np.flatnonzero(depth >= k - 1)  # (e,) where an n-gram of order k ends
        keys = rows[ends - 1] * (vocab_size + 1) + symbols[ends]
        types, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        first = ends[first]
        tables.append(Ngrams(types, counts, rows[first], depth[first] == k - 1))
        rows = np.full_like(symbols, -1)
        rows[ends] = inverse
    return tables


def estimate(tables: Sequence[Ngrams], order: int) -> Model:
    """The model of that order from the tables of `count`, which may go further."""
    vocab_size = len(tables[0].keys) - 1
    levels: list[Level] = []
    shorter = np.array([1 / vocab_size])  # p_0
    for k, table in enumerate(tables[:order], start=1):
        counts = table.counts if k == order else _continuations(table, tables[k])  # [K3]
        discounts = discounts_of(counts)
        taken = np.array(discounts)[np.minimum(counts, 3)]
        context = table.keys // (vocab_size + 1) if k > 1 else np.zeros_like(table.keys)
        total = np.bincount(context, counts, len(shorter))  # c_k(u .)
        gammas = np.ones(len(shorter))
        np.divide(np.bincount(context, taken, len(shorter)), total, out=gammas, where=total > 0)  # [K2]
        shorter = (counts - taken) / total[context] + gammas[context] * shorter[table.suffix]  # [K1]
        levels.append(Level(table.keys, shorter, gammas, discounts))
    return Model(vocab_size, levels)


def train(ids: npt.NDArray[Any], vocab_size: int, order: int = 5) -> Model:
    """The Kneser-Ney model of a text of ids (n,), every sentence ending in </s>, over V words."""
    return estimate(count(ids, vocab_size, order), order)


def discounts_of(counts: Ints) -> tuple[float, ...]:
    """D(0), D(1), D(2), D(3+) from the counts (G,) of the n-grams of an order, [K4]."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].tolist()
    if 0 in n[1:]:
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))
    return (0.0, *found) if all(0 < d <= j for j, d in enumerate(found, start=1)) else FALLBACK


def word_probs(model: Model, ids: npt.NDArray[Any]) -> tuple[Floats, Ints]:
    """p (n,) of each word of a text after its sentence's words, and the order (n,) of the longest n-gram found."""
    symbols, depth = _symbols(ids, model.vocab_size)
    probs, found = model.levels[0].probs[symbols], np.ones_like(symbols)
    rows = symbols  # (m,) of the n-gram of order k-1 that ends here; -1 where it was never seen
    for k, level in enumerate(model.levels[1:], start=2):
        if not len(level.keys):  # no sentence of the training text was as long
            break
        ends = np.flatnonzero(depth >= k - 1)
        ends = ends[rows[ends - 1] >= 0]  # the others keep p_{k-1}, [K1]
        context = rows[ends - 1]
        keys = context * (model.vocab_size + 1) + symbols[ends]
        places = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
        hit = level.keys[places] == keys
        probs[ends] *= level.gammas[context]
        probs[ends[hit]] = level.probs[places[hit]]
        rows = np.full_like(symbols, -1)
        rows[ends[hit]] = places[hit]
        found[ends[hit]] = k
    return probs[depth > 0], found[depth > 0]


def word_log_probs(model: Model, ids: npt.NDArray[Any]) -> Floats:
    """log p (n,) in nats of each word of a text of ids (n,) given its sentence's words before it."""
    return np.log(word_probs(model, ids)[0])


def perplexity(log_probs: Floats) -> float:
    """exp of the mean loss of the words (n,)."""
    return math.exp(-float(log_probs.mean()))


def raw_bits(nats: float, size: TextSize) -> dict[str, float]:
    """[V8] and [V9], as `nplm eval` has them, of a raw text that costs so many nats."""
    spelling = 8.0 * (size.unknown_bytes + size.unknown)
    bits = nats / LN2 + spelling
    return {
        "bits_per_byte": bits / size.bytes,
        "bits_per_character": bits / size.characters,
        "spelling_bits": spelling / size.characters,
    }


def _symbols(ids: npt.NDArray[Any], vocab_size: int) -> tuple[Ints, Ints]:
    """The text (m,) with <s>, as V, before every sentence, and each symbol's place (m,) in its sentence, <s> at 0."""
    check_ids(ids, vocab_size, "token")
    if ids.size == 0:
        raise InputError("the text has no words; give a text with one sentence per line")
    starts = np.append(0, np.flatnonzero(ids[:-1] == Vocabulary.eos) + 1)
    symbols = np.insert(ids.astype(np.int64), starts, vocab_size)
    places = np.arange(len(symbols))
    return symbols, places - np.maximum.accumulate(np.where(symbols == vocab_size, places, 0))


def _continuations(table: Ngrams, longer: Ngrams) -> Ints:
    """c_k (G,) of the n-grams of an order that is not the highest, [K3]."""
    before = np.bincount(longer.suffix, minlength=len(table.keys))
    return np.where(table.opens, table.counts, before)


# ---- SRILM's format, and the command


def debug2(model: Model, ids: npt.NDArray[Any], vocabulary: Vocabulary, name: str) -> Iterator[str]:
    """The lines that SRILM's `ngram -ppl FILE -debug 2 -unk` prints, as `compute-best-mix` and `nplm mix` read them."""
    probs, found = word_probs(model, ids)
    logs = np.log10(probs)
    bounds = [0, *(np.flatnonzero(ids == Vocabulary.eos) + 1).tolist()]
    if bounds[-1] < len(ids):
        bounds.append(len(ids))
    for start, stop in pairwise(bounds):
        words = vocabulary.decode(ids[start:stop])
        yield " ".join(word for word in words if word != EOS)
        for i, word in enumerate(words):
            before = f"{words[i - 1]} ..." if i else f"{BOS} "
            n = start + i
            yield f"\tp( {word} | {before}) \t= [{found[n]}gram] {probs[n]:.9g} [ {logs[n]:.9g} ]"
        yield from _totals(words.count(EOS), len(words), float(logs[start:stop].sum()), "")
        yield ""
    sentences = int(np.count_nonzero(ids == Vocabulary.eos))
    yield from _totals(sentences, len(ids), float(logs.sum()), f"file {name}: ")


def _totals(sentences: int, tokens: int, log10_prob: float, head: str) -> Iterator[str]:
    words = tokens - sentences
    without_eos = f"{10 ** (-log10_prob / words):.9g}" if words else "undefined"
    yield f"{head}{sentences} sentences, {words} words, 0 OOVs"
    ppl = 10 ** (-log10_prob / tokens)
    yield f"0 zeroprobs, logprob= {log10_prob:.9g} ppl= {ppl:.9g} ppl1= {without_eos}"


def measure(corpus: Corpus, order: int) -> tuple[list[dict[str, Any]], Model]:
    """A row for each order, and the model of the highest."""
    start = time.perf_counter()
    tables = count(corpus.train, len(corpus.vocabulary), order)
    counted = time.perf_counter() - start
    texts = {name: ids for name in ("valid", "test") if (ids := getattr(corpus, name)) is not None}
    rows = []
    for k in range(1, order + 1):
        start = time.perf_counter()
        model = estimate(tables, k)
        row: dict[str, Any] = {"corpus": corpus.name, "vocab_size": len(corpus.vocabulary), "order": k}
        row |= {
            "unit": corpus.unit.name,
            "train_tokens": len(corpus.train),
            "ngrams": sum(len(level.keys) for level in model.levels),
        }
        row |= {"train_seconds": counted + time.perf_counter() - start}
        row |= {"discounts": [level.discounts for level in model.levels]}
        start = time.perf_counter()
        for name, ids in texts.items():
            row[f"{name}_perplexity"] = perplexity(word_log_probs(model, ids))
            row[f"{name}_tokens"] = len(ids)
            row[f"{name}_oovs"] = int(np.count_nonzero(ids == Vocabulary.unk))
            if name in corpus.sizes:
                nats = math.log(row[f"{name}_perplexity"]) * len(ids)
                row |= {f"{name}_{key}": value for key, value in raw_bits(nats, corpus.sizes[name]).items()}
        row["score_seconds"] = time.perf_counter() - start
        rows.append(row)
    for name in texts:
        print(f"{name}: {rows[-1][f'{name}_tokens']} tokens, {rows[-1][f'{name}_oovs']} <unk> among them")
    return rows, model


def mixture(model: Model, neural: LanguageModel, corpus: Corpus) -> dict[str, float]:
    """Perplexities of a neural model, its state carried through each text, and of its mixture with the n-gram model.

    The weights are the best ones for the validation text.
    """
    if neural.vocabulary.tokens != corpus.vocabulary.tokens:
        raise InputError("the model has another vocabulary; give the text and the limits of its training")
    if corpus.valid is None:
        raise InputError("a mixture needs a text to find the weights on; give one with --valid")
    weights: list[float] | None = None
    row: dict[str, float] = {}
    for name, ids in (("valid", corpus.valid), ("test", corpus.test)):
        if ids is not None:
            scores, log_z = word_scores(neural, ids)
            both = np.stack([scores - log_z, word_log_probs(model, ids)], axis=1) / LN10  # (n,2)
            found = best_mix(both, start=weights, fixed=weights is not None)
            weights = found.weights.tolist()
            row |= {f"neural_{name}_perplexity": float(found.perplexities[0])}
            row |= {f"mixed_{name}_perplexity": found.perplexity, "neural_weight": weights[0]}
    return row


def _arguments() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = flags.add_mutually_exclusive_group(required=True)
    text.add_argument("--corpus", choices=CORPORA, help="a built-in corpus")
    text.add_argument("--train", metavar="FILE", help="a text, one sentence a line, as `nplm train` reads it")
    for name in ("valid", "test"):
        flags.add_argument(f"--{name}", metavar="FILE")
    flags.add_argument("--unit", metavar="UNIT", default="word", help="as of `nplm train`")
    flags.add_argument("--min-count", type=int, default=1, metavar="N", help="as of `nplm train`")
    flags.add_argument("--max-vocab", type=int, metavar="V", help="as of `nplm train`")
    flags.add_argument("--vocab", metavar="FILE", help="as of `nplm train`")
    flags.add_argument("--order", type=int, default=5, metavar="N", help="the highest; default 5")
    flags.add_argument("--mix", metavar="MODEL", help="mix that order with a model of `nplm train`")
    flags.add_argument("--debug2", type=Path, metavar="FILE", help="write the test text as SRILM does")
    flags.add_argument("--debug2-valid", type=Path, metavar="FILE", help="write the validation text so")
    flags.add_argument("--json", type=Path, metavar="FILE", help="write the rows too")
    return flags.parse_args()


def _corpus(arguments: argparse.Namespace) -> Corpus:
    texts = arguments.valid, arguments.test
    limits = arguments.min_count, arguments.max_vocab, arguments.vocab
    if not arguments.corpus:
        sizes = dict(zip(("min_count", "max_size", "words"), limits, strict=True))
        return load_corpus(arguments.train, *texts, unit=open_unit(arguments.unit), **sizes)
    if (*texts, *limits, arguments.unit) != (None, None, 1, None, None, "word"):
        raise InputError("--corpus has texts and a vocabulary of its own; leave out the flags for others")
    return builtin.load(arguments.corpus)


def _run(arguments: argparse.Namespace) -> None:
    corpus = _corpus(arguments)
    rows, model = measure(corpus, arguments.order)
    if arguments.mix:
        rows[-1] |= mixture(model, load_model(arguments.mix), corpus)
    TABLE.show(rows)
    for name, path in (("test", arguments.debug2), ("valid", arguments.debug2_valid)):
        if path is not None:
            if (ids := getattr(corpus, name)) is None:
                raise InputError(f"{path}: there is no {name} text to write there; give one with --{name}")
            lines = debug2(model, ids, corpus.vocabulary, name)
            atomic.write(path, (f"{line}\n".encode() for line in lines))
    if arguments.json:
        _record.write(arguments.json, rows)


def main() -> None:
    try:
        _run(_arguments())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
