"""The settings of a text, a model and a training run: three frozen dataclasses, checked when they are made.

Each field is declared by `setting` (config/setting.py).  Messages name settings in backticks; the command replaces
them with flags.
"""

from dataclasses import MISSING, dataclass
from functools import partial
from typing import Literal, get_args

from nplm.config.setting import check_settings, setting, settings
from nplm.errors import InputError

Corpus = Literal["python", "markov", "hmm"]
Optimizer = Literal["sgd", "asgd", "adagrad", "adam"]
Schedule = Literal["step", "plateau", "constant", "cosine"]
Noise = Literal["fresh", "pool"]
GroupMap = Literal["contiguous", "cyclic"]
Redraw = Literal["sequence", "epoch", "never"]
Draw = Literal["independent", "stratified"]
Objective = Literal["nce", "softmax", "sampled-softmax", "ranking"]
Precision = Literal["float32", "bfloat16", "auto"]

CORPORA: tuple[str, ...] = get_args(Corpus)  # the built-in ones
MOST = 1000  # times that a text can be read

HEADINGS = (
    "Text (UTF-8, one sentence per line; files, folders, patterns, pipes; decompressed by suffix)",
    "Model",
    "Method",
    "Noise",
    "Dropout",
    "Learning rate",
    "Run",
)
_text, _model, _method, _noise, _dropout, _rate, _run = (partial(setting, heading=heading) for heading in HEADINGS)


