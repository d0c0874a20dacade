"""What do the number of chunks, the noise group and its reuse cost or buy?  The published method's knobs, by training.

One layer of 200 units on the Penn Treebank, 6 epochs, rate and clipping of the recipe ptb-small: a sequence of S = 640
steps is cut into N chunks of T = S / N.  With S fixed, N is what claim 1 leaves open.  It changes two things at once:
how far the gradient reaches back, and how many updates a text gives.  So there are two series, and one for claim 3:

    split     B = 20 streams: at N = 64 there are 32 times as many updates, and noise groups, as at N = 2
    matched   B = N streams, so B T = 640: updates, positions of an update and noise words are the same at every N;
              what differs is the shape of an update, few long pieces or many short ones, and so the reach
    pool      N = 32 (T = 20, B = 20), M groups a sequence in place of the fresh ones of split-32

T fixed with N growing would show nothing: the state is carried from sequence to sequence and fresh noise does not know
where a sequence ends.  For a pool only N / M, how many chunks share a group, and its life count, so M varies, not N.

`perplexity` is that of the validation text after the last epoch: equal tokens.  `perplexity_at_time` is read off the
curve at `time` seconds of training, between two epochs on a straight line through log perplexity.  The rate is halved
by epochs, so a fast run is further on in its schedule then.  Uncovered: the share of q on words in none of the groups
in use in a sequence (`uncovered`), and in none that the run ever used (`never_covered`).

    python benchmarks/study_chunks.py                            # the default cases, each a minute or two
    python benchmarks/study_chunks.py split-8-k100 pool-2-cyclic-never-k25 --seeds 2 3

Rows are added to the result file as they come; a run that was stopped goes on.  At fixed parameters, and with the
causes apart: study_gradients.py.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import _record
import _training
import numpy as np
from _tables import Section, only

from nplm.config import TrainConfig
from nplm.data.streams import split
from nplm.noise import group_statistics, make_noise
from nplm.storage import checkpoint
from nplm.training.run_config import read_config

S, B, POOL_CHUNKS = 640, 20, 32
CHUNKS = (2, 4, 8, 16, 32, 64)
TIME = 30.0  # seconds of training at which runs are compared
SIZE = "--layers 1 --epochs 6 --decay-after 3 --eval-batch-size 10"
QUICK = "--layers 1 --hidden 8 --emsize 8 --epochs 2 --eval-batch-size 10"  # of the recipe markov
PLACE = _record.by("kind", "num_noise", "chunks", "groups", "group_map", "redraw", "seed")


class Case(NamedTuple):
    """One way to cut a sequence and to draw its noise."""

    kind: str  # the series
    num_noise: int  # K
    chunks: int  # N
    groups: int | None = None  # M; None: a fresh group for every chunk
    group_map: str | None = None
    redraw: str | None = None

    @property
    def name(self) -> str:
        """As on the command line."""
        pool = (self.groups, self.group_map, self.redraw) if self.groups else (self.chunks,)
        return "-".join(map(str, (self.kind, *pool, f"k{self.num_noise}")))

    @property
    def flags(self) -> list[str]:
        """Of nplm train."""
        streams = self.chunks if self.kind == "matched" else B
        text = f"--nce {self.num_noise} --sequence-length {S} --bptt {S // self.chunks} --batch-size {streams}"
        if self.groups:
            text += f" --noise pool --noise-groups {self.groups}"
            text += f" --group-map {self.group_map} --redraw {self.redraw}"
        return text.split()


def all_cases() -> dict[str, Case]:
    """Every case by its name."""
    cases = [Case(kind, k, n) for k in (100, 25) for kind in ("split", "matched") for n in CHUNKS]
    cases += [
        Case("pool", k, POOL_CHUNKS, m, group_map, redraw)
        for k in (100, 25)
        for redraw in ("sequence", "epoch", "never")
        for m in (2, 4, 8, 16, 32)
        for group_map in ("contiguous", "cyclic")
    ]
    return {case.name: case for case in cases}


CASES = all_cases()
DEFAULT = (  # names, in the order of what they tell
    "split-32-k100 split-2-k100 split-8-k100 split-64-k100"
    " matched-2-k100 matched-8-k100 matched-32-k100 matched-64-k100"
    " pool-2-contiguous-sequence-k100 pool-2-contiguous-epoch-k100 pool-2-contiguous-never-k100"
    " split-32-k25 pool-2-contiguous-sequence-k25 pool-2-contiguous-never-k25"
    " pool-8-contiguous-sequence-k100 pool-8-contiguous-epoch-k100 pool-8-contiguous-never-k100"
    " pool-2-cyclic-sequence-k100 pool-8-cyclic-sequence-k100 pool-32-contiguous-sequence-k100"
    " pool-32-contiguous-never-k100 pool-8-contiguous-never-k25 pool-32-contiguous-never-k25"
    " split-4-k100 split-16-k100 split-2-k25 split-64-k25"
)
RUN_COLUMNS = {
    "tokens": "tokens:,", "updates": "updates:,", "perplexity": "perplexity:.2f", "at time": "perplexity_at_time:.2f",
    "time s": "time:.0f", "log Z": "mean_log_z:+.3f", "sd": "std_log_z:.3f", "uncovered": "uncovered:.1%",
    "never covered": "never_covered:.1%", "tokens/s": "tokens_per_second:,.0f", "seed": "seed",
}  # fmt: skip
SPLIT = Section(
    "One sequence in N chunks",
    "Validation perplexity after 6 epochs of the Penn Treebank, 1 x 200 units, S = 640 steps cut into N chunks, B ="
    " 20, fresh noise. `at time`: after `time s` seconds of training. log Z over the validation text. `uncovered`:"
    " share of the noise distribution on words that are in none of a sequence's groups; `never covered`: in no group"
    " of the whole run.",
    "study_chunks.json",
    {"K": "num_noise", "N": "chunks", "T": "bptt", "B": "batch_size"} | RUN_COLUMNS,
    only(kind="split"),
    {"chunks": "Validation perplexity against seconds of training, a curve for each N."},
    "python benchmarks/study_chunks.py",
    trained=True,
)
MATCHED = SPLIT._replace(
    title="N chunks at equal numbers of updates",
    text="B = N streams, so an update always has 640 positions, and the number of updates is the same for every N. What"
    " still differs is how far back the gradient reaches, and how many streams the positions of an update come from.",
    rows=only(kind="matched"),
    plots={"chunks-matched": "Validation perplexity against epochs, a curve for each N."},
)
POOL = SPLIT._replace(
    title="Chunks that share noise groups",
    text="N = 32 (T = 20, B = 20): M groups per sequence, redrawn for every sequence, every epoch, or never. Compare"
    " with fresh noise at N = 32 above.",
    columns={"K": "num_noise", "M": "groups", "map": "group_map", "redrawn": "redraw"} | RUN_COLUMNS,
    rows=only(kind="pool"),
    plots={
        "chunks-pool": "Validation perplexity against M, by K and life of the pool, with fresh noise as lines.",
        "chunks-log-z": "Mean log Z after each epoch, by M and by how long the pool lives.",
    },
)
SECTIONS = {"split": SPLIT, "matched": MATCHED, "pool": POOL}


def row(case: Case, seed: int, runs: Path, time: float, quick: bool) -> dict[str, Any]:
    """Train a case, or go on with it; returns its row."""
    folder = runs / f"{case.name}-seed{seed}"
    recipe, changes = ("markov", QUICK) if quick else ("ptb-small", SIZE)
    result = _training.train(folder, recipe, [*changes.split(), *case.flags, "--seed", str(seed)])
    curve = _training.curve(folder)
    tokens = result["tokens_trained"]
    config = TrainConfig(**read_config(folder)["train"])
    new = {**case._asdict(), "seed": seed, "commit": _record.commit()}
    new |= {"bptt": config.bptt, "batch_size": config.batch_size, "tokens": tokens}
    new |= {"updates": num_chunks(config, tokens // config.epochs) * config.epochs}
    new |= {name: result[name] for name in ("seconds", "tokens_per_second")}
    new |= {name: curve[-1][name] for name in ("perplexity", "mean_log_z", "std_log_z")}
    new |= {"time": time, "perplexity_at_time": _training.perplexity_at(curve, time)}
    return new | coverage(folder, config, tokens // config.epochs) | {"curve": curve}


def num_chunks(config: TrainConfig, tokens: int) -> int:
    """Updates of an epoch."""
    steps, tail = divmod(tokens, config.batch_size)
    return len(split(steps, tail > 0, config.sequence_length, config.bptt))


def coverage(folder: Path, config: TrainConfig, tokens: int) -> dict[str, float]:
    """Share of q that the groups of a sequence leave out, on average, and that all groups of the run leave out."""
    distribution = checkpoint.load_model(folder / "best.safetensors").noise
    noise = make_noise(distribution, config, config.seed)
    steps, _ = divmod(tokens, config.batch_size)
    at_once, ever = [], set()
    for epoch in range(config.epochs):
        for sequence in range(steps // config.sequence_length):
            groups = [noise.group(epoch, sequence, chunk) for chunk in range(config.chunks)]
            at_once.append(group_statistics(groups, distribution.probs).uncovered_mass)
            ever.update(np.concatenate(groups).tolist())
    missing = np.setdiff1d(np.arange(distribution.probs.size), list(ever))
    return {"uncovered": float(np.mean(at_once)), "never_covered": float(distribution.probs[missing].sum())}


def main() -> None:
    parser = _record.parser(__doc__, "tiny runs", "study_chunks")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: {len(DEFAULT.split())} of them")
    parser.add_argument("--list", action="store_true", help="name all cases and stop")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--time", type=float, default=TIME, metavar="SECONDS", help="of perplexity_at_time")
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs" / "chunks", metavar="DIR")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    if odd := set(arguments.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(odd))}; --list names them")
    path = _record.path_of(arguments, "study_chunks")
    for seed in arguments.seeds:
        for name in arguments.cases or DEFAULT.split():
            new = row(CASES[name], seed, arguments.runs, arguments.time, arguments.quick)
            print(json.dumps({key: value for key, value in new.items() if key != "curve"}), flush=True)
            if path:
                _record.merge(path, [new], PLACE)


if __name__ == "__main__":
    main()
