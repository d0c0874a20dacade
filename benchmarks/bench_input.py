"""How long does reading a large text take before training, at the first and the second start, and how much memory?

The script makes the text itself: words drawn by Zipf's law (_workload.py), each of them at least once.  Each start is
a process of its own that calls `load_corpus`; its seconds are those of the process, from its start to the corpus.
The kernels are compiled before, by a start with a small text: `compiling_seconds`.  Peak: ru_maxrss.

With --minutes a third start goes on and trains a model of 1 x 200 units for so long, and its peak is set against the
sum of what must be held (bench_memory.py), less the text, whose ids lie in a file that is mapped.

    python benchmarks/bench_input.py                                          200 MB, 1.3 million types
    python benchmarks/bench_input.py --tokens 1e9 --types 1e6 --minutes 10    a text of 6 GB; half an hour
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _record
from _tables import Section

TABLE = Section(
    "Reading a large text",
    "Seconds from the start of a process until the corpus is ready for training, the first time and the second, and the"
    " largest resident memory; where a model of 200 units was then trained, its peak relative to the memory that must"
    " be held.",
    "bench_input.json",
    {
        "MB": "megabytes:,.0f", "tokens": "tokens:,", "types": "types:,", "first start, s": "first_seconds:.1f",
        "its peak, MB": "first_peak_mb:,.0f", "second start, s": "second_seconds:.2f",
        "its peak, MB ": "second_peak_mb:,.0f", "trained, min": "minutes:.0f", "tokens/s": "tokens_per_second:,.0f",
        "peak, MB": "train_peak_mb:,.0f", "held, MB": "held_mb:,.0f", "peak / held": "ratio:.2f",
    },
    command="python benchmarks/bench_input.py",
)  # fmt: skip
SECTIONS = {"input": TABLE}
MB = 1e6
WORDS_A_LINE = 20
SHORTEST = 26 + 26**2 + 26**3  # shorter ones are left out: words have at least four letters
PIECE = 2**20  # tokens written at a time
BATCH, BPTT, NOISE, SIZE = 64, 35, 256, 200


def write_text(path: Path, tokens: int, types: int, seed: int = 1) -> None:
    """Write a text of so many tokens, words and line ends, with so many different words."""
    import numpy as np
    from _workload import zipf

    rng = np.random.default_rng(seed)
    cumulative = zipf(types).cumsum()
    words = np.array([_word(k) for k in range(types)], dtype=object)
    lines, left = tokens // (WORDS_A_LINE + 1), rng.permutation(types)
    every = max(1, lines * WORDS_A_LINE // types)  # one word in so many is the next of those that are still to come
    with path.open("w", encoding="ascii") as file:
        for start in range(0, lines, PIECE // WORDS_A_LINE):
            shape = min(lines - start, PIECE // WORDS_A_LINE), WORDS_A_LINE
            ids = np.minimum(np.searchsorted(cumulative, rng.random(shape)), types - 1)
            due = ids.reshape(-1)[::every][: len(left)]
            due[...], left = left[: len(due)], left[len(due) :]
            file.writelines(f"{' '.join(line)}\n" for line in words[ids].tolist())
    assert not len(left), "more types than words"


def _word(k: int) -> str:
    """A word for a rank: the frequent ones are short."""
    letters, k = "", k + SHORTEST
    while k >= 0:
        k, digit = divmod(k, 26)
        letters, k = chr(97 + digit) + letters, k - 1
    return letters


def child(path: str, minutes: float, large: int) -> dict[str, Any]:
    """What the process of one start finds out."""
    from bench_memory import peak

    from nplm.data.corpus import load_corpus

    start = time.monotonic()
    corpus = load_corpus(path, large=large)
    found = {
        "load_seconds": time.monotonic() - start,
        "ready": time.time(),
        "cpu_seconds": time.process_time(),  # of all threads: what a busy machine does not change much
        "peak_mb": peak(),
        "types": len(corpus.vocabulary) - 2,
        "tokens": len(corpus.train),
    }
    return found if not minutes else found | _train(corpus, minutes)


def _train(corpus: Any, minutes: float) -> dict[str, Any]:
    import numpy as np
    from _workload import Shape
    from bench_memory import held, peak

    import nplm

    shape = Shape(BATCH, BPTT, SIZE, SIZE, 1, NOISE, len(corpus.vocabulary))
    config = nplm.ModelConfig(shape.V, shape.E, shape.H, shape.L)
    model = nplm.LanguageModel.init(config, corpus.vocabulary, np.random.default_rng(1))
    how = nplm.TrainConfig(
        bptt=shape.T, batch_size=shape.B, sequence_length=2 * shape.T, num_noise=shape.K, epochs=1, lr=1.0
    )

    class Clock(nplm.Observer):
        """Stops after the minutes."""

        end = float("inf")

        def begin(self, *_: Any) -> None:
            self.end = time.monotonic() + 60 * minutes

        def step(self, _: Any) -> bool:
            return time.monotonic() >= self.end

    with tempfile.TemporaryDirectory() as folder:
        result = nplm.train(model, corpus, how, save=Path(folder) / "run", observer=Clock())
    parts = held("train", model, shape, np.asarray(corpus.train[: shape.T * 100]), "sgd") | {"text": 0.0}
    return {
        "minutes": minutes,
        "tokens_trained": result.progress.tokens,
        "tokens_per_second": result.tokens_per_second,
        "train_peak_mb": peak(),
        "held": parts,
    }


def start(path: Path, cache: Path, minutes: float = 0, large: int | None = None) -> dict[str, Any]:
    """A start in a process of its own, and its seconds."""
    from nplm.data.encode import LARGE_TEXT

    command = [
        sys.executable,
        __file__,
        "--child",
        str(path),
        str(minutes),
        str(LARGE_TEXT if large is None else large),
    ]
    begun = time.time()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"NPLM_CACHE": str(cache)}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"seconds": found["ready"] - begun}


def measure(folder: Path, tokens: int, types: int, minutes: float, large: int | None) -> dict[str, Any]:
    """A row: the text, made in the folder, is read twice, and trained on."""
    path, cache = folder / "text.txt", folder / "cache"
    write_text(folder / "small.txt", 21 * 200, 50)
    compiling = start(folder / "small.txt", cache, large=0)["seconds"]
    print(f"writing {path}: {tokens:,} tokens, {types:,} types", file=sys.stderr)
    write_text(path, tokens, types)
    first, second = start(path, cache, large=large), start(path, cache, large=large)
    row = {"megabytes": path.stat().st_size / MB, "tokens": first["tokens"], "types": first["types"]}
    row |= {"compiling_seconds": compiling}
    for name, found in (("first", first), ("second", second)):
        row |= {f"{name}_{key}": found[key] for key in ("seconds", "load_seconds", "cpu_seconds", "peak_mb")}
    if minutes:
        trained = start(path, cache, minutes, large)
        row |= {
            key: trained[key] for key in ("minutes", "tokens_trained", "tokens_per_second", "train_peak_mb", "held")
        }
        row["baseline_mb"] = start(folder / "small.txt", cache)["peak_mb"]
        row["held_mb"] = row["baseline_mb"] + sum(row["held"].values())
        row["ratio"] = row["train_peak_mb"] / row["held_mb"]
    return row


def _arguments() -> argparse.Namespace:
    flags = _record.parser(__doc__, "a tiny text", "bench_input")
    flags.add_argument("--tokens", type=float, default=38e6, metavar="N", help="of the text; default 38e6: 200 MB")
    flags.add_argument("--types", type=float, default=1.3e6, metavar="V", help="different words; default 1.3e6")
    flags.add_argument("--minutes", type=float, default=0, metavar="M", help="train for so long; default: not at all")
    flags.add_argument("--folder", type=Path, metavar="DIR", help="where the text is made; default: a temporary folder")
    return flags.parse_args()


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))))
        return
    arguments = _arguments()
    tokens, types, large = int(arguments.tokens), int(arguments.types), None
    if arguments.quick:
        tokens, types, large = 21_000, 500, 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = TABLE.show([measure(Path(folder), tokens, types, arguments.minutes, large)])
    if (path := _record.path_of(arguments, "bench_input")) is not None:
        _record.merge(path, rows, _record.by("tokens", "types"))


if __name__ == "__main__":
    main()
