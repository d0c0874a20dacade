"""What a model is and how it is trained: two frozen dataclasses, checked once, when they are made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from nplm.errors import InputError

Optimizer = Literal["sgd", "asgd", "adagrad", "adam"]
Schedule = Literal["step", "plateau", "constant", "cosine"]
Noise = Literal["fresh", "pool"]
GroupMap = Literal["contiguous", "cyclic"]
Redraw = Literal["sequence", "epoch", "never"]
Objective = Literal["nce", "softmax", "sampled-softmax", "ranking"]
Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model and its noise law.  Raises InputError on a value outside its range."""

    vocab_size: int  # V, words with <unk> and </s>, >= 2
    embed_dim: int = 200  # E, >= 1
    hidden_dim: int = 200  # H, units per layer, >= 1
    num_layers: int = 2  # L, >= 1
    tied: bool = False  # one matrix for input and output words; E = H
    init_scale: float = 0.1  # weights start uniform in [-init_scale, init_scale], > 0
    noise_power: float = 1.0  # exponent of the unigram counts in q, >= 0
    noise_uniform: float = 0.0  # share of q spread evenly over the vocabulary, in [0, 1]

    def __post_init__(self) -> None:
        _whole("vocab_size", self.vocab_size, 2, 2**31 - 1)
        _whole("embed_dim", self.embed_dim, 1, 2**16)
        _whole("hidden_dim", self.hidden_dim, 1, 2**16)
        _whole("num_layers", self.num_layers, 1, 64)
        _flag("tied", self.tied)
        if self.tied and self.embed_dim != self.hidden_dim:
            raise InputError(
                f"tied: embed_dim = {self.embed_dim} and hidden_dim = {self.hidden_dim} must be equal; make --emsize"
                " and --hidden the same"
            )
        _real("init_scale", self.init_scale, above=0.0)
        _real("noise_power", self.noise_power, least=0.0)
        _real("noise_uniform", self.noise_uniform, least=0.0, most=1.0)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.  Raises InputError on a value outside its range.

    Rates are for the loss in nats per position.  Zaremba's recipe (rate 1, norm 5, loss summed over T = 20
    steps) is therefore `lr = 20`, `clip = 0.25` here: the same numbers as PyTorch's word_language_model.
    """

    bptt: int = 20  # T, time steps per chunk, >= 1
    batch_size: int = 20  # B, streams in lock-step, >= 1
    sequence_length: int = 200  # S, time steps per sequence; cut into N = ceil(S / T) >= 2 chunks
    objective: Objective = "nce"  # what is minimised; perplexity is always the exact one
    log_z_penalty: float = 0.0  # times the mean of log^2 Z, added to the softmax objective, >= 0
    fit_log_z: bool = (
        False  # the best model is kept with its output bias lowered by the valid text's mean log Z
    )
    reset_at_eos: bool = False  # the state begins anew at every sentence, in training and in validation
    num_noise: int = 256  # K, noise words per chunk, in [1, 2**20]
    noise: Noise = "fresh"  # a new group for every chunk, or a pool of M groups drawn ahead
    noise_groups: int = 2  # M, groups in the pool, 2 <= M <= N
    group_map: GroupMap = "contiguous"  # which chunks share a group of the pool
    redraw: Redraw = "sequence"  # when the pool is drawn anew
    dropout: float = 0.0  # p, share of the numbers left out between layers and before the scores, in [0, 1)
    dropout_words: float = 0.0  # p, share of the input words left out, in [0, 1)
    dropout_recurrent: float = 0.0  # p, share of h_{t-1} left out, one mask for a sequence, in [0, 1)
    variational: bool = False  # between layers too one mask for a sequence, instead of one for every step
    optimizer: Optimizer = "sgd"
    lr: float = 20.0  # learning rate at the start, > 0
    weight_decay: float = (
        0.0  # share of a weight lost per step and unit of the rate, >= 0; biases keep theirs
    )
    averaging_patience: int = 5  # epochs without a better valid perplexity before asgd averages, >= 1
    clip: float = 0.25  # largest global norm of the gradient, > 0; inf: no clipping
    schedule: Schedule = (
        "step"  # step: lr_decay per epoch after decay_after; plateau: when valid stalls; cosine
    )
    warmup: int = 0  # chunks in which the rate rises to what it would be, >= 0
    lr_floor: float = 0.0  # share of lr at which `cosine` ends, in [0, 1]
    lr_decay: float = 0.5  # factor, in (0, 1]
    decay_after: int = 4  # epochs at the full rate before `step` decays, >= 0
    patience: int = 0  # stop after this many epochs without a better valid perplexity; 0: never
    epochs: int = 13  # passes over the training text, >= 1
    seed: int = 1  # of initial weights, noise and dropout, in [0, 2**63)
    shards: int = 2  # parts the B columns are cut into; changes the rounding, so it belongs to the recipe
    threads: int = 0  # threads that run the shards; 0: one per shard, up to the cores.  Never changes a bit
    precision: Precision = (
        "float32"  # of the products' operands; auto: bfloat16 where that is known to be faster
    )
    log_interval: int = 200  # chunks between two lines of metrics, >= 1
    save_interval: float = 60.0  # seconds between two checkpoints within an epoch, >= 0
    eval_batch_size: int = 10  # streams in lock-step when validating, >= 1

    def __post_init__(self) -> None:
        _whole("bptt", self.bptt, 1, 2**20)
        _whole("batch_size", self.batch_size, 1, 2**20)
        _whole("sequence_length", self.sequence_length, 2, 2**31 - 1)
        if self.chunks < 2:
            raise InputError(
                f"a sequence of {self.sequence_length} steps in chunks of {self.bptt} gives N = {self.chunks}"
                " chunk: the method needs N >= 2; raise --sequence-length or lower --bptt"
            )
        _choice("objective", self.objective, get_args(Objective))
        _real("log_z_penalty", self.log_z_penalty, least=0.0)
        if self.log_z_penalty > 0 and self.objective != "softmax":
            raise InputError("log_z_penalty belongs to the softmax objective: NCE keeps Z near 1 by itself")
        _flag("fit_log_z", self.fit_log_z)
        _flag("reset_at_eos", self.reset_at_eos)
        for name in ("dropout", "dropout_words", "dropout_recurrent"):
            _real(name, getattr(self, name), least=0.0, below=1.0)
        _flag("variational", self.variational)
        _whole("num_noise", self.num_noise, 1, 2**20)
        _choice("noise", self.noise, ("fresh", "pool"))
        _choice("group_map", self.group_map, ("contiguous", "cyclic"))
        _choice("redraw", self.redraw, ("sequence", "epoch", "never"))
        _whole("noise_groups", self.noise_groups, 2, 2**31 - 1)
        if self.noise == "pool" and self.noise_groups > self.chunks:
            raise InputError(
                f"noise_groups = {self.noise_groups} is more than the N = {self.chunks} chunks of a sequence:"
                " lower --noise-groups or raise --sequence-length"
            )
        _choice("optimizer", self.optimizer, get_args(Optimizer))
        _real("lr", self.lr, above=0.0)
        _real("weight_decay", self.weight_decay, least=0.0)
        if self.lr * self.weight_decay >= 1:
            raise InputError(
                f"weight_decay = {self.weight_decay:g} times lr = {self.lr:g} is not less than 1: a step would leave"
                " nothing of a weight; lower one of them"
            )
        _whole("averaging_patience", self.averaging_patience, 1, 2**31 - 1)
        if self.optimizer == "asgd" and 0 < self.patience <= self.averaging_patience:
            raise InputError(
                f"patience = {self.patience} stops before averaging_patience = {self.averaging_patience} lets asgd"
                " average; raise --patience or lower --averaging-patience"
            )
        _real("clip", self.clip, above=0.0, most=math.inf)
        _choice("schedule", self.schedule, get_args(Schedule))
        _whole("warmup", self.warmup, 0, 2**31 - 1)
        _real("lr_floor", self.lr_floor, least=0.0, most=1.0)
        _real("lr_decay", self.lr_decay, above=0.0, most=1.0)
        _whole("decay_after", self.decay_after, 0, 2**31 - 1)
        _whole("patience", self.patience, 0, 2**31 - 1)
        _whole("epochs", self.epochs, 1, 2**31 - 1)
        _whole("seed", self.seed, 0, 2**63 - 1)
        _whole("shards", self.shards, 1, 1024)
        _whole("threads", self.threads, 0, 1024)
        _choice("precision", self.precision, get_args(Precision))
        _whole("log_interval", self.log_interval, 1, 2**31 - 1)
        _real("save_interval", self.save_interval, least=0.0, most=math.inf)
        _whole("eval_batch_size", self.eval_batch_size, 1, 2**20)

    @property
    def chunks(self) -> int:
        """N, the number of chunks in a whole sequence."""
        return -(-self.sequence_length // self.bptt)


def _whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} = {value!r} is not a whole number")
    if not least <= value <= most:
        raise InputError(f"{name} = {value} is outside [{least}, {most}]")


def _flag(name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{name} = {value!r} is neither true nor false")


def _real(
    name: str,
    value: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float | None = None,
    below: float | None = None,
) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{name} = {value!r} is not a number")
    if math.isnan(value) or (most is None and math.isinf(value)):
        raise InputError(f"{name} = {value} is not a finite number")
    if (
        value < least
        or value <= above
        or (most is not None and value > most)
        or (below is not None and value >= below)
    ):
        low = f"at least {least:g}" if above == -math.inf else f"more than {above:g}"
        high = "" if most is None else f" and at most {most:g}"
        high += "" if below is None else f" and less than {below:g}"
        raise InputError(f"{name} = {value:g} is out of range: it must be {low}{high}")


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name} = {value!r} is not one of {', '.join(choices)}")
