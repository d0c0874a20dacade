"""The settings: what a model is, how it is trained, on which text.  Frozen dataclasses, checked when they are made.

A setting is declared once, here: its default, the flag of the command (which is its name in a config file, too), what
its value is called there, the heading it stands under, its meaning and its range.  Validation, the command's options,
the config file and the table in docs/howto/settings.md follow from that.

An error message names a setting by its field, in backticks; the command replaces the field by the flag.
"""

import math
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from nplm.errors import InputError

Optimizer = Literal["sgd", "asgd", "adagrad", "adam"]
Schedule = Literal["step", "plateau", "constant", "cosine"]
Noise = Literal["fresh", "pool"]
GroupMap = Literal["contiguous", "cyclic"]
Redraw = Literal["sequence", "epoch", "never"]
Objective = Literal["nce", "softmax", "sampled-softmax", "ranking"]

CORPORA = ("python", "markov", "hmm")  # the built-in ones
COUNT, SIZE = 2**31 - 1, 2**20  # the largest whole numbers that most settings take
WORDS: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class Setting(NamedTuple):
    """What is declared of a field besides its name, type and default."""

    flag: str | None  # without dashes; None: not to be set by a user
    metavar: str | None  # what the value is called in help
    help: str  # meaning and unit
    group: str  # heading in help
    least: float = -math.inf  # the range; see `in_words`
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    infinite: bool = False  # whether inf is a value

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        return self.least <= value <= self.most and self.above < value and not value >= self.below < math.inf

    def in_words(self, kind: type) -> str:
        """The range: "[1, 1024]" of whole numbers, "at least 0 and less than 1" of others."""
        if kind is int:
            return f"[{self.least:.0f}, {self.most:.0f}]"
        bounds = [
            *([f"at least {self.least:g}"] if self.least > -math.inf else []),
            *([f"more than {self.above:g}"] if self.above > -math.inf else []),
            *([f"at most {self.most:g}"] if self.most < math.inf else []),
            *([f"less than {self.below:g}"] if self.below < math.inf else []),
        ]
        return " and ".join(bounds)


def setting(default: Any, flag: str | None, metavar: str | None, help: str, *, group: str, **limits: Any) -> Any:
    """A field of a dataclass with what is declared of it; limits: of `Setting`."""
    return field(default=default, metadata={"setting": Setting(flag, metavar, help, group, **limits)})


TEXT = "Text (UTF-8, one sentence per line, .gz by suffix)"
GROUPS = (
    TEXT,
    "Model",
    "Method",
    "Noise",
    "Dropout",
    "Learning rate",
    "Run",
)
_text, _model, _method, _noise, _dropout, _rate, _run = (partial(setting, group=group) for group in GROUPS)
_share = partial(_dropout, least=0.0, below=1.0)


