"""The settings of a run: where each stands on the command line, and what its value may be.

Names, types, defaults and bounds come from the dataclasses; only the spellings, the groups of the help and the words
of the help are written here.
"""

from dataclasses import MISSING, dataclass, fields
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from nplm.config import ModelConfig, TrainConfig
from nplm.errors import InputError

WORDS: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
CORPORA = ("python", "markov", "hmm")


@dataclass(frozen=True)
class TextConfig:
    """Where the text comes from, and which of its words are kept."""

    train: str | None = None
    valid: str | None = None
    test: str | None = None
    corpus: str | None = None
    min_count: int = 1
    max_vocab: int | None = None
    vocab: str | None = None

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(TextConfig).items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, hint):
                raise InputError(f"{name} = {value!r} is not {WORDS[plain_type(hint)]}")
        if self.min_count < 1:
            raise InputError(f"min_count = {self.min_count} is less than 1")
        if self.max_vocab is not None and self.max_vocab < 3:
            raise InputError(f"max_vocab = {self.max_vocab} is less than 3: <unk>, </s> and a word")
        if self.vocab is not None and (self.min_count > 1 or self.max_vocab is not None):
            raise InputError("--vocab is the whole vocabulary: leave out --min-count and --max-vocab")


class Setting(NamedTuple):
    """A setting's place on the command line."""

    flag: str  # without dashes; the name in the config file too
    field: str
    config: type
    metavar: str | None
    group: str
    help: str


