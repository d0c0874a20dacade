"""How far is a gradient off when a sequence is cut into N chunks, and how noisy when chunks share M noise groups?

At fixed parameters, those of a trained run (default: split-32-k100 of study_chunks.py), on sequences of its training
text with its S and B.  Exact is the gradient by BPTT through the whole sequence, expected over the noise (_exact.py).

    truncation   the gradient cut at N chunks, the noise still expected.  Nothing is drawn: `bias` is the root of the
                 mean square, over sequences, of its distance from the exact one, over that of the exact one;
                 `bias_of_mean` the same for the sum over sequences, where what differs from text to text has begun to
                 average out.  `spread`: how far the exact gradients of single sequences are from their mean.
    objective    the gradient expected at K, nothing cut, against the limit of large K, in the same figures
    reuse        the gradient cut at the run's own N, its noise drawn: fresh groups, or M groups by the map of the pool.
                 Its mean does not depend on M.  `noise`: the root of its variance over the length of the mean;
                 `growth`: the variance over that with fresh groups; `error`: standard error of the variance, relative;
                 `unbiased`: |mean over R draws - expected gradient|^2 R / variance, which is 1 on average where
                 sharing is no bias.  Not so for groups that the run was trained with, to which its parameters
                 are fitted (1.3 was found), so the seed must be another.

Why it grows: g = sum of g_n over chunks, and only chunks with a common group depend on each other, so

[W1] Var g = sum_n Var g_n + sum_{n != n', same group} Cov(g_n, g_n')

`predicted` is the growth by [W1] from covariances that are measured apart, with one group for all chunks.

No update comes between two chunks here.  In training one does, and the next chunk sees the group that the last step
was taken on.

    python benchmarks/study_gradients.py                          # run study_chunks.py split-32-k100 first
    python benchmarks/study_gradients.py --run runs/ptb-small --num-noise 256
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import _exact
import _record
import numpy as np
from _tables import Row, Rows, Section, pick
from study_chunks import CHUNKS

from nplm.arrays import Array
from nplm.cli.train import load_text
from nplm.config import TextConfig, TrainConfig
from nplm.model import LanguageModel
from nplm.network import Params
from nplm.noise.groups import FreshNoise, NoiseGroups, NoisePool
from nplm.storage import checkpoint
from nplm.training.run_config import read_config

PLACE = _record.by("kind", "run", "num_noise", "chunks", "groups", "group_map", "parameters")
DEFAULT_RUN = _record.ROOT / "runs" / "chunks" / "split-32-k100-seed1"
SHOWN = {"all", "decoder", "recurrent"}  # parameters; the file and the plots have the others


def shown(kind: str) -> Callable[[Rows], Rows]:
    """Rows of a kind, of the parameters that tell most and, with groups, of the default map."""

    def rows(found: Rows) -> Rows:
        return [
            row
            for row in pick(found, kind=kind)
            if row["parameters"] in SHOWN and row.get("group_map") in (None, "contiguous")
        ]

    return rows


TRUNCATION = Section(
    "The gradient of a truncated sequence",
    "At fixed parameters, with the expectation over noise in closed form: the gradient of a sequence cut into N"
    " chunks, compared with that of BPTT through the whole sequence. `bias`: distance between the two, divided by the"
    " length of the latter, root mean square over sequences; `of the mean`: the same for the sum over sequences;"
    " `spread`: distance of a single sequence's exact gradient from their mean.",
    "study_gradients.json",
    {
        "K": "num_noise", "N": "chunks", "parameters": "parameters", "bias": "bias:.4f",
        "of the mean": "bias_of_mean:.4f", "cosine": "cosine:.5f", "spread": "spread:.3f", "sequences": "sequences",
    },
    shown("truncation"),
    {"chunks-truncation": "Relative bias of the truncated gradient against N, by parameters."},
    "python benchmarks/study_gradients.py",
)  # fmt: skip
OBJECTIVE = TRUNCATION._replace(
    title="The gradient at K against the limit of large K",
    text="At the same parameters, without truncation, with the expectation over noise in closed form.",
    rows=shown("objective"),
    plots={},
)
REUSE = Section(
    "The gradient with shared noise groups",
    "At fixed parameters, with the noise drawn R times. `noise`: standard deviation of a sequence's gradient, divided"
    " by the length of its mean; `growth`: variance relative to that with fresh groups; `predicted`: the same, from"
    " the covariances of chunks, which are measured separately; `error`: relative standard error of the variance;"
    " `unbiased`: squared distance of the mean over draws from the expected gradient, relative to what is expected by"
    " chance (1 on average).",
    "study_gradients.json",
    {
        "K": "num_noise", "M": "groups", "map": "group_map", "parameters": "parameters", "noise": "noise:.3f",
        "growth": "growth:.2f", "predicted": "predicted:.2f", "error": "error:.2f", "unbiased": "unbiased:.2f",
        "R": "repeats",
    },
    shown("reuse"),
    {"chunks-reuse": "Growth of the gradient's variance against M, measured (marks) and predicted (lines)."},
    "python benchmarks/study_gradients.py",
)  # fmt: skip
SECTIONS = {"truncation": TRUNCATION, "gradient-at-num-noise": OBJECTIVE, "reuse": REUSE}


class Distance:
    """Sums over sequences of what tells how far estimated gradients are from exact ones."""

    def __init__(self) -> None:
        self.squares: Array | float = 0.0  # (6,), by parameters, like all here
        self.exact: Array | float = 0.0
        self.estimate: Array | float = 0.0
        self.both: Array | float = 0.0
        self.sums: list[Params] = []  # of the differences and of the exact gradients
        self.count = 0

    def add(self, estimate: Params, exact: Params) -> None:
        """One more sequence."""
        difference = {name: estimate[name] - exact[name] for name in exact}
        self.squares += _exact.inner(difference, difference)
        self.exact += _exact.inner(exact, exact)
        self.estimate += _exact.inner(estimate, estimate)
        self.both += _exact.inner(estimate, exact)
        if not self.sums:
            self.sums = [{name: np.zeros_like(value) for name, value in exact.items()} for _ in range(2)]
        for total, part in zip(self.sums, (difference, exact), strict=True):
            for name in total:
                total[name] += part[name]
        self.count += 1

    def figures(self) -> Iterator[Row]:
        """bias, bias_of_mean, cosine and spread of all parameters and of each part."""
        difference, exact = (_exact.inner(total, total) for total in self.sums)
        spread = np.maximum(self.exact - exact / self.count, 0) / max(self.count - 1, 1)
        columns = {
            "bias": np.sqrt(self.squares / self.exact),
            "bias_of_mean": np.sqrt(difference / exact),
            "cosine": self.both / np.sqrt(self.estimate * self.exact),
            "spread": np.sqrt(spread / (self.exact / self.count)),
        }
        for k, part in enumerate(_exact.PARTS):
            yield {"parameters": part} | {name: float(value[k]) for name, value in columns.items()}


def truncation(model: LanguageModel, texts: list[_exact.Text], num_noise: int, cuts: Iterable[int]) -> list[Row]:
    """Rows of the kinds truncation, for every N of `cuts`, and objective."""
    by_cut, limit = {chunks: Distance() for chunks in cuts}, Distance()
    for text in texts:
        length = len(text.inputs)
        dhidden, above = _exact.expected_above(model, text, num_noise)
        exact = _exact.below(model, text, dhidden, length)
        _exact.add(exact, above)
        for chunks, distance in by_cut.items():
            cut = _exact.below(model, text, dhidden, -(-length // chunks))
            _exact.add(cut, above)
            distance.add(cut, exact)
        limit.add(exact, _exact.expected(model, text, math.inf))
    rows = [
        {"kind": "truncation", "chunks": chunks, "sequences": len(texts), **figures}
        for chunks, distance in by_cut.items()
        for figures in distance.figures()
    ]
    return rows + [
        {"kind": "objective", "chunks": 1, "sequences": len(texts), **figures} for figures in limit.figures()
    ]


def reuse(model: LanguageModel, text: _exact.Text, num_noise: int, chunks: int, repeats: int, seed: int) -> list[Row]:
    """Rows of the kind reuse: fresh noise first, then pools of M = 2, 4, ... N groups by both maps."""
    steps = -(-len(text.inputs) // chunks)
    exact = _exact.with_dtype(model, np.float64)
    mean = _exact.expected(exact, text, num_noise, steps)
    length = _exact.inner(mean, mean)
    covariance = covariances(model, text, num_noise, chunks, repeats, seed + 1)
    fresh = FreshNoise(model.noise, num_noise, seed)
    rows, fresh_variance = [], np.zeros(len(_exact.PARTS))
    for noise in [fresh, *pools(model, num_noise, chunks, seed)]:
        squares, unbiased = deviations(model, text, mean, noise, chunks, repeats)
        variance = squares.mean(axis=0)
        pool = noise if isinstance(noise, NoisePool) else None
        if pool is None:
            fresh_variance = variance
        columns = {
            "noise": np.sqrt(variance / length),
            "variance": variance,
            "error": squares.std(axis=0, ddof=1) / math.sqrt(repeats) / variance,
            "unbiased": unbiased,
            "growth": variance / fresh_variance,
            "predicted": predicted(covariance, pool),
        }
        for k, part in enumerate(_exact.PARTS):
            row = {"kind": "reuse", "chunks": chunks, "repeats": repeats, "parameters": part}
            row |= {"groups": pool and pool.groups, "group_map": pool and pool.group_map}
            rows.append(row | {name: float(value[k]) for name, value in columns.items()})
    return rows


def pools(model: LanguageModel, num_noise: int, chunks: int, seed: int) -> Iterator[NoisePool]:
    """Pools of 2, 4, ... N groups, contiguous and cyclic."""
    groups = 2
    while groups <= chunks:
        for group_map in ("contiguous", "cyclic") if groups < chunks else ("contiguous",):
            yield NoisePool(model.noise, num_noise, seed, groups, chunks, group_map)  # type: ignore[arg-type]
        groups *= 2


def deviations(
    model: LanguageModel, text: _exact.Text, mean: Params, noise: NoiseGroups, chunks: int, repeats: int
) -> tuple[Array, Array]:
    """|g - mean|^2 of each repeat (R,6), and |mean of g - mean|^2 R / variance (6,)."""
    squares, total = [], _exact.zeros(model)
    for repeat in range(repeats):  # to the noise it is one sequence after another
        g = {name: -value for name, value in mean.items()}
        for grads in _exact.sampled(model, text, [noise.group(0, repeat, chunk) for chunk in range(chunks)]):
            _exact.add(g, grads)
        squares.append(_exact.inner(g, g))
        for name in total:
            total[name] += g[name]
    return np.array(squares), _exact.inner(total, total) / np.sum(squares, axis=0)


def covariances(model: LanguageModel, text: _exact.Text, num_noise: int, chunks: int, pairs: int, seed: int) -> Array:
    """Cov(g_n, g_n') where all chunks have one group, (6,N,N), from `pairs` of groups.

    Half the product of the differences between two draws: what is not noise cancels.
    """
    noise = FreshNoise(model.noise, num_noise, seed)
    total = np.zeros((len(_exact.PARTS), chunks, chunks))
    for pair in range(pairs):
        drawn = (noise.group(0, pair, j) for j in range(2))
        one, other = (list(_exact.sampled(model, text, [group] * chunks)) for group in drawn)
        for name in model.params:
            rows = [np.asarray(a[name]) - np.asarray(b[name]) for a, b in zip(one, other, strict=True)]
            stacked = np.stack(rows).reshape(chunks, -1)  # (N,P)
            product = stacked @ stacked.T / (2 * pairs)
            for k, part in enumerate(_exact.PARTS.values()):
                if name.startswith(part):
                    total[k] += product
    return total


def predicted(covariance: Array, pool: NoisePool | None) -> Array:
    """[W1] over its first sum, (6,), from covariance (6,N,N); 1 for fresh noise."""
    count = covariance.shape[1]
    group = np.array([n if pool is None else pool.group_of(n) for n in range(count)])
    together = group[:, None] == group[None, :]
    return np.asarray((covariance * together).sum(axis=(1, 2)) / np.trace(covariance, axis1=1, axis2=2))


def main() -> None:
    parser = _record.parser(__doc__, "few draws", "study_gradients")
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, metavar="DIR", help="folder of a trained run")
    parser.add_argument("--num-noise", nargs="+", type=int, default=[100, 25], metavar="K")
    parser.add_argument("--sequences", type=int, default=4, help="for truncation and objective")
    parser.add_argument("--repeats", type=int, default=32, metavar="R", help="draws, for reuse")
    parser.add_argument("--seed", type=int, default=1001, help="of the draws; not the run's")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sequences, arguments.repeats = 2, 4
    path = _record.path_of(arguments, "study_gradients")
    record = read_config(arguments.run)
    config = TrainConfig(**record["train"])
    if config.seed in (arguments.seed, arguments.seed + 1):
        parser.error(f"--seed {arguments.seed} draws groups that the run was trained with: see above")
    model = checkpoint.load_model(arguments.run / "best.safetensors")
    ids = load_text(TextConfig(**record["source"]), model.unit).train
    exact = _exact.with_dtype(model, np.float64)
    place = config.batch_size, config.sequence_length
    for num_noise in arguments.num_noise:
        rows = truncation(exact, _exact.read(exact, ids, *place, arguments.sequences), num_noise, CHUNKS)
        own = _exact.read(model, ids, *place, 1)[0]
        rows += reuse(model, own, num_noise, config.chunks, arguments.repeats, arguments.seed)
        same = {"run": arguments.run.name, "num_noise": num_noise, "groups": None, "group_map": None}
        rows = [same | row for row in rows]
        for row in rows:
            print(json.dumps(row), flush=True)
        if path:
            _record.merge(path, rows, PLACE)


if __name__ == "__main__":
    main()
