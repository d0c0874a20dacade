"""The tables of the pages: which rows of which result files they show, in which columns, with which plots."""

from collections.abc import Callable
from typing import NamedTuple

from _rows import MOMENTS, Rows, objectives, only, over_seeds


class Section(NamedTuple):
    """A table of a page."""

    title: str
    text: str
    results: str  # glob of the result files whose rows it shows
    columns: dict[str, str]  # heading -> key of the row, with a format; a.b is key b of the dict under a
    rows: Callable[[Rows], Rows] = list  # the rows it shows, of those of the files
    plots: tuple[str, ...] = ()  # of plot.py, from the same files


RECIPES = Section(
    "Recipes",
    "Perplexity is exact, `</s>` and `<unk>` counted; log Z over the test text. Run with"
    " `python benchmarks/study_recipes.py RECIPE`; the settings are in `benchmarks/recipes/`, those of"
    " python-demo in `nplm/cli/demo.py`.",
    "recipe-*.json",
    {
        "recipe": "recipe",
        "objective": "objective",
        "seed": "seed",
        "valid": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f",
        "floor": "floor_perplexity:.2f",
        "unigram": "unigram_perplexity:.1f",
        "test tokens": "tokens:,",
        "log Z": "mean_log_z:+.3f",
        "sd": "std_log_z:.3f",
        "tokens/s": "tokens_per_second:,.0f",
        "training s": "seconds:,.0f",
    },
)
OBJECTIVES = Section(
    "Objectives",
    "The recipe `ptb-small`, with one thing changed at a time. `power`: of the unigram counts in q; `over softmax`: the"
    " test perplexity over the mean of the softmax's seeds, less 1. log Z over the test text. Run with"
    " `python benchmarks/study_objectives.py CASE ...`.",
    "study_objectives.json",
    {
        "case": "case",
        "objective": "objective",
        "K": "num_noise:,",
        "power": "power:g",
        "seed": "seed",
        "valid": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f",
        "over softmax": "relative:+.1%",
        "log Z": "mean_log_z:+.3f",
        "sd": "std_log_z:.3f",
        "epochs": "epochs",
        "training s": "seconds:,.0f",
    },
    rows=objectives,
    plots=("objectives-epochs", "objectives-num-noise"),
)
SEEDS = OBJECTIVES._replace(
    title="Objectives: means over seeds",
    text="Of the rows above; `sd of test`: standard deviation of the test perplexity from seed to seed.",
    columns={
        "case": "case",
        "seeds": "seeds",
        "valid": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f",
        "sd of test": "spread:.2f",
        "over softmax": "relative:+.1%",
        "log Z": "mean_log_z:+.3f",
        "sd": "std_log_z:.3f",
        "training s": "seconds:,.0f",
    },
    rows=over_seeds,
    plots=(),
)
SECONDS = OBJECTIVES._replace(
    title="Objectives at equal seconds",
    text="The best valid perplexity by so many seconds of training, read off the curves of the same runs: between two"
    " epochs on a straight line of log perplexity against time; after the last epoch the best one stays. The rate is"
    " halved by epochs, so a fast run is further on in its schedule.",
    columns={
        "case": "case",
        "seed": "seed",
        **{f"{moment:,} s": f"at.{moment}:.1f" for moment in MOMENTS},
        "training s": "seconds:,.0f",
    },
    plots=("objectives-seconds",),
)
TRAIN = Section(
    "Training speed",
    "Tokens a second of a whole training step (noise, gradient, clipping, update), against the same step in PyTorch"
    " (`benchmarks/_peer.py`). Ours and the peer's samples alternate; the ratio is the median of the ratios of"
    " neighbours, then their range. Peak: the machine's own float32 matrix product on as many threads,"
    " measured in the"
    " same turns; share: of it, what the operations a step cannot do without reach. Run with"
    " `python benchmarks/bench_train.py --against torch`. As many shards as threads; over 1 thread: the"
    " same shards run"
    " by one.",
    "bench_train.json",
    {
        "(B, T, E, H, L, K, V)": "shape",
        "threads": "threads",
        "tokens/s": "tokens_per_second:,.0f",
        "peer": "peer",
        "peer tokens/s": "peer_tokens_per_second:,.0f",
        "ratio": "ratio:.2f",
        "lowest": "ratio_low:.2f",
        "highest": "ratio_high:.2f",
        "over 1 thread": "over_one_thread:.2f",
        "peak GFLOP/s": "sgemm_peak_gflops:,.0f",
        "share": "peak_share:.0%",
        "samples": "samples",
    },
    plots=("train",),
)
BREAKDOWN = Section(
    "Where a training step spends its time",
    "Milliseconds a step on one thread, in the same run as above.",
    "bench_train.json",
    {
        "(B, T, E, H, L, K, V)": "shape",
        **{
            name: f"breakdown.{name}:.2f"
            for name in (
                "noise", "packing", "embedding", "input products", "recurrence", "nce", "nce backward",
                "recurrence backward", "backward products", "embedding backward", "sum and norm", "update",
                "other", "total",
            )
        },
    },
    rows=only(threads=1),
    plots=("train-breakdown", ),
)  # fmt: skip
GROWTH = Section(
    "Step time against V",
    "Our step at V over the same step at the smallest V, in turns. Texts: `first`, the same words in matrices of V"
    " rows; `spread`, the same with ids spread over all rows; `zipf`, text and noise by the Zipf law over V words, of"
    " which fewer repeat. The row of the smallest V shows the noise of the measurement. Run with"
    " `python benchmarks/bench_vocab.py --against torch`.",
    "bench_vocab.json",
    {
        "V": "vocab_size:,",
        "text": "text",
        "threads": "threads",
        "step ms": "step_ms:.2f",
        "step ms at the smallest V": "base_ms:.2f",
        "ratio": "growth:.3f",
        "lowest": "growth_low:.3f",
        "highest": "growth_high:.3f",
        "samples": "samples",
    },
    rows=only(kind="growth"),
    plots=("vocab",),
)
SOFTMAX = Section(
    "NCE against the softmax",
    "A whole training step with the full softmax over the same step with NCE, and the ceiling that arithmetic sets to"
    " the ratio: (LSTM + 6 H V) / (LSTM + 6 H (K+1)).",
    "bench_vocab.json",
    {
        "V": "vocab_size:,",
        "softmax of": "softmax",
        "threads": "threads",
        "NCE step ms": "step_ms:.2f",
        "softmax step ms": "softmax_ms:.1f",
        "ratio": "ratio:.2f",
        "lowest": "ratio_low:.2f",
        "highest": "ratio_high:.2f",
        "ceiling": "ceiling:.2f",
        "share of it": "ceiling_share:.0%",
        "samples": "samples",
    },
    rows=only(kind="softmax"),
    plots=("vocab-softmax",),
)
NOISE = Section(
    "Drawing noise words",
    "One core, Zipf law. Ratio: the alias table over the method. Run with `python benchmarks/bench_noise.py`.",
    "bench_noise.json",
    {
        "V": "vocab_size:,",
        "draws a call": "draws:,",
        "method": "method",
        "draws/s": "draws_per_second:,.0f",
        "ratio": "ratio:.1f",
        "lowest": "ratio_low:.1f",
        "highest": "ratio_high:.1f",
        "samples": "samples",
    },
    plots=("noise",),
)
EVALUATION = Section(
    "Evaluation speed",
    "`exact`: perplexity normalised over all words; `unnormalised`: the targets' scores only. 2 x 200 units. Run with"
    " `python benchmarks/bench_eval.py --against torch`.",
    "bench_eval.json",
    {
        "V": "vocab_size:,",
        "kind": "kind",
        "threads": "threads",
        "tokens/s": "tokens_per_second:,.0f",
        "peer tokens/s": "peer_tokens_per_second:,.0f",
        "ratio": "ratio:.2f",
        "lowest": "ratio_low:.2f",
        "highest": "ratio_high:.2f",
        "samples": "samples",
    },
    plots=("eval",),
)
SCORING = Section(
    "Scoring sentences",
    "Microseconds a word, `</s>` counted. `batch`: one sentence after the other (slow) and 1,000 in lock-step (fast);"
    " `unnormalised`: with log Z (slow) and with its stored mean (fast), and by how much a word's log10 is off."
    " 2 layers. Run with `python benchmarks/bench_score.py`.",
    "bench_score.json",
    {
        "V": "vocab_size:,",
        "H": "hidden_dim",
        "kind": "kind",
        "exact": "normalize",
        "threads": "threads",
        "slow us": "slow_us:,.1f",
        "fast us": "fast_us:,.1f",
        "ratio": "ratio:.1f",
        "lowest": "ratio_low:.1f",
        "highest": "ratio_high:.1f",
        "mean error": "mean_error:.5f",
        "samples": "samples",
    },
)
MEMORY = Section(
    "Memory",
    "Largest resident memory of a process in MB, less that of one that only loads the package; `made` is what it was"
    " when the model had just been made. Against the sum of what must be held, of which the larger parts are shown."
    " 2 x 200 units. Run with `python benchmarks/bench_memory.py`.",
    "bench_memory.json",
    {
        "V": "vocab_size:,",
        "task": "task",
        "optimizer": "optimizer",
        "peak": "peak_mb:,.0f",
        "made": "made_mb:,.0f",
        "held": "held_mb:,.0f",
        "parameters": "held.parameters:,.0f",
        "vocabulary": "held.vocabulary:,.0f",
        "activations": "held.activations:,.0f",
        "peak / held": "ratio:.2f",
    },
    plots=("memory",),
)
YARDSTICK = Section(
    "Yardstick: counting",
    "Interpolated modified Kneser-Ney on the same text, words and tokens, alone and mixed with the LSTM of the same"
    " corpus (its weight found on the valid text). Run with"
    " `python benchmarks/kneser_ney.py --corpus python --mix MODEL --json FILE`, or with `--train` and its like.",
    "kneser_ney-*.json",
    {
        "training tokens": "train_tokens:,",
        "V": "vocab_size:,",
        "order": "order",
        "valid": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f",
        "test tokens": "test_tokens:,",
        "LSTM, test": "neural_test_perplexity:.2f",
        "weight of the LSTM": "neural_weight:.2f",
        "mixed, valid": "mixed_valid_perplexity:.2f",
        "mixed, test": "mixed_test_perplexity:.2f",
        "training s": "train_seconds:.1f",
    },
)
_RUN = {
    "tokens": "tokens:,",
    "updates": "updates:,",
    "perplexity": "perplexity:.2f",
    "at time": "perplexity_at_time:.2f",
    "time s": "time:.0f",
    "log Z": "mean_log_z:+.3f",
    "sd": "std_log_z:.3f",
    "uncovered": "uncovered:.1%",
    "never covered": "never_covered:.1%",
    "tokens/s": "tokens_per_second:,.0f",
    "seed": "seed",
}
SPLIT = Section(
    "One sequence in N chunks",
    "Valid perplexity after 6 epochs of the Penn Treebank, 1 x 200 units, S = 640 steps cut into N chunks,"
    " B = 20, fresh"
    " noise. `at time`: after that many seconds of training. log Z over the valid text. `uncovered`: share"
    " of the noise"
    " law on words in none of the groups of a sequence; `never covered`: in none of the whole run. Run with `python"
    " benchmarks/study_chunks.py`.",
    "study_chunks.json",
    {"K": "num_noise", "N": "chunks", "T": "bptt", "B": "batch_size", **_RUN},
    rows=only(kind="split"),
    plots=("chunks",),
)
MATCHED = SPLIT._replace(
    title="The same at equal updates",
    text="B = N streams, so an update has 640 positions and a text the same number of updates at every N: what is left"
    " is how far back the gradient reaches, and of how many streams the positions of an update are.",
    rows=only(kind="matched"),
    plots=("chunks-matched",),
)
POOL = SPLIT._replace(
    title="Chunks that share noise groups",
    text="N = 32 (T = 20, B = 20): M groups a sequence, redrawn for every sequence, every epoch, or never. Compare with"
    " fresh noise at N = 32 above.",
    columns={"K": "num_noise", "M": "groups", "map": "group_map", "redrawn": "redraw", **_RUN},
    rows=only(kind="pool"),
    plots=(
        "chunks-pool",
        "chunks-log-z",
    ),
)
TRUNCATION = Section(
    "The gradient, cut",
    "At fixed parameters, the noise expected in closed form: the gradient of a sequence cut into N chunks"
    " against that by"
    " BPTT through the whole sequence. `bias`: its distance over the length of the exact one, root of the mean square"
    " over sequences; `of the mean`: the same after adding up the sequences; `spread`: distance of a single"
    " sequence's"
    " exact gradient from their mean. Run with `python benchmarks/study_gradients.py`.",
    "study_gradients.json",
    {
        "K": "num_noise",
        "N": "chunks",
        "parameters": "parameters",
        "bias": "bias:.4f",
        "of the mean": "bias_of_mean:.4f",
        "cosine": "cosine:.5f",
        "spread": "spread:.3f",
        "sequences": "sequences",
    },
    rows=only(kind="truncation"),
    plots=("chunks-truncation",),
)
OBJECTIVE = TRUNCATION._replace(
    title="The gradient at K against the limit of large K",
    text="At the same parameters, nothing cut, the noise expected in closed form.",
    rows=only(kind="objective"),
    plots=(),
)
REUSE = Section(
    "The gradient, with shared noise groups",
    "At fixed parameters: noise drawn R times. `noise`: root of the variance of a sequence's gradient over"
    " the length of"
    " its mean. `growth`: variance over that with fresh groups; `predicted`: the same from covariances of"
    " chunks, measured"
    " apart; `error`: standard error of the variance, relative; `unbiased`: squared distance of the mean of"
    " the draws from"
    " the expected gradient over what chance gives, 1 on average.",
    "study_gradients.json",
    {
        "K": "num_noise",
        "M": "groups",
        "map": "group_map",
        "parameters": "parameters",
        "noise": "noise:.3f",
        "growth": "growth:.2f",
        "predicted": "predicted:.2f",
        "error": "error:.2f",
        "unbiased": "unbiased:.2f",
        "R": "repeats",
    },
    rows=only(kind="reuse"),
    plots=("chunks-reuse",),
)

MEASURED = {
    "training-speed": TRAIN,
    "breakdown": BREAKDOWN,
    "growth": GROWTH,
    "speed-against-softmax": SOFTMAX,
    "drawing": NOISE,
    "evaluation-speed": EVALUATION,
    "scoring-speed": SCORING,
    "memory": MEMORY,
}  # in docs/benchmarks.md
SECTIONS = MEASURED | {
    "recipes": RECIPES,
    "objectives": OBJECTIVES,
    "objectives-seeds": SEEDS,
    "objectives-seconds": SECONDS,
    "yardstick": YARDSTICK,
    "split": SPLIT,
    "matched": MATCHED,
    "pool": POOL,
    "truncation": TRUNCATION,
    "gradient-at-num-noise": OBJECTIVE,
    "reuse": REUSE,
}
