"""The settings of a run: where each stands on the command line, and which of several values wins.

flag > config file > resumed > default.  Names, types, defaults and bounds come from the dataclasses; only the
spellings, the groups of the help and the words of the help are written here.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from nplm.cli._errors import suggestion
from nplm.config import ModelConfig, TrainConfig
from nplm.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
Source = Literal["default", "resumed", "config file", "flag"]
RANKS = ("default", "resumed", "config file", "flag")
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
                raise InputError(f"{name} = {value!r} is not {WORDS[_plain_type(hint)]}")
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


class Value(NamedTuple):
    """A setting's value and where it comes from."""

    value: Any
    source: Source


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
    Setting("seed", "seed", TrainConfig, "N", _RUN, "Of the first weights and of the noise."),
    Setting("shards", "shards", TrainConfig, "N", _RUN, "Parts the B streams are cut into; part of the recipe."),
    Setting("threads", "threads", TrainConfig, "N", _RUN, "Threads that run the shards; 0: one each. Changes no bit."),
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


class GroupedOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help has its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def setting_options(*names: str, given: Mapping[str, Any] | None = None) -> Callable[[Function], Function]:
    """Decorator: the options of the settings with these flags; without names, of all.

    given: defaults for the help, by field, where a command has its own.
    """
    chosen = [s for s in SETTINGS if not names or s.flag in names]
    if not names:
        chosen.insert([s.flag for s in chosen].index("sequence-length") + 1, CHUNKS)

    def decorate(function: Function) -> Function:
        for setting in reversed(chosen):
            default = (given or {}).get(setting.field, defaults(setting.config).get(setting.field))
            text = (
                setting.help if default is None else f"{setting.help}  [default: {default:{_form(default)}}]"
            )
            both = f"/--no-{setting.flag}" if _hint(setting) is bool else ""
            function = click.option(
                f"--{setting.flag}{both}",
                setting.field,
                cls=GroupedOption,
                group=setting.group,
                type=_click_type(setting),
                default=None,
                metavar=setting.metavar,
                help=text,
                shell_complete=_complete_corpus if setting.flag == "corpus" else None,
            )(function)
        return function

    return decorate


def defaults(config: type) -> dict[str, Any]:
    """The fields of a dataclass that have a default, with it."""
    return {field.name: field.default for field in fields(config) if field.default is not MISSING}


def merge(*layers: tuple[Source, Mapping[str, Any]]) -> dict[str, Value]:
    """Every setting's value by field: the last layer that has one wins; None is no value."""
    found = {}
    first: tuple[Source, dict[str, Any]] = (
        "default",
        {s.field: defaults(s.config).get(s.field) for s in SETTINGS},
    )
    for source, values in (first, *layers):
        for field, value in values.items():
            if value is not None or source == "default":
                found[field] = Value(value, source)
    return _settle_chunks(found)


def build(config: type, found: Mapping[str, Value], **more: Any) -> Any:
    """The dataclass `config` with the values found.  Its complaints name the flag, not the field."""
    try:
        return config(**{s.field: found[s.field].value for s in SETTINGS if s.config is config}, **more)
    except InputError as error:
        name, sign, rest = str(error).partition(" = ")
        flag = next((s.flag for s in SETTINGS if s.field == name), None)
        raise InputError(f"--{flag}{sign}{rest}" if flag else str(error)) from None


def read_config_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file by field.  Raises InputError on bad TOML or an unknown name."""
    import tomllib

    try:
        with Path(path).open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:  # bad TOML, or not UTF-8
        raise InputError(f"{path}: not valid TOML ({error})") from None
    found: dict[str, Any] = {}
    for name, value in document.items():
        table = {"model": ModelConfig, "train": TrainConfig, "text": TextConfig}.get(name)
        entries = value if isinstance(value, dict) and table else {name: value}
        for key, entry in entries.items():
            where = f"{path}, [{name}]" if entries is value else path
            setting = _named(key, table if entries is value else None, where)
            if setting.field in found:
                raise InputError(f"{where}: {setting.flag} is given twice; keep one")
            found[setting.field] = _as_declared(entry, setting, where)
    return found


def _named(key: str, table: type | None, where: str) -> Setting:
    """The setting with this flag or field name, in this table or anywhere."""
    known: dict[str, Setting] = {}
    for setting in (*SETTINGS, CHUNKS):
        if table in (None, setting.config):
            spellings = (setting.flag, setting.flag.replace("-", "_"), setting.field)
            known |= {spelling: setting for spelling in spellings}
    if key not in known:
        close = suggestion(key, known, otherwise="nplm train --help has them all")
        raise InputError(f"{where}: no setting is called {key!r}; {close}")
    return known[key]


def _as_declared(value: Any, setting: Setting, where: str) -> Any:
    """A value of the file; 20 is as good as 20.0 where a real number is asked for."""
    kind = _plain_type(_hint(setting))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise InputError(f"{where}: {setting.flag} = {value!r} is not {WORDS[kind]}")
    return value


def _settle_chunks(found: dict[str, Value]) -> dict[str, Value]:
    """Turn the number of chunks N into a sequence length, or with both into a chunk length."""
    chunks = found.pop("chunks", None)
    if chunks is None:
        return found
    length, bptt = found["sequence_length"], found["bptt"]
    rank = RANKS.index(chunks.source)
    if RANKS.index(length.source) > rank:  # a flag wins over the file
        return found
    if chunks.value < 2:
        raise InputError(f"--chunks = {chunks.value}: the method needs N >= 2 chunks in a sequence")
    if RANKS.index(length.source) < rank:
        found["sequence_length"] = Value(chunks.value * bptt.value, chunks.source)
    elif RANKS.index(bptt.source) < rank:
        found["bptt"] = Value(-(-length.value // chunks.value), chunks.source)
    steps, chunk = found["sequence_length"].value, found["bptt"].value
    if chunk >= 1 and -(-steps // chunk) != chunks.value:
        raise InputError(
            f"a sequence of {steps} steps in chunks of {chunk} has {-(-steps // chunk)} chunks,"
            f" not {chunks.value}: make --sequence-length, --chunks and --bptt agree, or leave one out"
        )
    return found


def _hint(setting: Setting) -> Any:
    return int if setting is CHUNKS else get_type_hints(setting.config)[setting.field]


def _plain_type(hint: Any) -> type:
    """int, float, str or bool: what a field's annotation comes down to."""
    if get_origin(hint) is Literal:
        return str
    if get_origin(hint) in (Union, UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    kind: type = hint
    return kind


def _click_type(setting: Setting) -> Any:
    hint = _hint(setting)
    return click.Choice(get_args(hint)) if get_origin(hint) is Literal else _plain_type(hint)


def _form(default: Any) -> str:
    return "g" if isinstance(default, float) else ""


def _complete_corpus(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in CORPORA if name.startswith(incomplete)]