@dataclass(frozen=True)
class TextConfig:
    """Where the text comes from, and which of its words are kept.  Raises InputError as the others."""

    train: str | None = _text(None, "train", "FILE", "Text to train on.")
    valid: str | None = _text(None, "valid", "FILE", "Text to choose the best epoch by.")
    test: str | None = _text(None, "test", "FILE", "Text to measure on at the end.")
    corpus: str | None = _text(None, "corpus", "NAME", f"A built-in corpus instead: {', '.join(CORPORA)}.")
    min_count: int = _text(1, "min-count", "N", "Words seen less often in --train are <unk>.", least=1, most=COUNT)
    max_vocab: int | None = _text(
        None, "max-vocab", "V", "Words at most, <unk> and </s> included.", least=3, most=COUNT
    )
    vocab: str | None = _text(None, "vocab", "FILE", "The words to keep, one per line.")

    def __post_init__(self) -> None:
        check(self)
        if self.vocab is not None and (self.min_count > 1 or self.max_vocab is not None):
            raise InputError("`vocab` is the whole vocabulary: leave out `min_count` and `max_vocab`")


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a model and its noise distribution.

    Raises
    ------
    InputError
        On a value outside its range.
    """

    vocab_size: int = _model(MISSING, None, None, "V, words with <unk> and </s>.", least=2, most=COUNT)
    embed_dim: int = _model(200, "emsize", "E", "Size of a word's vector.", least=1, most=2**16)
    hidden_dim: int = _model(200, "hidden", "H", "LSTM units per layer.", least=1, most=2**16)
    num_layers: int = _model(2, "layers", "L", "LSTM layers.", least=1, most=64)
    tied: bool = _model(False, "tied", None, "One matrix for input and output words; needs E = H.")
    init_scale: float = _model(0.1, "init-scale", "X", "Weights start uniform in [-X, X].", above=0.0)
    noise_power: float = _noise(
        1.0, "nce-unigram-power", "X", "Exponent of the unigram counts in the noise distribution.", least=0.0
    )
    noise_uniform: float = _noise(
        0.0,
        "nce-uniform",
        "X",
        "Share of the noise distribution that is spread evenly over all words.",
        least=0.0,
        most=1.0,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.tied and self.embed_dim != self.hidden_dim:
            raise InputError(
                f"`tied`: `embed_dim` = {self.embed_dim} and `hidden_dim` = {self.hidden_dim} must be equal"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Rates are for the loss in nats per position.  Zaremba's recipe (rate 1, norm 5, loss summed over T = 20
    steps) is therefore `lr = 20`, `clip = 0.25` here: the same numbers as PyTorch's word_language_model.

    Raises
    ------
    InputError
        On a value outside its range, and on settings that do not go together.
    """

    bptt: int = _method(20, "bptt", "T", "Time steps per chunk; the gradient is cut there.", least=1, most=SIZE)
    batch_size: int = _method(20, "batch-size", "B", "Streams of text in lock-step.", least=1, most=SIZE)
    sequence_length: int = _method(
        200,
        "sequence-length",
        "S",
        "Time steps per sequence, cut into N = S/T >= 2 chunks.",
        least=2,
        most=COUNT,
    )
    objective: Objective = _method("nce", "objective", None, "What is minimised; perplexity is always the exact one.")
    log_z_penalty: float = _method(
        0.0, "log-z-penalty", "X", "Times the mean of log^2 Z, added to the softmax objective.", least=0.0
    )
    fit_log_z: bool = _method(
        False,
        "fit-log-z",
        None,
        "Keep the best model with the mean log Z of --valid subtracted from its output bias.",
    )
    reset_at_eos: bool = _method(False, "reset-at-eos", None, "Begin every sentence with the zero state.")
    num_noise: int = _noise(256, "nce", "K", "Noise words per chunk.", least=1, most=SIZE)
    noise: Noise = _noise(
        "fresh", "noise", None, "A fresh noise group for every chunk, or a pool of groups drawn ahead."
    )
    noise_groups: int = _noise(2, "noise-groups", "M", "Groups of the pool, 2 <= M <= N.", least=2, most=COUNT)
    group_map: GroupMap = _noise("contiguous", "group-map", None, "Which chunks share a group of the pool.")
    redraw: Redraw = _noise("sequence", "redraw", None, "When the pool is redrawn.")
    dropout: float = _share(0.0, "dropout", "P", "Share of the numbers dropped between layers and before the scores.")
    dropout_words: float = _share(0.0, "dropout-words", "P", "Share of the input words dropped.")
    dropout_recurrent: float = _share(
        0.0, "dropout-recurrent", "P", "Share of the hidden state dropped on its way to the next step."
    )
    variational: bool = _dropout(
        False, "variational", None, "Between layers too one mask for a sequence, instead of one for every step."
    )
    optimizer: Optimizer = _rate("sgd", "optimizer", None, "Rule of the update.")
    lr: float = _rate(20.0, "lr", "X", "Learning rate at the start, for the loss in nats per position.", above=0.0)
    weight_decay: float = _rate(
        0.0,
        "weight-decay",
        "X",
        "Share of a weight lost per step and unit of the rate; biases keep theirs.",
        least=0.0,
    )
    averaging_patience: int = _rate(
        5,
        "averaging-patience",
        "EPOCHS",
        "Epochs without a better valid perplexity before asgd averages.",
        least=1,
        most=COUNT,
    )
    clip: float = _rate(
        0.25, "clip", "X", "Largest global norm of the gradient; inf: no clipping.", above=0.0, infinite=True
    )
    schedule: Schedule = _rate(
        "step",
        "schedule",
        None,
        "Lower the rate after --decay-after epochs, when the valid perplexity stalls, never, or along a cosine.",
    )
    warmup: int = _rate(
        0, "warmup", "CHUNKS", "Chunks in which the rate rises to what it would be.", least=0, most=COUNT
    )
    lr_floor: float = _rate(0.0, "lr-floor", "X", "Share of --lr at which --schedule cosine ends.", least=0.0, most=1.0)
    lr_decay: float = _rate(0.5, "lr-decay", "X", "Factor, in (0, 1], by which the rate falls.", above=0.0, most=1.0)
    decay_after: int = _rate(
        4, "decay-after", "EPOCHS", "Epochs at the full rate (--schedule step).", least=0, most=COUNT
    )
    patience: int = _rate(
        0,
        "patience",
        "EPOCHS",
        "Stop after so many epochs without a better valid perplexity; 0: never.",
        least=0,
        most=COUNT,
    )
    epochs: int = _run(13, "epochs", "N", "Passes over the training text.", least=1, most=COUNT)
    seed: int = _run(1, "seed", "N", "Of the first weights, the noise and the dropout.", least=0, most=2**63 - 1)
    shards: int = _run(2, "shards", "N", "Parts the B streams are cut into; part of the recipe.", least=1, most=1024)
    threads: int = _run(
        0, "threads", "N", "Threads that run the shards; 0: one each. Changes no bit.", least=0, most=1024
    )
    log_interval: int = _run(200, "log-interval", "CHUNKS", "Chunks between two lines of metrics.", least=1, most=COUNT)
    save_interval: float = _run(
        60.0,
        "save-interval",
        "SECONDS",
        "Seconds between two checkpoints within an epoch.",
        least=0.0,
        infinite=True,
    )
    eval_batch_size: int = _run(10, "eval-batch-size", "N", "Streams in lock-step when measuring.", least=1, most=SIZE)

    def __post_init__(self) -> None:
        check(self)
        if self.chunks < 2:
            raise InputError(
                f"a sequence of {self.sequence_length} steps in chunks of {self.bptt} gives N = {self.chunks}"
                " chunk: the method needs N >= 2; raise `sequence_length` or lower `bptt`"
            )
        if self.log_z_penalty > 0 and self.objective != "softmax":
            raise InputError("`log_z_penalty` belongs to the softmax objective: NCE keeps Z near 1 by itself")
        if self.noise == "pool" and self.noise_groups > self.chunks:
            raise InputError(
                f"`noise_groups` = {self.noise_groups} is more than the N = {self.chunks} chunks of a sequence:"
                " lower it or raise `sequence_length`"
            )
        if self.lr * self.weight_decay >= 1:
            raise InputError(
                f"`weight_decay` = {self.weight_decay:g} times `lr` = {self.lr:g} is not less than 1: a step would"
                " leave nothing of a weight; lower one of them"
            )
        if self.optimizer == "asgd" and 0 < self.patience <= self.averaging_patience:
            raise InputError(
                f"`patience` = {self.patience} stops before `averaging_patience` = {self.averaging_patience} lets"
                " asgd average; raise the first or lower the second"
            )

    @property
    def chunks(self) -> int:
        """N, the number of chunks in a whole sequence."""
        return -(-self.sequence_length // self.bptt)


CONFIGS: tuple[type, ...] = (TextConfig, ModelConfig, TrainConfig)


def settings_of(config: type) -> dict[str, tuple[Setting, "Field[Any]", type, tuple[str, ...]]]:
    """By field: what is declared, the field itself, int, float, str or bool, and the choices if it has any."""
    hints = get_type_hints(config)
    return {found.name: (found.metadata["setting"], found, *plain_type(hints[found.name])) for found in fields(config)}


def plain_type(hint: Any) -> tuple[type, tuple[str, ...]]:
    """int, float, str or bool: what an annotation comes down to; and the choices of a Literal."""
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    return hint, ()


def check(config: Any) -> None:
    """Raise InputError unless every value has its declared type and is in its declared range."""
    for name, (declared, found, kind, choices) in settings_of(type(config)).items():
        value = getattr(config, name)
        if value is None and found.default is None:
            continue
        number = kind in (int, float) and isinstance(value, (int, kind))
        if isinstance(value, bool) != (kind is bool) or not (number or isinstance(value, kind)):
            raise InputError(f"`{name}` = {value!r} is not {WORDS[kind]}")
        if choices and value not in choices:
            raise InputError(f"`{name}` = {value!r} is not one of {', '.join(choices)}")
        if not number:
            continue
        if math.isnan(value) or (math.isinf(value) and not declared.infinite):
            raise InputError(f"`{name}` = {value} is not a finite number")
        if not declared.holds(value):
            where = "is outside" if kind is int else "is out of range: it must be"
            raise InputError(f"`{name}` = {value:{'d' if kind is int else 'g'}} {where} {declared.in_words(kind)}")
