"""How much faster are sentences scored together than one by one, and what does leaving out log Z gain and cost?

    batch          score_batch of 1,000 sentences over Model.score of one after the other; the latter is timed
                   on every 40th of them, and all times are those of a word
    unnormalised   score_batch with normalize=True over normalize=False, and how far the second is off: the mean of
                   |log10 p - log10 p unnormalised| a word
    bfloat16       score_batch with float32 operands of the products over bfloat16, and how far the second is
                   off: the mean of |difference of log10 p| a word, and the largest of a sentence's mean
Sentences have 1 word or more, 21 on average and with a standard deviation of 10, about as in the Penn Treebank;
their words are drawn from its Zipf distribution.  The model of `unnormalised` is first trained on such words with NCE,
and its mean log Z is measured on others: without training log Z has no reason to keep still.

    python benchmarks/bench_score.py
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import _timing
import numpy as np
from _tables import Section
from _workload import CHUNKS, OurTrainer, Shape, make_model, text, zipf

from nplm.logs import LN10
from nplm.scoring.evaluate import evaluate
from nplm.scoring.kenlm import Model
from nplm.scoring.score import score_batch, sentence_scores
from nplm.scoring.sentences import encode

SMALL, MEDIUM = Shape(20, 20, 200, 200, 2, 256, 0), Shape(20, 20, 650, 650, 2, 256, 0)
QUICK = Shape(4, 5, 12, 12, 2, 8, 100)
BATCH = [SMALL._replace(V=1_000), SMALL._replace(V=10_000), MEDIUM._replace(V=10_000)]
UNNORMALISED = [SMALL._replace(V=100_000)]
SENTENCES, EVERY = 1000, 40  # of `batch`, and which share of them is scored one by one
LARGE_SENTENCES = 64  # of `unnormalised`
CHUNKS_TRAINED = 300  # of the model whose log Z is left out
TABLE = Section(
    "Scoring sentences",
    "Microseconds per word, with `</s>` counted as a word. `batch`: one sentence at a time (slow) and 1,000 sentences"
    " together (fast). `unnormalised`: with log Z computed (slow) and with its stored mean (fast); mean error: of a"
    " word's log10 probability. `exact`: whether scores are normalised over the vocabulary. 2 layers.",
    "bench_score.json",
    {
        "V": "vocab_size:,", "H": "hidden_dim", "kind": "kind", "exact": "normalize", "threads": "threads",
        "slow, µs": "slow_us:,.1f", "fast, µs": "fast_us:,.1f", "ratio": "ratio:.1f", "lowest": "ratio_low:.1f",
        "highest": "ratio_high:.1f", "mean error": "mean_error:.5f", "samples": "samples",
    },
    command="python benchmarks/bench_score.py",
)  # fmt: skip
SECTIONS = {"scoring-speed": TABLE}


def sentences(vocab_size: int, count: int, seed: int = 4) -> list[str]:
    rng = np.random.default_rng(seed)
    cumulative = zipf(vocab_size).cumsum()
    lengths = np.maximum(1, rng.normal(21, 10, count)).astype(int)
    draws = [np.searchsorted(cumulative, rng.random(length)) for length in lengths]
    return [" ".join(f"w{max(2, min(k, vocab_size - 1))}" for k in words) for words in draws]


def scorer(shape: Shape, chunks: int) -> Model:
    """A model trained on some chunks, with its mean log Z on words that it has not seen."""
    model = make_model(shape)
    if chunks:
        trainer = OurTrainer(model, shape, text(shape.V, shape), threads=1)
        with trainer.running():
            for _ in range(chunks):
                trainer.step()
        ids = text(shape.V, shape._replace(T=1 + 1000 // (CHUNKS * shape.B)), seed=5).ravel()
        model.mean_log_z = evaluate(model, ids, threads=1).mean_log_z
    return Model(model)


def batch(shape: Shape, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """score_batch against score, exact and not, for each number of threads."""
    model, lines, rows = scorer(shape, 0), sentences(shape.V, 20 if arguments.quick else SENTENCES), []
    some = lines[::EVERY]
    for normalize in (True, False):
        for threads in arguments.threads:
            slow = partial(_one_by_one, model, some, normalize)
            fast = partial(score_batch, model, lines, normalize=normalize, threads=threads)
            sides = {"slow": (slow, some), "fast": (fast, lines)}
            row = {"kind": "batch", "normalize": normalize, "threads": threads, "sentences": len(lines)}
            rows.append(row | _times(shape, sides, arguments))
    return rows


def _one_by_one(model: Model, lines: list[str], normalize: bool) -> None:
    for line in lines:
        model.score(line, normalize=normalize)


def unnormalised(shape: Shape, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Without log Z against with it, for each number of threads; and the error."""
    model = scorer(shape, 5 if arguments.quick else CHUNKS_TRAINED)
    lines, rows = sentences(shape.V, 20 if arguments.quick else LARGE_SENTENCES), []
    ids, lengths = encode(model.language_model.vocabulary, [line.split() for line in lines])
    mean = model.language_model.mean_log_z
    log_z = sentence_scores(model.language_model, ids, lengths)[1]
    error = float(np.abs(log_z - (mean or 0.0)).mean()) / LN10
    for threads in arguments.threads:
        slow = partial(score_batch, model, lines, threads=threads)
        fast = partial(score_batch, model, lines, normalize=False, threads=threads)
        row = {"kind": "unnormalised", "normalize": False, "threads": threads, "sentences": len(lines)}
        row |= _times(shape, {"slow": (slow, lines), "fast": (fast, lines)}, arguments)
        rows.append(row | {"mean_error": error, "mean_log_z": mean, "std_log_z": float(log_z.std())})
    return rows