@dataclass(frozen=True)
class TextConfig:
    """The source of the text, and which of its words are kept.

    Raises
    ------
    InputError
        If a value is out of range, or if two settings contradict each other.
    """

    train: tuple[str, ...] | None = _text(None, "Text to train on; repeatable.", "FILE")
    valid: tuple[str, ...] | None = _text(None, "Validation text; decides which epoch's model is kept.", "FILE")
    test: tuple[str, ...] | None = _text(None, "Text on which the model is evaluated at the end.", "FILE")
    weight: tuple[str, ...] | None = _text(
        None, "Read FILE, one of the texts of `train`, N times in every epoch.", "FILE=N"
    )
    corpus: Corpus | None = _text(None, f"Built-in corpus to use instead of files: {', '.join(CORPORA)}.", "NAME")
    unit: str = _text(
        "word", "What lines are split into: word, char, grapheme, spm:FILE.model or hf:FILE.json.", "UNIT"
    )
    min_count: int = _text(1, "Words that occur less often in `train` become <unk>.", "N", "[1, inf)")
    max_vocab: int | None = _text(None, "Largest size of the vocabulary, <unk> and </s> included.", "V", "[3, inf)")
    vocab: str | None = _text(None, "List of the words to keep, one per line.", "FILE")
    unk: str | None = _text(None, "Word in the texts that stands for unknown words, as <unk> does.", "WORD")

    def __post_init__(self) -> None:
        check_settings(self)
        for declared in settings(TextConfig):
            value = getattr(self, declared.name)
            if declared.many and value is not None:
                object.__setattr__(self, declared.name, (value,) if isinstance(value, str) else tuple(value))
        if self.unk is not None and self.unit != "word":
            raise InputError(f"`unk` is for word-level models; leave it out with `unit` {self.unit}")
        if self.unk is not None and (not self.unk or self.unk in ("<s>", "</s>") or set(self.unk) & set(" \t\n\v\f\r")):
            raise InputError(f"`unk` = {self.unk!r} is not a word; give it as it is in the texts")
        if self.train is None and self.corpus is None:
            raise InputError(f"nothing to train on: give `train` (a file) or `corpus` ({', '.join(CORPORA)})")
        if self.corpus is not None:
            for name, value in vars(self).items():
                if name != "corpus" and value != getattr(TextConfig, name):
                    raise InputError(f"`corpus` {self.corpus} has its own texts and vocabulary; leave out `{name}`")
        if self.vocab is not None and (self.min_count > 1 or self.max_vocab is not None):
            raise InputError("`vocab` is the whole vocabulary; leave out `min_count` and `max_vocab`")
        _ = self.weights  # raises an error if they are malformed

    @property
    def weights(self) -> dict[str, int]:
        """How many times each text is read, by name.  Raises InputError on anything other than FILE=N."""
        found: dict[str, int] = {}
        for given in self.weight or ():
            name, _, times = given.rpartition("=")
            if not (name and times.isascii() and times.isdecimal() and 1 <= int(times[:9]) <= MOST):
                raise InputError(f"`weight` = {given!r} is not FILE=N, with N from 1 to {MOST}")
            if found.setdefault(name, int(times)) != int(times):
                raise InputError(f"`weight` of {name} is given twice; keep one")
        return found


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model and its noise distribution.

    Raises
    ------
    InputError
        If a value is out of range, or if two settings contradict each other.
    """

    vocab_size: int = _model(MISSING, "Words, <unk> and </s> included.", "V", "[2, 2^31)")
    embed_dim: int = _model(200, "Dimension of a word vector.", "E", "[1, 2^16]", flag="emsize")
    hidden_dim: int = _model(200, "LSTM units per layer.", "H", "[1, 2^16]", flag="hidden")
    num_layers: int = _model(2, "LSTM layers.", "L", "[1, 64]", flag="layers")
    tied: bool = _model(False, "Share one matrix between input and output embeddings; needs E = H.")
    init_scale: float = _model(0.1, "Weights are initialised uniformly in [-X, X].", "X", "(0, inf)")
    noise_power: float = _noise(
        1.0, "Exponent of the unigram counts in the noise distribution.", "X", "[0, inf)", flag="nce-unigram-power"
    )
    noise_uniform: float = _noise(
        0.0,
        "Fraction of the noise distribution that is uniform over the vocabulary.",
        "X",
        "[0, 1]",
        flag="nce-uniform",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.tied and self.embed_dim != self.hidden_dim:
            raise InputError(
                f"`embed_dim` = {self.embed_dim} and `hidden_dim` = {self.hidden_dim} must be equal if `tied` is set"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How to train a model.

    Rates are for the loss in nats per position.  Zaremba's recipe (rate 1, norm 5, loss summed over T = 20
    steps) is therefore `lr = 20`, `clip = 0.25` here, as in PyTorch's word_language_model.

    Raises
    ------
    InputError
        If a value is out of range, or if two settings contradict each other.
    """

    bptt: int = _method(20, "Time steps per chunk; backpropagation stops at its start.", "T", "[1, 2^20]")
    batch_size: int = _method(20, "Streams of text processed in parallel.", "B", "[1, 2^20]")
    sequence_length: int = _method(200, "Time steps per sequence, cut into N = S/T >= 2 chunks.", "S", "[2, 2^31)")
    baseline: bool = _method(
        False, "Allow a run outside the patent claims, for comparison: one chunk (N = 1) or one group (M = 1)."
    )
    objective: Objective = _method("nce", "Loss to minimise; perplexity is always exact.")
    log_z_penalty: float = _method(0.0, "Weight of the mean of log^2 Z, added to the softmax loss.", "X", "[0, inf)")
    fit_log_z: bool = _method(False, "Subtract the mean log Z of `valid` from the best model's output bias.")
    shuffle: bool = _method(False, "Shuffle the lines of `train` in every epoch, using `seed`; sets `reset_at_eos`.")
    reset_at_eos: bool = _method(False, "Begin every sentence with the zero state.")
    num_noise: int = _noise(256, "Noise words per chunk.", "K", "[1, 2^20]", flag="nce")
    noise: Noise = _noise("fresh", "Draw a fresh noise group for every chunk, or a pool of groups in advance.")
    noise_draw: Draw = _noise(
        "independent", "Draw noise words independently, or stratified over equal parts of the noise distribution."
    )
    noise_groups: int = _noise(2, "Groups in the pool, 2 <= M <= N.", "M", "[1, 2^31)")
    own_counts: bool = _noise(
        False,
        "Use the pool's own word frequencies as the noise distribution in the loss; skip targets that no group of the"
        " pool contains.",
    )
    group_map: GroupMap = _noise("contiguous", "How the chunks are divided among the pool's groups.")
    redraw: Redraw = _noise("sequence", "When the pool is redrawn: for every sequence, for every epoch, or never.")
    dropout: float = _dropout(0.0, "Dropout probability between layers and before the output layer.", "P", "[0, 1)")
    dropout_words: float = _dropout(0.0, "Dropout probability of an input word.", "P", "[0, 1)")
    dropout_recurrent: float = _dropout(
        0.0, "Dropout probability of the hidden state in the recurrence.", "P", "[0, 1)"
    )
    variational: bool = _dropout(False, "Between layers, use one mask per sequence instead of one per time step.")
    optimizer: Optimizer = _rate("sgd", "Update rule.")
    lr: float = _rate(20.0, "Initial learning rate, for the loss in nats per position.", "X", "(0, inf)")
    weight_decay: float = _rate(
        0.0, "Every step multiplies each weight by 1 - X * rate; biases do not decay.", "X", "[0, inf)"
    )
    averaging_patience: int = _rate(
        5, "Epochs without a better validation perplexity before asgd starts averaging.", "EPOCHS", "[1, 2^31)"
    )
    clip: float = _rate(0.25, "Global norm to which larger gradients are clipped; inf: no clipping.", "X", "(0, inf]")
    schedule: Schedule = _rate(
        "step",
        "Lower the rate for every epoch after the first `decay_after` epochs (step), after every epoch without a better"
        " validation perplexity (plateau), never (constant), or along a cosine (cosine).",
    )
    warmup: int = _rate(0, "Chunks over which the rate rises linearly to its scheduled value.", "CHUNKS", "[0, 2^31)")
    lr_floor: float = _rate(0.0, "Fraction of `lr` at which the cosine schedule ends.", "X", "[0, 1]")
    lr_decay: float = _rate(
        0.5, "Factor by which the schedules step and plateau multiply the rate to lower it.", "X", "(0, 1]"
    )
    decay_after: int = _rate(4, "Epochs at the full rate, with `schedule` step.", "EPOCHS", "[0, 2^31)")
    patience: int = _rate(
        0,
        "Stop after this many epochs without a better validation perplexity; 0: no early stopping.",
        "EPOCHS",
        "[0, 2^31)",
    )
    epochs: int = _run(13, "Passes over the training text.", "N", "[1, 2^31)")
    seed: int = _run(1, "Seed of the initial weights, the noise, the dropout and the order of lines.", "N", "[0, 2^63)")
    shards: int = _run(
        2, "Parts into which the B streams are divided; unlike `threads`, affects rounding.", "N", "[1, 1024]"
    )
    threads: int = _run(
        0,
        "Threads that run the shards (the parts of each batch); 0: one per shard, at most one per core.",
        "N",
        "[0, 1024]",
    )
    precision: Precision = _run(
        "float32", "Type of the operands of matrix products in training; auto: bfloat16 if known to be faster."
    )
    log_interval: int = _run(200, "Chunks between two lines of metrics.jsonl.", "CHUNKS", "[1, 2^31)")
    save_interval: float = _run(60.0, "Time between two checkpoints within an epoch.", "SECONDS", "[0, inf]")
    eval_batch_size: int = _run(10, "Streams of text processed in parallel in evaluation.", "N", "[1, 2^20]")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.shuffle:  # a line does not continue the line before it
            object.__setattr__(self, "reset_at_eos", True)
        self._check_claims()
        if self.log_z_penalty > 0 and self.objective != "softmax":
            raise InputError("`log_z_penalty` is for the softmax objective: NCE keeps Z near 1 by itself")
        if self.noise == "pool" and self.noise_groups > self.chunks:
            raise InputError(
                f"`noise_groups` = {self.noise_groups} is more than the N = {self.chunks} chunks of a sequence:"
                " lower `noise_groups` or raise `sequence_length`"
            )
        if self.own_counts and (self.noise != "pool" or self.objective != "nce"):
            raise InputError(
                "`own_counts` is for the NCE loss with a pool: leave it out, or set `noise` to pool and"
                " `objective` to nce"
            )
        if self.lr * self.weight_decay >= 1:
            raise InputError(
                f"`weight_decay` = {self.weight_decay:g} times `lr` = {self.lr:g} is not less than 1, so a step"
                " would wipe out the weights; lower one of them"
            )
        if self.optimizer == "asgd" and 0 < self.patience <= self.averaging_patience:
            raise InputError(
                f"`patience` = {self.patience} stops training before asgd averages (`averaging_patience` ="
                f" {self.averaging_patience}); raise `patience` or lower `averaging_patience`"
            )

    def _check_claims(self) -> None:
        """Reject a run outside the claims unless it is declared a baseline, and a baseline within them."""
        if self.baseline and not self.outside_claims:
            groups = f"M = {self.noise_groups}" if self.noise == "pool" else "fresh noise"
            raise InputError(
                f"`baseline` is for one chunk (N = 1) or one noise group (M = 1); with N = {self.chunks} and {groups}"
                " the run is within the claims: leave out `baseline`"
            )
        if self.chunks < 2 and not self.baseline:
            raise InputError(
                f"a sequence of {self.sequence_length} steps in chunks of {self.bptt} gives N = {self.chunks}"
                " chunk: the method needs N >= 2; raise `sequence_length` or lower `bptt`, or make it a `baseline`"
            )
        if self.outside_claims and not self.baseline:
            raise InputError(
                f"`noise_groups` = {self.noise_groups} is one group for all chunks: the method needs M >= 2; raise it,"
                " or make the run a `baseline`"
            )

    @property
    def outside_claims(self) -> str:
        """What places the run outside the published claims, in words; empty if the claims cover it."""
        if self.chunks < 2:
            return "one chunk per sequence (N = 1)"
        return "one noise group per pool (M = 1)" if self.noise == "pool" and self.noise_groups < 2 else ""

    @property
    def chunks(self) -> int:
        """N, the number of chunks in a whole sequence."""
        return -(-self.sequence_length // self.bptt)


CONFIGS = (TextConfig, ModelConfig, TrainConfig)
