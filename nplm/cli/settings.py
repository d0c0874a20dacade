"""The settings as options of a command: declared in nplm/config.py, read from flags, a config file and a resumed run.

    flag  >  config file  >  resumed run  >  default

The last three are click's default map and defaults, and click tells which of them a value came from.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from nplm.cli.errors import suggestion
from nplm.config import CONFIGS, CORPORA, GROUPS, WORDS, ModelConfig, Setting, TextConfig, TrainConfig, settings_of
from nplm.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
TABLES = {"model": ModelConfig, "train": TrainConfig, "text": TextConfig}  # of a config file
CHUNKS = "Chunks per sequence, instead of --sequence-length: S = N*T."
LAYERS = "nplm.settings"  # where a context keeps what SettingsCommand.given gave
SOURCES = ("default", "resumed", "config file", "flag")  # each wins over those before it


class Option(NamedTuple):
    """A setting that a user may give."""

    field: str
    config: type
    declared: Setting
    default: Any
    kind: type  # int, float, str or bool
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """Its flag, without dashes."""
        return str(self.declared.flag)


class Value(NamedTuple):
    """A setting's value and where it comes from."""

    value: Any
    source: str  # of SOURCES


def options() -> list[Option]:
    """All of them, in the order of help."""
    found = [
        Option(name, config, declared, field.default, kind, choices)
        for config in CONFIGS
        for name, (declared, field, kind, choices) in settings_of(config).items()
        if declared.flag is not None
    ]
    at = next(k for k, option in enumerate(found) if option.field == "sequence_length")
    instead = found[at].declared._replace(flag="chunks", metavar="N", help=CHUNKS)
    found.insert(at + 1, Option("chunks", TrainConfig, instead, None, int, ()))
    return sorted(found, key=lambda option: GROUPS.index(option.declared.group))


class GroupedOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class SettingsCommand(click.Command):
    """A command with settings: its help has headings, and its defaults may come from a config file or a run."""

    def given(self, flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Settings by source, the weaker first, that the flags (as words, by field) point to."""
        return {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags, _, _ = self.make_parser(ctx).parse_args(list(args))
        if "help" not in flags and not ctx.resilient_parsing:
            layers = ctx.meta[LAYERS] = self.given(flags)
            ctx.default_map = {name: value for layer in layers.values() for name, value in layer.items()}
        return super().parse_args(ctx, args)


def setting_options(*names: str, given: Mapping[str, Any] | None = None) -> Callable[[Function], Function]:
    """Decorator: the options of the settings with these flags; without names, of all.

    given: defaults by field, where a command has its own.
    """

    def decorate(function: Function) -> Function:
        for option in reversed([option for option in options() if not names or option.flag in names]):
            default = (given or {}).get(option.field, option.default)
            shown = "" if default is None else f"  [default: {default:{'g' if option.kind is float else ''}}]"
            function = click.option(
                f"--{option.flag}" + (f"/--no-{option.flag}" if option.kind is bool else ""),
                option.field,
                cls=GroupedOption,
                group=option.declared.group,
                type=click.Choice(option.choices) if option.choices else option.kind,
                default=default,
                metavar=option.declared.metavar,
                help=option.declared.help + shown,
                shell_complete=_complete_corpus if option.field == "corpus" else None,
            )(function)
        return function

    return decorate


def values(given: Mapping[str, Any] | None = None) -> dict[str, Value]:
    """Every setting's value and source, for the command that runs; given: defaults where it has its own."""
    ctx = click.get_current_context()
    found, layers = {}, ctx.meta.get(LAYERS, {})
    for option in options():
        value, source = (given or {}).get(option.field, option.default), "default"
        if option.field in ctx.params:
            value = ctx.params[option.field]
            if ctx.get_parameter_source(option.field) is click.core.ParameterSource.COMMANDLINE:
                source = "flag"
        if source != "flag":
            source = next((name for name in reversed(layers) if option.field in layers[name]), source)
        found[option.field] = Value(value, source)
    return _settle_chunks(found)


def build(config: type, found: Mapping[str, Value], **more: Any) -> Any:
    """The dataclass `config` with the values found."""
    names = settings_of(config).keys() & found.keys()
    return config(**{name: found[name].value for name in names}, **more)


def read_config_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file by field.  Raises InputError on bad TOML, an unknown name, or a wrong type."""
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
        table = TABLES.get(name)
        entries = value if isinstance(value, dict) and table else {name: value}
        for key, entry in entries.items():
            where = f"{path}, [{name}]" if entries is value else path
            option = _named(key, table if entries is value else None, where)
            if option.field in found:
                raise InputError(f"{where}: {option.flag} is given twice; keep one")
            number = option.kind is float and isinstance(entry, int)  # 20 is as good as 20.0
            if isinstance(entry, bool) != (option.kind is bool) or not (number or isinstance(entry, option.kind)):
                raise InputError(f"{where}: {option.flag} = {entry!r} is not {WORDS[option.kind]}")
            found[option.field] = entry
    return found


def _named(key: str, table: type | None, where: str) -> Option:
    """The setting with this flag or field name, in this table or anywhere."""
    known: dict[str, Option] = {}
    for option in options():
        if table in (None, option.config):
            known |= {spelling: option for spelling in (option.flag, option.flag.replace("-", "_"), option.field)}
    if key not in known:
        close = suggestion(key, known, otherwise="nplm train --help has them all")
        raise InputError(f"{where}: no setting is called {key!r}; {close}")
    return known[key]


def _settle_chunks(found: dict[str, Value]) -> dict[str, Value]:
    """Turn the number of chunks N into a sequence length, or with both into a chunk length."""
    chunks = found.pop("chunks")
    if chunks.value is None:
        return found
    length, bptt = found["sequence_length"], found["bptt"]
    rank = SOURCES.index(chunks.source)
    if SOURCES.index(length.source) > rank:  # a flag wins over the file
        return found
    if chunks.value < 2:
        raise InputError(f"--chunks = {chunks.value}: the method needs N >= 2 chunks in a sequence")
    if SOURCES.index(length.source) < rank:
        found["sequence_length"] = Value(chunks.value * bptt.value, chunks.source)
    elif SOURCES.index(bptt.source) < rank:
        found["bptt"] = Value(-(-length.value // chunks.value), chunks.source)
    steps, chunk = found["sequence_length"].value, found["bptt"].value
    if chunk >= 1 and -(-steps // chunk) != chunks.value:
        raise InputError(
            f"a sequence of {steps} steps in chunks of {chunk} has {-(-steps // chunk)} chunks,"
            f" not {chunks.value}: make --sequence-length, --chunks and --bptt agree, or leave one out"
        )
    return found


def table() -> str:
    """The settings as a table in Markdown: docs/howto/settings.md."""
    lines = ["| flag | field | value | default | meaning |", "|---|---|---|---|---|"]
    for option in options():
        numbers = option.kind in (int, float) and option.declared.in_words(option.kind)
        value = ", ".join(option.choices) or numbers or WORDS[option.kind]
        default = "" if option.default in (None, MISSING) else f"{option.default:{'g' if option.kind is float else ''}}"
        field = "" if option.field == "chunks" else f"`{option.config.__name__}.{option.field}`"
        lines.append(f"| `--{option.flag}` | {field} | {value} | {default} | {option.declared.help} |")
    return "\n".join(lines) + "\n"


def _complete_corpus(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in CORPORA if name.startswith(incomplete)]