def bfloat16(shape: Shape, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Products of operands in bfloat16 against float32, for each number of threads; and the error."""
    model = scorer(shape, 5 if arguments.quick else CHUNKS_TRAINED)
    lines, rows = sentences(shape.V, 20 if arguments.quick else LARGE_SENTENCES), []
    words = np.array([len(line.split()) + 1 for line in lines])
    for normalize in (True, False):
        slow, fast = (
            partial(score_batch, model, lines, normalize=normalize, precision=precision)
            for precision in ("float32", "bfloat16")
        )
        error = np.abs(slow() - fast())
        errors = {"mean_error": float(error.sum() / words.sum()), "largest_error": float((error / words).max())}
        for threads in arguments.threads:
            sides = {"slow": (partial(slow, threads=threads), lines), "fast": (partial(fast, threads=threads), lines)}
            row = {"kind": "bfloat16", "normalize": normalize, "threads": threads, "sentences": len(lines)}
            rows.append(row | _times(shape, sides, arguments) | errors)
    return rows


def _times(
    shape: Shape, sides: dict[str, tuple[Callable[[], Any], list[str]]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Microseconds a word of both sides, </s> counted, and their ratio."""
    steps = {name: _timing.Side(step) for name, (step, _) in sides.items()}
    times = _timing.in_turns(steps, arguments.samples, arguments.seconds)
    per_word = {
        name: [1e6 * t / sum(len(line.split()) + 1 for line in lines) for t in times[name]]
        for name, (_, lines) in sides.items()
    }
    row = {"vocab_size": shape.V, "hidden_dim": shape.H, "mean_error": None, "samples": arguments.samples}
    row |= {f"{name}_us": median(times) for name, times in per_word.items()}
    return row | _timing.ratios(per_word["slow"], per_word["fast"])


def main() -> None:
    arguments = _timing.parse(_timing.parser(__doc__))
    kinds = ((batch, BATCH), (unnormalised, UNNORMALISED), (bfloat16, BATCH[1:]))
    cases = [(measure, shape) for measure, shapes in kinds for shape in ([QUICK] if arguments.quick else shapes)]
    rows = (row for measure, shape in cases for row in measure(shape, arguments))
    _timing.finish(arguments, "bench_score", TABLE.show(rows))


if __name__ == "__main__":
    main()