_TEXT = "Text (UTF-8, one sentence per line, .gz by suffix)"
_MODEL = "Model"
_METHOD = "Method"
_DROPOUT = "Dropout"
_RATE = "Learning rate"
_RUN = "Run"
# fmt: off
SETTINGS = (
    Setting("train", "train", TextConfig, "FILE", _TEXT, "Text to train on."),
    Setting("valid", "valid", TextConfig, "FILE", _TEXT, "Text to choose the best epoch by."),
    Setting("test", "test", TextConfig, "FILE", _TEXT, "Text to measure on at the end."),
    Setting("corpus", "corpus", TextConfig, "NAME", _TEXT, f"A built-in corpus instead: {', '.join(CORPORA)}."),
    Setting("min-count", "min_count", TextConfig, "N", _TEXT, "Words seen less often in --train are <unk>."),
    Setting("max-vocab", "max_vocab", TextConfig, "V", _TEXT, "Words at most, <unk> and </s> included."),
    Setting("vocab", "vocab", TextConfig, "FILE", _TEXT, "The words to keep, one per line."),
    Setting("hidden", "hidden_dim", ModelConfig, "H", _MODEL, "LSTM units per layer."),
    Setting("emsize", "embed_dim", ModelConfig, "E", _MODEL, "Size of a word's vector."),
    Setting("layers", "num_layers", ModelConfig, "L", _MODEL, "LSTM layers."),
    Setting("tied", "tied", ModelConfig, None, _MODEL, "One matrix for input and output words; needs E = H."),
    Setting("init-scale", "init_scale", ModelConfig, "X", _MODEL, "Weights start uniform in [-X, X]."),
    Setting("bptt", "bptt", TrainConfig, "T", _METHOD, "Time steps per chunk; the gradient is cut there."),
    Setting("batch-size", "batch_size", TrainConfig, "B", _METHOD, "Streams of text in lock-step."),
    Setting("sequence-length", "sequence_length", TrainConfig, "S", _METHOD,
            "Time steps per sequence, cut into N = S/T >= 2 chunks."),
    Setting("objective", "objective", TrainConfig, None, _METHOD,
            "What is minimised; perplexity is always the exact one."),
    Setting("log-z-penalty", "log_z_penalty", TrainConfig, "X", _METHOD,
            "Times the mean of log^2 Z, added to the softmax objective."),
    Setting("fit-log-z", "fit_log_z", TrainConfig, None, _METHOD,
            "Keep the best model with the mean log Z of --valid taken off its output bias."),
    Setting("reset-at-eos", "reset_at_eos", TrainConfig, None, _METHOD, "Begin every sentence with the zero state."),
    Setting("nce", "num_noise", TrainConfig, "K", _METHOD, "Noise words per chunk."),
    Setting("nce-unigram-power", "noise_power", ModelConfig, "X", _METHOD,
            "Exponent of the unigram counts in the noise law."),
    Setting("nce-uniform", "noise_uniform", ModelConfig, "X", _METHOD,
            "Share, in [0, 1], of the noise law that is spread evenly."),
    Setting("noise", "noise", TrainConfig, None, _METHOD,
            "A fresh noise group for every chunk, or a pool of groups drawn ahead."),
    Setting("noise-groups", "noise_groups", TrainConfig, "M", _METHOD, "Groups of the pool, 2 <= M <= N."),
    Setting("group-map", "group_map", TrainConfig, None, _METHOD, "Which chunks share a group of the pool."),
    Setting("redraw", "redraw", TrainConfig, None, _METHOD, "When the pool is drawn anew."),
    Setting("dropout", "dropout", TrainConfig, "P", _DROPOUT,
            "Share of the numbers left out between layers and before the scores."),
    Setting("dropout-words", "dropout_words", TrainConfig, "P", _DROPOUT, "Share of the input words left out."),
    Setting("dropout-recurrent", "dropout_recurrent", TrainConfig, "P", _DROPOUT,
            "Share of the hidden state left out on its way to the next step."),
    Setting("variational", "variational", TrainConfig, None, _DROPOUT,
            "Between layers too one mask for a sequence, instead of one for every step."),
    Setting("optimizer", "optimizer", TrainConfig, None, _RATE, "Rule of the update."),
    Setting("lr", "lr", TrainConfig, "X", _RATE, "Learning rate at the start, for the loss in nats per position."),
    Setting("clip", "clip", TrainConfig, "X", _RATE, "Largest global norm of the gradient; inf: no clipping."),
    Setting("schedule", "schedule", TrainConfig, None, _RATE,
            "Lower the rate after --decay-after epochs, when the valid perplexity stalls, never, or along a cosine."),
    Setting("lr-decay", "lr_decay", TrainConfig, "X", _RATE, "Factor, in (0, 1], by which the rate falls."),
    Setting("decay-after", "decay_after", TrainConfig, "EPOCHS", _RATE, "Epochs at the full rate (--schedule step)."),
    Setting("patience", "patience", TrainConfig, "EPOCHS", _RATE,
            "Stop after so many epochs without a better valid perplexity; 0: never."),
    Setting("warmup", "warmup", TrainConfig, "CHUNKS", _RATE, "Chunks in which the rate rises to what it would be."),
    Setting("lr-floor", "lr_floor", TrainConfig, "X", _RATE, "Share of --lr at which --schedule cosine ends."),
    Setting("weight-decay", "weight_decay", TrainConfig, "X", _RATE,
            "Share of a weight lost per step and unit of the rate; biases keep theirs."),
    Setting("averaging-patience", "averaging_patience", TrainConfig, "EPOCHS", _RATE,
            "Epochs without a better valid perplexity before asgd averages."),
    Setting("epochs", "epochs", TrainConfig, "N", _RUN, "Passes over the training text."),
    Setting("seed", "seed", TrainConfig, "N", _RUN, "Of the first weights, the noise and the dropout."),
    Setting("shards", "shards", TrainConfig, "N", _RUN, "Parts the B streams are cut into; part of the recipe."),
    Setting("threads", "threads", TrainConfig, "N", _RUN, "Threads that run the shards; 0: one each. Changes no bit."),
    Setting("precision", "precision", TrainConfig, None, _RUN,
            "Of the products' operands in training; auto: bfloat16 where that is known to be faster."),
    Setting("eval-batch-size", "eval_batch_size", TrainConfig, "N", _RUN, "Streams in lock-step when measuring."),
    Setting("log-interval", "log_interval", TrainConfig, "CHUNKS", _RUN, "Chunks between two lines of metrics."),
    Setting("save-interval", "save_interval", TrainConfig, "SECONDS", _RUN,
            "Seconds between two checkpoints within an epoch."),
)
# fmt: on
CHUNKS = Setting(
    "chunks",
    "chunks",
    TrainConfig,
    "N",
    _METHOD,
    "Chunks per sequence, instead of --sequence-length: S = N*T.",
)


def defaults(config: type) -> dict[str, Any]:
    """The fields of a dataclass that have a default, with it."""
    return {field.name: field.default for field in fields(config) if field.default is not MISSING}


def type_hint(setting: Setting) -> Any:
    """The annotation of its field; CHUNKS, which is no field, is a whole number."""
    return int if setting is CHUNKS else get_type_hints(setting.config)[setting.field]


def plain_type(hint: Any) -> type:
    """int, float, str or bool: what a field's annotation comes down to."""
    if get_origin(hint) is Literal:
        return str
    if get_origin(hint) in (Union, UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    kind: type = hint
    return kind
